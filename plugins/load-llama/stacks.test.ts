import { describe, expect, it } from 'vitest';
import { tf, valueAndGrads, type CausalLM, type ForwardOptions, type PackedBatch, type SiteCall, type SiteWrap } from 'graft';
import { batchOf, checkpoint } from '../../test/support/checkpoint.ts';
import { loadFolder } from '../../test/support/model.ts';

const rows = (count: number, length: number, vocabulary = 64) => Array.from({ length: count }, (_, row) => Array.from({ length }, (_, i) => 3 + ((row * 31 + i * 7 + i * i) % (vocabulary - 3))));
const batch = (count = 3, length = 6, vocabulary = 64): PackedBatch => batchOf({ input_ids: rows(count, length, vocabulary), labels: rows(count, length, vocabulary) });
const logits = (model: CausalLM, packed: PackedBatch, options: ForwardOptions = {}) => [...tf.tidy(() => model.logits(model.forward(packed, options), { ...options, offsets: packed.offsets }).dataSync())];
const losses = (model: CausalLM, packed: PackedBatch, options: ForwardOptions = {}) => [...tf.tidy(() => model.loss(packed, options).dataSync())];

function largestDifference(a: readonly number[], b: readonly number[]): number {
  expect(a.length).toBe(b.length);
  return a.reduce((largest, value, i) => Math.max(largest, Math.abs(value - b[i]!)), 0);
}

/** Deterministic, different everywhere. */
const waves = (shape: [number, number], phase: number, scale = 0.3): tf.Tensor2D => tf.tensor2d(Float32Array.from({ length: shape[0] * shape[1] }, (_, i) => Math.sin(i * 1.7 + phase) * scale), shape);

const Q = 'model.layers.0.self_attn.q_proj';
const ATTENTION = 'model.layers.0.self_attn';
const MLP = 'model.layers.1.mlp';

/** Adds low-rank terms to the site, its input untouched. */
const lowRank = (model: CausalLM, path: string, phase: number): SiteWrap => {
  const { inFeatures, outFeatures } = model.target('any').sites.get(path)!;
  const [a, b] = [waves([2, inFeatures], phase), waves([outFeatures, 2], phase + 1)];
  return (x, next) => next(x, [{ a, b, scale: 0.5 }]);
};
/** Hands the site an input of its own. */
const scaledInput: SiteWrap = (x, next) => next(tf.mul(x, 1.5));
/** An adapter in parallel, that reads the residual stream. */
const besideResidual: SiteWrap = (x, next, { residual }) => tf.add(next(x), tf.mul(tf.tanh(residual!), 0.3));

describe('grafts of one stack', () => {
  it('nest in the order added, the last outermost, and removing them restores the site exactly', async () => {
    const { model } = await loadFolder(await checkpoint('peft'));
    const packed = batch();
    const before = logits(model, packed);
    const site = model.target('s').sites.get(Q)!;
    const first = site.graft((x, next) => tf.add(next(x), 1));
    const second = site.graft((x, next) => tf.mul(next(x), 2));
    const both = logits(model, packed, { stack: 's' });

    const other = model.target('reference').sites.get(Q)!;
    const combined = other.graft((x, next) => tf.mul(tf.add(next(x), 1), 2));
    expect(largestDifference(both, logits(model, packed, { stack: 'reference' }))).toBeLessThan(1e-6);
    expect(largestDifference(both, before)).toBeGreaterThan(1e-3);
    expect(logits(model, packed)).toEqual(before);

    void first();
    void combined();
    const doubled = model.target('doubled').sites.get(Q)!.graft((x, next) => tf.mul(next(x), 2));
    expect(logits(model, packed, { stack: 's' })).toEqual(logits(model, packed, { stack: 'doubled' }));
    void second();
    void doubled();
    expect(logits(model, packed, { stack: 's' })).toEqual(before);
    model.dispose();
  });

  it('may pass low-rank terms to a graft below: they are added to what that computes', async () => {
    const { model } = await loadFolder(await checkpoint('peft'));
    const target = model.target('s');
    target.sites.get(Q)!.graft((x, next) => tf.mul(next(x), 2));
    target.sites.get(Q)!.graft(lowRank(model, Q, 3));
    const [a, b] = [waves([2, 32], 3), waves([32, 2], 4)];
    const reference = model.target('reference').sites.get(Q)!;
    reference.graft((x, next) => tf.add(tf.mul(next(x), 2), tf.mul(tf.matMul(tf.matMul(x, a, false, true), b, false, true), 0.5)));
    expect(largestDifference(logits(model, batch(), { stack: 's' }), logits(model, batch(), { stack: 'reference' }))).toBeLessThan(1e-5);
    model.dispose();
  });

  it('are told of their pass: path, training, segments, residual stream and dropout keys', async () => {
    const { model } = await loadFolder(await checkpoint('peft'));
    const calls: SiteCall[] = [];
    const target = model.target('s');
    for (const path of [Q, MLP]) {
      target.sites.get(path)!.graft((x, next, call) => {
        calls.push(call);
        if (call.residual !== undefined) expect(call.residual.shape).toEqual(x.shape);
        if (call.training) expect(call.dropoutKey('a')).toEqual({ seed: 5, step: 9, path: `${path}/a` });
        return next(x);
      });
    }
    logits(model, batch(), { stack: 's', training: { seed: 5, step: 9 } });
    expect(calls.map(({ path, training, residual }) => [path, training, residual !== undefined])).toEqual([[Q, true, false], [MLP, true, true]]);
    expect([...calls[0]!.offsets]).toEqual([0, 6, 12, 18]);
    target.sites.get(MLP)!.graft((x, next, call) => next(tf.mul(x, Number(call.dropoutKey('a').seed))));
    expect(() => logits(model, batch(), { stack: 's' })).toThrow(`A strategy asked for a dropout mask at ${MLP} in a pass that is not training.`);
    model.dispose();
  });

  it('may not pass low-rank terms to a block', async () => {
    const { model } = await loadFolder(await checkpoint('peft'));
    model.target('s').sites.get(MLP)!.graft(lowRank(model, MLP, 0));
    expect(() => logits(model, batch(), { stack: 's' })).toThrow(`A strategy passed low-rank terms to ${MLP}, which is a block and not a linear layer.`);
    model.dispose();
  });
});

