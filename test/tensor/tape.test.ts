import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import * as tf from '@tensorflow/tfjs';
import type { Scalar, Tensor, Variable } from '@tensorflow/tfjs-core';
import { needsGradient, recomputed, valueAndGrads } from '../../core/index.ts';
import { distance, project, variable } from '../support/gradients.ts';
import { testEngine } from '../support/engine.ts';

beforeAll(async () => {
  await testEngine();
});

afterEach(() => tf.disposeVariables());

const GRAPHS: Readonly<Record<string, (a: Tensor, b: Tensor) => Tensor>> = {
  'a chain': (a) => tf.tanh(tf.exp(tf.mul(a, 0.3))),
  'a diamond': (a, b) => {
    const shared = tf.mul(a, b);
    return tf.add(tf.tanh(shared), tf.sigmoid(shared));
  },
  'a variable used twice in one operation': (a) => tf.mul(a, a),
  'a variable used in many': (a, b) => tf.addN([a, tf.square(a), tf.mul(a, b), a]),
  'split outputs, one unused': (a) => tf.tanh(tf.split(a, 2, 1)[1]!),
  'split outputs, all used': (a) => {
    const [left, right] = tf.split(a, 2, 1) as [Tensor, Tensor];
    return tf.sub(tf.square(left), right);
  },
  unstack: (a) => {
    const rows = tf.unstack(a);
    return tf.mul(rows[0]!, rows[2]!);
  },
  'topk values': (a) => tf.square(tf.topk(tf.reshape(a, [-1]), 3).values),
  'stack and concat': (a, b) => tf.concat([tf.stack([a, b]), tf.stack([b, a])], 2),
  broadcasting: (a, b) => tf.div(tf.add(a, tf.sum(b, 1, true)), tf.add(tf.square(tf.mean(b)), 1)),
  'matMul, all four orientations': (a, b) =>
    tf.addN([tf.matMul(a, b, true, false), tf.matMul(b, a, true, false), tf.transpose(tf.matMul(a, b, true, false)), tf.matMul(tf.transpose(a), tf.transpose(b), false, true)]),
  'gather and slice': (a) => tf.mul(tf.gather(a, tf.tensor1d([1, 1, 0], 'int32')), tf.slice(a, [0, 0], [3, 4])),
  'an inner tidy': (a, b) => tf.tidy(() => tf.mul(tf.tidy(() => tf.exp(a)), tf.tanh(tf.tidy(() => tf.mul(tf.add(a, 1), b))))),
  'an identity whose gradient is dy itself': (a) =>
    tf.mul(
      tf.customGrad((x) => ({ value: (x as Tensor).clone(), gradFunc: (dy: Tensor) => dy }))(a),
      a,
    ),
  'one gradient tensor for two inputs': (a, b) =>
    tf.tanh(
      tf.customGrad((...inputs) => ({
        value: tf.add(inputs[0] as Tensor, inputs[1] as Tensor),
        gradFunc: (dy: Tensor) => {
          const twice = tf.mul(dy, 2);
          return [twice, twice];
        },
      }))(a, b),
    ),
  'tf.grad inside': (a, b) => tf.mul(tf.grad((x) => tf.sum(tf.pow(x, 3)))(a), b),
  'a dead branch': (a, b) => {
    tf.exp(tf.mul(a, b));
    return tf.square(a);
  },
  maxPool: (a) => tf.maxPool(tf.reshape(a, [1, 3, 4, 1]) as tf.Tensor4D, 2, 1, 'valid'),
  'where on a constant condition': (a, b) => tf.where(tf.tensor2d([1, 0, 1, 0, 0, 1, 0, 1, 1, 1, 0, 0], [3, 4], 'bool'), tf.mul(a, b), tf.exp(b)),
  cumsum: (a, b) => tf.mul(tf.cumsum(a, 1), b),
};

