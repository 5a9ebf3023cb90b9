import { afterEach, beforeAll, describe } from 'vitest';
import * as tf from '@tensorflow/tfjs';
import { freezePortable, portableCachedAttention, portableOps } from '../../core/index.ts';
import { testEngine } from '../support/engine.ts';
import { describeCachedAttention } from '../support/cached-attention-suite.ts';
import { describeOps } from '../support/ops-suite.ts';

beforeAll(async () => {
  await testEngine();
});
afterEach(() => tf.disposeVariables());

describe('the portable operations', () => describeOps(() => ({ ops: portableOps, freeze: freezePortable })));

const cached = portableCachedAttention(portableOps);
describe('portable', () => describeCachedAttention(() => cached));
