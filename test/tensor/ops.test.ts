import { afterEach, beforeAll, describe } from 'vitest';
import * as tf from '@tensorflow/tfjs';
import { freezePortable, portableOps } from '../../core/index.ts';
import { testEngine } from '../support/engine.ts';
import { describeOps } from '../support/ops-suite.ts';

beforeAll(async () => {
  await testEngine();
});
afterEach(() => tf.disposeVariables());

describe('the portable operations', () => describeOps(() => ({ ops: portableOps, freeze: freezePortable })));