describe('valueAndGrads', () => {
  it.each(Object.entries(GRAPHS))('agrees with tf.variableGrads on %s', (_, graph) => {
    const a = variable([3, 4], 'a');
    const b = variable([3, 4], 'b');
    const f = () => project(graph(a, b));
    const ours = valueAndGrads(f, [a, b]);
    const theirs = tf.variableGrads(f, [a, b]);
    expect(distance(ours.value, theirs.value)).toBe(0);
    [a, b].forEach((v, i) => expect(distance(ours.grads[i]!, theirs.grads[v.name] ?? tf.zerosLike(v))).toBeLessThan(1e-6));
  });

  it('takes a condition made from a variable as constant, which tfjs refuses', () => {
    const a = variable([3, 4], 'a');
    const { grads } = valueAndGrads(() => tf.sum(tf.where(tf.greater(a, 0), tf.mul(a, 3), tf.mul(a, 5))) as Scalar, [a]);
    expect(distance(grads[0]!, tf.where(tf.greater(a, 0), tf.fill([3, 4], 3), tf.fill([3, 4], 5)))).toBe(0);
  });

  it('gives zeros for a variable that the loss does not depend on', () => {
    const a = variable([3, 4], 'a');
    const unused = variable([2, 2], 'unused');
    const { grads } = valueAndGrads(() => tf.sum(a) as Scalar, [unused, a]);
    expect([...grads[0]!.dataSync()]).toEqual([0, 0, 0, 0]);
    expect([...grads[1]!.dataSync()]).toEqual(new Array<number>(12).fill(1));
  });

  it('gives zeros and the value when the loss depends on no variable at all', () => {
    const a = variable([2], 'a');
    const { value, grads } = valueAndGrads(() => tf.scalar(3), [a]);
    expect(value.dataSync()[0]).toBe(3);
    expect([...grads[0]!.dataSync()]).toEqual([0, 0]);
  });

  it('returns tensors of its own when the loss is the variable itself', () => {
    const a = tf.variable(tf.scalar(2)) as Variable & Scalar;
    const { value, grads } = valueAndGrads(() => a, [a]);
    value.dispose();
    expect(grads[0]!.dataSync()[0]).toBe(1);
    expect(a.dataSync()[0]).toBe(2);
  });

  it('holds three activations in the backward of 50 scalings, where tf.variableGrads holds over 100', () => {
    const a = tf.variable(tf.randomUniform([10_000])) as Variable;
    const chain = (): Scalar => {
      let x: Tensor = a;
      for (let i = 0; i < 50; i++) x = tf.mul(x, 1.01);
      return tf.sum(x);
    };
    expect(backwardPeak(() => tf.variableGrads(chain, [a])) / 40_000).toBeGreaterThan(100);
    expect(backwardPeak(() => valueAndGrads(chain, [a])) / 40_000).toBeLessThan(4);
  });

  it('adds four activations to the 50 that a chain of tanh saves', () => {
    const a = tf.variable(tf.randomUniform([10_000])) as Variable;
    const chain = (): Scalar => {
      let x: Tensor = a;
      for (let i = 0; i < 50; i++) x = tf.tanh(x);
      return tf.sum(x);
    };
    expect(backwardPeak(() => tf.variableGrads(chain, [a])) / 40_000).toBeGreaterThan(100);
    expect(backwardPeak(() => valueAndGrads(chain, [a])) / 40_000).toBeLessThan(54.5);
  });

  it('saves nothing of operations that no variable reaches, nor of what a constant is multiplied with', () => {
    const bytes = 4 * 10_000;
    const input = tf.randomUniform([100, 100]);
    const frozen = tf.randomUniform([100, 100]);
    const a = tf.variable(tf.randomUniform([100, 100])) as Variable;
    const held: number[] = [];
    const before = tf.memory().numBytes;
    const note = () => held.push((tf.memory().numBytes - before) / bytes);
    valueAndGrads(() => {
      let x: Tensor = input;
      const on = (next: Tensor) => {
        if (x !== input && x !== a) x.dispose();
        x = next;
      };
      for (let i = 0; i < 20; i++) on(tf.tanh(x));
      note();
      on(tf.mul(x, a));
      note();
      for (let i = 0; i < 20; i++) on(tf.matMul(x as tf.Tensor2D, frozen as tf.Tensor2D));
      note();
      return tf.sum(x);
    }, [a]);
    expect(held[0]).toBe(1);
    // The product with the variable holds what the variable's gradient reads, and the frozen matrices their own 20 clones.
    expect(held[1]).toBe(2);
    expect(held[2]).toBe(22);
  });

  it('keeps no memory for gradients that read shapes alone: sums, moves and reshapes', () => {
    const bytes = 4 * 10_000;
    const other = tf.randomUniform([100, 100]);
    const a = tf.variable(tf.randomUniform([100, 100])) as Variable;
    const steps: readonly ((x: Tensor) => Tensor)[] = [
      (x) => tf.add(x, other),
      (x) => tf.sub(other, x),
      (x) => tf.addN([x, other, other]),
      (x) => tf.reshape(tf.expandDims(tf.reshape(x, [50, 200]), 1), [100, 100]),
      (x) => tf.slice(tf.pad(x as tf.Tensor2D, [[1, 1], [0, 0]]), [1, 0], [100, 100]),
      (x) => tf.slice(tf.concat([x, other], 1), [0, 0], [100, 100]),
      (x) => tf.slice(tf.reshape(tf.stack([x, other], 1), [100, 200]), [0, 0], [100, 100]),
      (x) => tf.add(x, tf.mean(x, 0)),
      (x) => tf.add(x, tf.sum(x, 1, true)),
      (x) => tf.cumsum(x, 1),
    ];
    const chain = (): Tensor => {
      let x: Tensor = a;
      for (const step of [...steps, ...steps]) {
        const next = tf.tidy(() => step(x));
        if (x !== a) x.dispose();
        x = next;
      }
      return x;
    };
    const before = tf.memory().numBytes;
    let held = 0;
    const { grads } = valueAndGrads(() => {
      const x = chain();
      held = (tf.memory().numBytes - before) / bytes;
      return project(tf.div(x, 1e4));
    }, [a]);
    expect(held).toBe(1);
    const theirs = tf.variableGrads(() => project(tf.div(chain(), 1e4)), [a]).grads[a.name]!;
    expect(distance(grads[0]!, theirs) / tf.max(tf.abs(theirs)).dataSync()[0]!).toBeLessThan(1e-6);
  });

  it('leaves the tensor count flat over 100 steps', () => {
    const a = variable([8, 8], 'a');
    const step = () => {
      const { value, grads } = valueAndGrads(() => tf.sum(tf.tanh(tf.matMul(a as tf.Tensor2D, a as tf.Tensor2D))) as Scalar, [a]);
      tf.dispose([value, ...grads]);
    };
    step();
    const before = tf.memory();
    for (let i = 0; i < 100; i++) step();
    expect(tf.memory().numTensors).toBe(before.numTensors);
    expect(tf.memory().numBytes).toBe(before.numBytes);
  });

  it('leaves nothing behind and works on when the function throws in the middle of a fused operation', () => {
    const a = variable([4], 'a');
    const broken = tf.customGrad((x, save) => {
      (save as tf.GradSaveFunc)([x as Tensor]);
      throw new Error('halfway');
    });
    const { numTensors } = tf.memory();
    expect(() => valueAndGrads(() => tf.sum(broken(tf.exp(tf.mul(a, 2)))) as Scalar, [a])).toThrow('halfway');
    expect(tf.memory().numTensors).toBe(numTensors);
    const { grads } = valueAndGrads(() => tf.sum(tf.square(a)) as Scalar, [a]);
    expect(distance(grads[0]!, tf.mul(a, 2))).toBe(0);
  });

  it('refuses to be nested, and works afterwards', () => {
    const a = variable([2], 'a');
    const inner = () => valueAndGrads(() => tf.sum(a) as Scalar, [a]).value;
    expect(() => valueAndGrads(inner, [a])).toThrow('valueAndGrads was called inside another gradient computation.');
    expect(() => tf.variableGrads(inner, [a])).toThrow('valueAndGrads was called inside another gradient computation.');
    expect(inner().rank).toBe(0);
  });

  it('says which operation has no gradient', () => {
    const a = variable([2], 'a');
    expect(() => valueAndGrads(() => tf.sum(tf.diag(a)) as Scalar, [a])).toThrow('The operation Diag has no gradient, and a trained tensor reaches it.');
  });

  it('refuses a loss that is not a scalar', () => {
    const a = variable([2], 'a');
    expect(() => valueAndGrads(() => tf.mul(a, 2) as unknown as Scalar, [a])).toThrow('must return a scalar, not a tensor of shape [2].');
  });
});

