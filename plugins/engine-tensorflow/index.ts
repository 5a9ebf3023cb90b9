import { definePlugin, packageRoots, token, Type, type EngineProvider } from 'graft';
import { tensorflow } from './engine.ts';

/** A GPU beats every engine on the CPU; TensorFlow on the CPU stands behind our own native engine. */
const PREFERENCE = { gpu: 100, cpu: 20 } as const;

export default definePlugin({
  provides: token<EngineProvider>('engine:tensorflow'),
  config: Type.Object({}),
  setup: () => {
    const { probe, start } = tensorflow(packageRoots());
    return {
      preference: (found) => (found.state === 'available' ? PREFERENCE[found.device] : 0),
      probe,
      start: ({ threads }) => start(threads),
    };
  },
});
