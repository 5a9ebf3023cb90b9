import { definePlugin, packageRoots, token, Type, type InstallableEngine } from 'graft';
import { tensorflow } from './engine.ts';
import { installedHome } from './home.ts';
import { installer } from './install.ts';

/** A GPU beats every engine on the CPU; on the CPU it stands before portable, and leaves room for a faster one. */
const PREFERENCE = { gpu: 100, cpu: 20 } as const;

export default definePlugin({
  provides: token<InstallableEngine>('engine:tensorflow'),
  config: Type.Object({}),
  setup: () => {
    // What was installed by Graft was asked for; what a node_modules holds may have come along with something else.
    const { probe, start } = tensorflow([installedHome(), ...packageRoots()]);
    return {
      preference: (found) => (found.state === 'available' ? PREFERENCE[found.device] : 0),
      probe,
      start: ({ threads }) => start(threads),
      installer,
    };
  },
});
