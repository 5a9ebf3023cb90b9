import { definePlugin, token, Type, type QueueProvider } from 'graft';
import { SqliteQueue } from './queue.ts';

export default definePlugin({
  provides: token<QueueProvider>('queue:sqlite'),
  config: Type.Object({}),
  setup: () => ({
    open: async ({ database }) => new SqliteQueue(database),
  }),
});
