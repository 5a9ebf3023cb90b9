import { definePlugin } from 'graft';
import { ServeOptions } from './options.ts';
import { startServer } from './server.ts';

export default definePlugin({
  stage: 'serve',
  config: ServeOptions,
  setup: () => ({ serve: startServer }),
});
