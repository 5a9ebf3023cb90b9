import { tf } from 'graft';
import { afterEach, beforeAll, describe } from 'vitest';
import type { Engine } from 'graft';
import { describeOps } from '../../test/support/ops-suite.ts';
import { startPortable } from './engine.ts';

let engine: Engine;
beforeAll(async () => {
  engine = await startPortable();
});
afterEach(() => tf.disposeVariables());

describe('the engine\'s own operations', () => describeOps(() => engine));