describe('needsGradient', () => {
  it('is true only of what a variable reaches', () => {
    const a = variable([2], 'a');
    const constant = tf.tensor1d([1, 2]);
    expect(needsGradient(a)).toBe(false);
    valueAndGrads(() => {
      expect(needsGradient(a)).toBe(true);
      expect(needsGradient(constant)).toBe(false);
      expect(needsGradient(tf.exp(constant))).toBe(false);
      expect(needsGradient(tf.add(constant, a))).toBe(true);
      return tf.sum(a) as Scalar;
    }, [a]);
  });

  it('is false of integers and conditions made from a variable', () => {
    const a = variable([2], 'a');
    valueAndGrads(() => {
      expect(needsGradient(tf.cast(a, 'int32'))).toBe(false);
      expect(needsGradient(tf.greater(a, 0))).toBe(false);
      return tf.sum(a) as Scalar;
    }, [a]);
  });

  it('is true of everything under tfjs gradients', () => {
    const constant = tf.tensor1d([1, 2]);
    tf.grad((x) => {
      expect(needsGradient(constant)).toBe(true);
      return tf.sum(x);
    })(constant);
  });
});

/** The most bytes that tfjs counts while a backward runs, above those before the forward and without what the forward made. */
function backwardPeak(run: () => unknown): number {
  const engine = tf.engine() as unknown as { trackTensor: (...args: unknown[]) => void; state: { gradientDepth: number } };
  const original = engine.trackTensor.bind(engine);
  const before = tf.memory().numBytes;
  let peak = 0;
  engine.trackTensor = (...args) => {
    original(...args);
    if (engine.state.gradientDepth === 0) peak = Math.max(peak, tf.memory().numBytes - before);
  };
  try {
    tf.tidy(() => void run());
  } finally {
    Reflect.deleteProperty(engine, 'trackTensor');
  }
  return peak;
}

