import { definePlugin, token, Type, type EngineProvider } from 'graft';
import { probeNative, startNative } from './engine.ts';

/** Before every other engine on the CPU, after one on a GPU. */
const PREFERENCE = 50;

export default definePlugin({
  provides: token<EngineProvider>('engine:native'),
  config: Type.Object({}),
  setup: () => ({
    preference: (probe) => (probe.state === 'available' ? PREFERENCE : 0),
    probe: async () => probeNative(),
    start: ({ threads }) => startNative(threads),
  }),
});