describe('segments of different stacks in one batch', () => {
  async function mixed() {
    const { model } = await loadFolder(await checkpoint('peft'));
    model.target('terms').sites.get(Q)!.graft(lowRank(model, Q, 0));
    model.target('terms').sites.get('lm_head')!.graft(lowRank(model, 'lm_head', 5));
    model.target('input').sites.get(Q)!.graft(scaledInput);
    model.target('input').sites.get(ATTENTION)!.graft(scaledInput);
    model.target('beside').sites.get(MLP)!.graft(besideResidual);
    model.target('beside').sites.get(ATTENTION)!.graft(besideResidual);
    model.target('thawed').parameters.get('model.layers.0.input_layernorm.weight')!.thaw().variable.assign(tf.fill([32], 0.7));
    model.target('thawed').parameters.get('model.embed_tokens.weight')!.thaw().variable.assign(waves([64, 32], 2));
    model.target('thawed').parameters.get('lm_head.weight')!.thaw().variable.assign(waves([64, 32], 8));
    model.target('thawed').parameters.get(`${Q}.weight`)!.thaw().variable.assign(waves([32, 32], 9));
    return model;
  }
  const stacks = ['beside', undefined, 'terms', 'input', 'thawed', 'terms', undefined, 'beside'];

  it('each get what they get in a batch of their own', async () => {
    const model = await mixed();
    const packed = batch(stacks.length, 5);
    const together = logits(model, packed, { stack: stacks });
    const lossesTogether = losses(model, packed, { stack: stacks });
    for (const stack of new Set(stacks)) {
      const alone = logits(model, packed, { stack });
      const lossesAlone = losses(model, packed, { stack });
      stacks.forEach((of, segment) => {
        if (of !== stack) return;
        const part = (values: readonly number[], perRow: number) => values.slice(segment * 5 * perRow, (segment + 1) * 5 * perRow);
        expect(largestDifference(part(together, 64), part(alone, 64)), `logits of ${stack}`).toBeLessThan(1e-5);
        expect(largestDifference(part(lossesTogether, 1), part(lossesAlone, 1)), `loss of ${stack}`).toBeLessThan(1e-5);
      });
    }
    model.dispose();
  });

  it('share one product of the base at a site whose grafts leave their input as it is', async () => {
    const model = await mixed();
    const products: number[] = [];
    const { linear } = model.engine.ops;
    const counting: typeof linear = (x, weight, ...rest) => {
      if (weight === plainQ) products.push(x.shape[0]);
      return linear(x, weight, ...rest);
    };
    const plainQ = findWeight(model);
    (model.engine.ops as { linear: typeof linear }).linear = counting;
    try {
      logits(model, batch(4, 5), { stack: ['terms', undefined, 'terms', undefined] });
    } finally {
      (model.engine.ops as { linear: typeof linear }).linear = linear;
    }
    expect(products).toEqual([20]);
    model.dispose();
  });

  it('train together: the gradients are those of each stack alone', async () => {
    const { model } = await loadFolder(await checkpoint('peft'));
    const variables = ['a', 'b'].map((stack, i) => {
      const variable = tf.variable(waves([2, 32], i), true, `stacks-test-${stack}`);
      const up = waves([32, 2], i + 4);
      model.target(stack).sites.get(Q)!.graft((x, next) => next(x, [{ a: variable as unknown as tf.Tensor2D, b: up, scale: 1 }]));
      return variable;
    });
    const packed = batch(2, 6);
    const gradients = (options: ForwardOptions, wanted: typeof variables) => {
      const { value, grads } = valueAndGrads(() => tf.sum(model.loss(packed, options)) as tf.Scalar, wanted);
      const result = grads.map((gradient) => [...gradient.dataSync()]);
      tf.dispose([value, ...grads]);
      return result;
    };
    const together = gradients({ stack: ['a', 'b'] }, variables);
    const onlyA = gradients({ stack: ['a', undefined] }, [variables[0]!])[0]!;
    const onlyB = gradients({ stack: [undefined, 'b'] }, [variables[1]!])[0]!;
    expect(largestDifference(together[0]!, onlyA)).toBeLessThan(1e-5);
    expect(largestDifference(together[1]!, onlyB)).toBeLessThan(1e-5);
    expect(Math.max(...onlyA.map(Math.abs))).toBeGreaterThan(1e-3);
    model.dispose();
  });

  it('keep their own caches, also where a graft hands a block an input of its own', async () => {
    const model = await mixed();
    const order = ['input', 'beside', undefined];
    const ids = rows(3, 6);
    const whole = batchOf({ input_ids: ids, labels: ids });
    const expected = logits(model, whole, { stack: order });
    const caches = order.map(() => model.createCache());
    const parts = [[0, 4], [4, 6]].map(([start, end]) => {
      const part = batchOf({ input_ids: ids.map((row) => row.slice(start, end)), labels: ids.map((row) => row.slice(start, end)) });
      return logits(model, { ...part, positions: part.positions.map((position) => position + start!) }, { stack: order, caches });
    });
    order.forEach((stack, segment) => {
      const got = [...parts[0]!.slice(segment * 4 * 64, (segment + 1) * 4 * 64), ...parts[1]!.slice(segment * 2 * 64, (segment + 1) * 2 * 64)];
      expect(largestDifference(got, expected.slice(segment * 6 * 64, (segment + 1) * 6 * 64)), `${stack}`).toBeLessThan(1e-5);
    });
    caches.forEach((cache) => cache.dispose());
    model.dispose();
  });
});

