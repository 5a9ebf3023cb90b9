import { definePlugin } from 'graft';
import { injectAdapter } from './adapter.ts';
import { recognizeAdapter } from './adapterhub.ts';
import { AdapterOptions } from './options.ts';

export default definePlugin({
  stage: 'inject',
  config: AdapterOptions,
  setup: () => ({ inject: injectAdapter, recognize: recognizeAdapter, options: AdapterOptions }),
});
