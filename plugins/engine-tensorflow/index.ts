import { definePlugin, packageRoots, token, Type, type EngineProvider } from 'graft';
import { tensorflow } from './engine.ts';

/** A GPU beats every engine on the CPU; on the CPU it stands before portable, and leaves room for a faster one. */
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
