/** The fused operations on every path that this processor can take: each instruction set, and one thread, two and three. */
import { tf, type Engine } from 'graft';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { describeOps } from '../../test/support/ops-suite.ts';
import type { NativeBackend } from './backend.ts';
import { loadAddon } from './binding.ts';
import { startNative } from './engine.ts';

const ISAS = loadAddon().isas();
const BEST = ISAS[0]!;

describe.each([...ISAS.map((isa) => [isa, 2] as const), [BEST, 1] as const, [BEST, 3] as const])('on %s with %i threads', (isa, threads) => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await startNative();
    // Tensors of the path before are gone with it.
    tf.disposeVariables();
    (tf.backend() as NativeBackend).native.addon.start(isa, threads);
  });
  afterEach(() => tf.disposeVariables());
  describeOps(() => engine);
});

it('covers the plainest instruction set that a processor has', () => expect(ISAS[ISAS.length - 1]).toBe('base'));