describe('recomputed', () => {
  /** A layer that reads one variable, and its loss through several of them. */
  const chain = (x: Tensor, weights: readonly Variable[], wrap: (f: (x: Tensor) => Tensor, x: Tensor) => Tensor): Scalar =>
    project(weights.reduce<Tensor>((y, w) => wrap((input) => tf.tanh(tf.add(tf.matMul(input as tf.Tensor2D, w as unknown as tf.Tensor2D), input)), y), x));
  const plain = (f: (x: Tensor) => Tensor, x: Tensor): Tensor => f(x);

  it('gives the value and the gradients of the function itself, bit for bit', () => {
    const weights = [1, 2, 3].map((i) => variable([4, 4], `w${i}`));
    const x = variable([5, 4], 'x');
    const all = [...weights, x] as Variable[];
    const [kept, again] = [plain, recomputed].map((wrap) => valueAndGrads(() => chain(x, weights, wrap), all));
    expect(distance(kept!.value, again!.value)).toBe(0);
    kept!.grads.forEach((gradient, i) => expect(distance(gradient, again!.grads[i]!)).toBe(0));
  });

  it('keeps its input alone for the backward, and nothing after it', () => {
    const weights = [1, 2, 3, 4].map((i) => variable([8, 8], `w${i}`));
    const x = tf.randomNormal([256, 8]);
    const before = tf.memory().numBytes;
    const held = [plain, recomputed].map((wrap) => {
      let most = 0;
      const { value, grads } = valueAndGrads(() => {
        const loss = chain(x, weights, wrap);
        most = tf.memory().numBytes;
        return loss;
      }, weights);
      tf.dispose([value, ...grads]);
      return most;
    });
    expect(held[1]!).toBeLessThan(held[0]!);
    tf.dispose(x);
    expect(tf.memory().numBytes).toBe(before - 256 * 8 * 4);
  });

  it('runs nothing twice where no trained tensor reaches it', () => {
    const w = variable([4], 'w');
    let runs = 0;
    const constant = tf.ones([4]);
    const { grads } = valueAndGrads(() => {
      const fixed = recomputed((x) => {
        runs++;
        return tf.exp(x);
      }, constant);
      return tf.sum(tf.mul(w, fixed));
    }, [w]);
    expect(runs).toBe(1);
    expect(grads[0]!.dataSync()[0]).toBeCloseTo(Math.E, 5);
  });

  it('is right where the function also reads what a trained tensor made outside of it', () => {
    const w = variable([4], 'w');
    const f = (wrap: (g: (x: Tensor) => Tensor, x: Tensor) => Tensor): Scalar => {
      const outside = tf.exp(w);
      return tf.sum(wrap((x) => tf.mul(x, outside), tf.square(w)));
    };
    const [kept, again] = [plain, recomputed].map((wrap) => valueAndGrads(() => f(wrap), [w]));
    expect(distance(kept!.grads[0]!, again!.grads[0]!)).toBe(0);
  });
});
