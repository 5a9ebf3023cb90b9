import { definePlugin } from 'graft';
import { injectFull } from './full.ts';
import { recognizeFull } from './files.ts';
import { FullOptions } from './options.ts';

export default definePlugin({
  stage: 'inject',
  config: FullOptions,
  setup: () => ({ inject: injectFull, recognize: recognizeFull, options: FullOptions }),
});
