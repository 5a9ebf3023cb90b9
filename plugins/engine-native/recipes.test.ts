import { AdamW, portableOps, tf, valueAndGrads, type Engine, type FusedOps, type LowRankTerm } from 'graft';
import type { Tensor1D, Tensor2D, Variable } from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { constant, distance, expectSame, project, variable } from '../../test/support/gradients.ts';
import type { NativeBackend } from './backend.ts';
import { startNative } from './engine.ts';

/** Powers of two, of which blocks of memory are exactly as large as what is in them. */
const [TOKENS, HIDDEN, INNER, RANK, LAYERS] = [256, 64, 128, 8, 2];
const EPS = 1e-5;

interface Layer {
  readonly norm: Tensor1D;
  readonly weights: Readonly<Record<'gate' | 'up' | 'down', Tensor2D>>;
  readonly lora: Readonly<Record<'gate' | 'up' | 'down', { readonly a: Tensor2D; readonly b: Tensor2D }>>;
}

describe('what a backward keeps', () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await startNative();
  });
  afterEach(() => tf.disposeVariables());

  const layerOf = (index: number): Layer => {
    const pair = (from: number, to: number, name: string) => ({ a: variable<Tensor2D>([RANK, from], `${name} a`, from ** -0.5), b: variable<Tensor2D>([to, RANK], `${name} b`, 0.1) });
    const matrix = (from: number, to: number, name: string) => constant<Tensor2D>([to, from], name, from ** -0.5);
    return {
      norm: constant<Tensor1D>([HIDDEN], `norm ${index}`),
      weights: { gate: matrix(HIDDEN, INNER, `gate ${index}`), up: matrix(HIDDEN, INNER, `up ${index}`), down: matrix(INNER, HIDDEN, `down ${index}`) },
      lora: { gate: pair(HIDDEN, INNER, `gate ${index}`), up: pair(HIDDEN, INNER, `up ${index}`), down: pair(INNER, HIDDEN, `down ${index}`) },
    };
  };
  const trainedOf = (layers: readonly Layer[]): Variable[] => layers.flatMap(({ lora }) => Object.values(lora).flatMap(({ a, b }) => [a, b] as Variable[]));

  /** `x + W_down swiglu(W_gate norm(x), W_up norm(x))`, LoRA on all three, each on what dropout leaves of its input. */
  function block(ops: FusedOps, x: Tensor2D, layers: readonly Layer[], rate: number): Tensor2D {
    return layers.reduce((input, { norm, weights, lora }, index) => tf.tidy(() => {
      const linear = (from: Tensor2D, name: keyof typeof weights): Tensor2D => {
        const term: LowRankTerm = { ...lora[name], scale: 2, input: rate === 0 ? undefined : ops.dropout(from, rate, { seed: 1, step: 1, path: `${index}.${name}` }) };
        return ops.linear(from, weights[name], undefined, [term]);
      };
      const normed = ops.rmsNorm(input, norm, EPS);
      return tf.add<Tensor2D>(input, linear(ops.swiglu(linear(normed, 'gate'), linear(normed, 'up')), 'down'));
    }), x);
  }

  /** Bytes in use once all that was enqueued is done. */
  function live(): number {
    const { addon } = (tf.backend() as unknown as NativeBackend).native;
    addon.drain();
    return addon.memory().live;
  }

  it.each([0, 0.25])('of two layers with LoRA is x, gate and up, and what is as narrow as the rank; dropout at %f adds nothing', (rate) => {
    const layers = Array.from({ length: LAYERS }, (_, index) => layerOf(index));
    const x = constant<Tensor2D>([TOKENS, HIDDEN], 'x');
    let kept = 0;
    // Products keep their last left side packed; the same one before and after, once it has run.
    const pass = (): void => {
      tf.tidy(() => void block(engine.ops, x, layers, rate));
      const before = live();
      const { value, grads } = valueAndGrads(() => {
        const y = block(engine.ops, x, layers, rate);
        kept = live() - before;
        return project(y);
      }, trainedOf(layers));
      tf.dispose([value, ...grads]);
    };
    pass();
    pass();
    const everyLayer = LAYERS * TOKENS * (2 * INNER + 3 * RANK);
    // The first layer's x was there before, and no gradient flows through its norm, whose 1 / rms is then not kept either.
    const betweenLayers = (LAYERS - 1) * TOKENS * (HIDDEN + 1);
    const result = TOKENS * HIDDEN;
    expect(kept).toBe(4 * (everyLayer + betweenLayers + result));
  });

  it.each([0, 0.25])('gives the gradients of the portable definitions, with dropout at %f', (rate) => {
    const layers = [layerOf(0), layerOf(1)];
    const x = variable<Tensor2D>([TOKENS, HIDDEN], 'x');
    const norms = layers.map(({ norm }) => tf.variable(norm, true));
    const trained = layers.map((layer, i): Layer => ({ ...layer, norm: norms[i]! as unknown as Tensor1D }));
    expectSame(() => block(engine.ops, x, trained, rate), () => block(portableOps, x, trained, rate), [x, ...norms, ...trainedOf(layers)], 2e-5);
  });

  it('is the operand itself where what it was made from is gone', () => {
    const [a, b] = [variable<Tensor2D>([2, 8], 'a'), variable<Tensor2D>([6, 2], 'b')];
    const weight = constant<Tensor2D>([6, 8], 'w');
    const [x, norm] = [constant<Tensor2D>([5, 8], 'x'), constant<Tensor1D>([8], 'norm')];
    const gradient = (disposes: boolean) => {
      const own = tf.clone(x);
      const source = tf.add<Tensor2D>(own, 0);
      const { grads } = valueAndGrads(() => {
        const y = engine.ops.rmsNorm(source, norm, EPS);
        if (disposes) source.dispose();
        return project(engine.ops.linear(y, weight, undefined, [{ a, b, scale: 1 }]));
      }, [a, b]);
      return grads;
    };
    const [kept, made] = [gradient(true), gradient(false)];
    kept.forEach((each, i) => expect(distance(each, made[i]!)).toBe(0));
  });

  it('is the operand itself where a weight that it was made with has changed in place', () => {
    const [a, b] = [variable<Tensor2D>([2, 8], 'a'), variable<Tensor2D>([6, 2], 'b')];
    const weight = constant<Tensor2D>([6, 8], 'w');
    const x = constant<Tensor2D>([5, 8], 'x');
    const norm = tf.tidy(() => variable<Tensor1D>([8], 'norm'));
    const optimizer = new AdamW([{ name: 'norm', variable: norm }], {}, engine.optimizer);
    const y = engine.ops.rmsNorm(x, norm, EPS);
    const expected = tf.tidy(() => tf.add<Tensor2D>(y, 0));
    optimizer.apply([tf.ones([8])], 0.5);
    const gradients = (input: Tensor2D) => valueAndGrads(() => project(engine.ops.linear(input, weight, undefined, [{ a, b, scale: 1 }])), [a, b]).grads;
    const [ours, theirs] = [gradients(y), gradients(expected)];
    ours.forEach((each, i) => expect(distance(each, theirs[i]!)).toBe(0));
    optimizer.dispose();
  });
});
