import { definePlugin, token, Type, type EngineProbe, type EngineProvider } from 'graft';
import { describePlatform, startPortable } from './engine.ts';

export default definePlugin({
  provides: token<EngineProvider>('engine:portable'),
  config: Type.Object({}),
  setup: () => ({
    // Runs everywhere, so everything else that runs is preferred.
    preference: () => 1,
    probe: async (): Promise<EngineProbe> => ({ state: 'available', detail: await describePlatform(), device: 'cpu' }),
    start: ({ threads }) => startPortable(threads),
  }),
});
