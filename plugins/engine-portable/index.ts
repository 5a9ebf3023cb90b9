import { definePlugin, token, Type, type EngineProvider } from 'graft';
import { startPortable } from './engine.ts';

export default definePlugin({
  provides: token<EngineProvider>('engine:portable'),
  config: Type.Object({}),
  setup: () => ({
    preference: () => 1,
    probe: async () => ({ state: 'available' as const, detail: 'tfjs wasm', device: 'cpu' as const }),
    start: () => startPortable(),
  }),
});