/** The frozen weight of the first q_proj, as the engine was given it. */
function findWeight(model: CausalLM): unknown {
  let found: unknown;
  const { linear } = model.engine.ops;
  (model.engine.ops as { linear: typeof linear }).linear = (x, weight, ...rest) => {
    found ??= weight;
    return linear(x, weight, ...rest);
  };
  try {
    logits(model, batch(1, 1));
  } finally {
    (model.engine.ops as { linear: typeof linear }).linear = linear;
  }
  return found;
}

describe('thawed parameters', () => {
  it('train in their stack alone, and restoring goes back to the base', async () => {
    const { model } = await loadFolder(await checkpoint('peft'));
    const before = logits(model, batch());
    const parameter = model.target('s').parameters.get('model.norm.weight')!;
    const { variable, restore } = parameter.thaw();
    expect(logits(model, batch(), { stack: 's' })).toEqual(before);
    variable.assign(tf.fill([32], 0.5));
    expect(largestDifference(logits(model, batch(), { stack: 's' }), before)).toBeGreaterThan(0.1);
    expect(logits(model, batch())).toEqual(before);
    expect(() => parameter.thaw()).toThrow('model.norm.weight is trained by two strategies of the same run.');
    restore();
    expect(logits(model, batch(), { stack: 's' })).toEqual(before);
    model.dispose();
  });

  it.each([
    ['biases_tied_sharded', 'model.embed_tokens.weight', 40],
    ['biases_tied_sharded', 'model.layers.0.self_attn.k_proj.bias', 40],
    ['peft', 'model.embed_tokens.weight', 64],
    ['peft', 'lm_head.weight', 64],
    ['peft', 'model.layers.1.mlp.down_proj.weight', 64],
    ['peft', 'model.layers.0.post_attention_layernorm.weight', 64],
  ])('of %s have the gradient of the loss: %s', async (name, path, vocabulary) => {
    const { model } = await loadFolder(await checkpoint(name));
    const { variable } = model.target('s').parameters.get(path)!.thaw();
    const packed = batch(2, 6, vocabulary);
    const loss = () => tf.sum(model.loss(packed, { stack: 's' })) as tf.Scalar;
    const { value, grads } = valueAndGrads(loss, [variable]);
    const gradient = grads[0]!.dataSync();
    const values = variable.dataSync().slice();
    // The largest entries, where a difference quotient in float32 says most; a used row of an embedding among them.
    const largest = [...gradient.keys()].sort((a, b) => Math.abs(gradient[b]!) - Math.abs(gradient[a]!)).slice(0, 6);
    for (const at of largest) {
      const moved = (delta: number) => {
        const changed = values.slice();
        changed[at]! += delta;
        tf.tidy(() => variable.assign(tf.tensor(changed, variable.shape)));
        return tf.tidy(loss).dataSync()[0]!;
      };
      const quotient = (moved(1e-2) - moved(-1e-2)) / 2e-2;
      expect(Math.abs(gradient[at]! - quotient) / Math.max(1, Math.abs(quotient)), `${path}[${at}]: ${gradient[at]} against ${quotient}`).toBeLessThan(2e-2);
    }
    tf.dispose([value, ...grads]);
    model.dispose();
  });

  it('add up the gradients of both uses of a tied embedding', async () => {
    const { model } = await loadFolder(await checkpoint('biases_tied_sharded'));
    const { variable } = model.target('s').parameters.get('model.embed_tokens.weight')!.thaw();
    const packed = batch(1, 4, 40);
    const { value, grads } = valueAndGrads(() => tf.sum(model.loss(packed, { stack: 's' })) as tf.Scalar, [variable]);
    const perRow = [...tf.tidy(() => tf.sum(tf.abs(grads[0]!), 1).dataSync())];
    // Every row of the output layer takes part in the softmax, used as an input or not.
    expect(perRow.every((sum) => sum > 0)).toBe(true);
    tf.dispose([value, ...grads]);
    model.dispose();
  });
});

