import { definePlugin } from 'graft';
import { ServeOptions } from './options.ts';

export default definePlugin({
  stage: 'serve',
  config: ServeOptions,
  setup: () => ({ // Most commands list this plugin and never serve; fastify takes them a tenth of a second.
    serve: async (call) => (await import('./server.ts')).startServer(call) }),
});
