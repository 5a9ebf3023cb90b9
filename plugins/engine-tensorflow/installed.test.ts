import { packageRoots, type Engine } from 'graft';
import { afterAll, beforeAll, describe } from 'vitest';
import { describeTensorflow } from '../../test/support/tensorflow-suite.ts';
import { tensorflow } from './engine.ts';
import { installedHome } from './home.ts';

const provider = tensorflow([installedHome(), ...packageRoots()]);
const probe = await provider.probe();
const runs = probe.state === 'available';
if (!runs) process.stderr.write(`The operations are not tested on an installed TensorFlow: ${probe.state}, ${probe.detail}. install.test.ts makes one of its own where it can.\n`);

describe.skipIf(!runs)(`TensorFlow as this machine has it (${probe.detail})`, () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await provider.start('auto');
  });
  afterAll(() => engine.dispose());
  describeTensorflow(() => engine);
});