describe('assigning', () => {
  it('changes the base for good, in every stack that did not thaw the parameter', async () => {
    const { model } = await loadFolder(await checkpoint('peft'));
    const parameter = model.target('s').parameters.get(`${Q}.weight`)!;
    const values = waves([32, 32], 1);
    parameter.assign(values);
    const read = model.parameters.get(`${Q}.weight`)!.read();
    expect([...read.dataSync()]).toEqual([...values.dataSync()]);
    model.target('reference').parameters.get(`${Q}.weight`)!.thaw().variable.assign(values);
    expect(largestDifference(logits(model, batch()), logits(model, batch(), { stack: 'reference' }))).toBeLessThan(1e-5);
    expect(() => parameter.assign(waves([32, 16], 1))).toThrow(`${Q}.weight is [32, 32]; it can't take values of shape [32, 16].`);
    model.dispose();
  });
});

describe('memory', () => {
  it('stays flat over forward and backward passes, with and without stacks', async () => {
    const { model } = await loadFolder(await checkpoint('peft'));
    const variable = tf.variable(waves([2, 32], 0), true, 'stacks-test-memory');
    const up = waves([32, 2], 1);
    model.target('s').sites.get(Q)!.graft((x, next) => next(x, [{ a: variable as unknown as tf.Tensor2D, b: up, scale: 1 }]));
    model.target('s').sites.get(MLP)!.graft(besideResidual);
    const packed = batch(2, 5);
    const step = () => {
      const { value, grads } = valueAndGrads(() => tf.sum(model.loss(packed, { stack: 's', training: { seed: 0, step: 0 } })) as tf.Scalar, [variable]);
      tf.dispose([value, ...grads]);
      losses(model, packed, { stack: ['s', undefined] });
      logits(model, packed);
    };
    step();
    const before = tf.memory().numTensors;
    for (let i = 0; i < 5; i++) step();
    expect(tf.memory().numTensors).toBe(before);
    model.dispose();
  });

  it('is given back when the model is disposed', async () => {
    const dir = await checkpoint('peft');
    const before = tf.memory().numTensors;
    const { model } = await loadFolder(dir);
    logits(model, batch());
    model.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });
});
