import { beforeAll, describe } from 'vitest';
import type { Engine } from '../../core/index.ts';
import { describeCachedAttention } from '../../test/support/cached-attention-suite.ts';
import { describeOps } from '../../test/support/ops-suite.ts';
import { startNative } from './engine.ts';

describe('engine native', () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await startNative();
  });
  describeOps(() => engine);
  describeCachedAttention(() => engine.cachedAttention!);
});
