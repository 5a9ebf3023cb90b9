/** Gradients that tfjs leaves out or has wrong, of operations that a strategy may well use. Registered once, when this module loads. */
import * as tf from '@tensorflow/tfjs';
import type { GradConfig, NamedAttrMap, Tensor } from '@tensorflow/tfjs-core';

/** `topk`: each value's gradient goes to the element it was. */
const topK: GradConfig = {
  kernelName: 'TopK',
  inputsToSave: ['x'],
  outputsToSave: [false, true],
  gradFunc: (dy, saved) => {
    const [dValues] = dy as Tensor[];
    const [x, indices] = saved as [Tensor, Tensor];
    const width = x.shape[x.rank - 1]!;
    return {
      x: () => tf.sum(tf.mul(tf.cast(tf.oneHot(tf.cast(indices, 'int32'), width), 'float32'), tf.expandDims(dValues!, -1)), -2),
    };
  },
};

/** `gatherND`: the gradients of the elements add up where they were taken from. */
const gatherNd: GradConfig = {
  kernelName: 'GatherNd',
  inputsToSave: ['params', 'indices'],
  gradFunc: (dy, saved) => {
    const [params, indices] = saved as [Tensor, Tensor];
    return { params: () => tf.scatterND(indices, dy as Tensor, params.shape), indices: () => tf.zerosLike(tf.cast(indices, 'float32')) };
  },
};

/** `scatterND`: each update gets the gradient of the place it was added to. */
const scatterNd: GradConfig = {
  kernelName: 'ScatterNd',
  inputsToSave: ['indices'],
  gradFunc: (dy, saved) => {
    const [indices] = saved as [Tensor];
    return { updates: () => tf.gatherND(dy as Tensor, indices!), indices: () => tf.zerosLike(tf.cast(indices!, 'float32')) };
  },
};

/**
 * `einsum`: the gradient of one operand is the einsum of dy with the others, laid out as the operand. An index that only
 * the operand has was summed over, so its gradient is the same all along it.
 */
const einsum: GradConfig = {
  kernelName: 'Einsum',
  saveAllInputs: true,
  gradFunc: (dy, saved, attrs) => {
    const { equation } = attrs as NamedAttrMap & { equation: string };
    const [left, output] = equation.replaceAll(' ', '').split('->') as [string, string];
    const subscripts = left.split(',');
    const operands = saved as Tensor[];
    const gradientOf = (which: number): Tensor => {
      const own = [...subscripts[which]!];
      const others = subscripts.filter((_, i) => i !== which);
      const known = own.filter((index) => output.includes(index) || others.some((other) => other.includes(index)));
      const rest = operands.filter((_, i) => i !== which);
      // A scalar dy has no indices to write in an equation, so it multiplies what the others give.
      const scalar = output === '';
      const terms = scalar ? others : [output, ...others];
      const product = terms.length === 0 ? tf.scalar(1) : tf.einsum(`${terms.join(',')}->${known.join('')}`, ...(scalar ? rest : [dy as Tensor, ...rest]));
      const gradient = scalar ? tf.mul(product, dy as Tensor) : product;
      const spread = own.map((index, axis) => (known.includes(index) ? operands[which]!.shape[axis]! : 1));
      return tf.add(tf.reshape(gradient, spread), tf.zeros(operands[which]!.shape));
    };
    return Object.fromEntries(operands.map((_, i) => [i, () => gradientOf(i)]));
  },
};

/** `unstack`: tfjs's own fails where there is one output, whose gradient it is given bare. */
const unpack: GradConfig = {
  kernelName: 'Unpack',
  gradFunc: (dy, _saved, attrs) => ({ value: () => tf.stack(Array.isArray(dy) ? dy : [dy], (attrs as NamedAttrMap & { axis: number }).axis) }),
};

/** `split`: the same. */
const splitV: GradConfig = {
  kernelName: 'SplitV',
  gradFunc: (dy, _saved, attrs) => ({ x: () => (Array.isArray(dy) ? tf.concat(dy, (attrs as NamedAttrMap & { axis: number }).axis) : tf.clone(dy)) }),
};

/** `cumsum`: the sum from the other side; tfjs's own has another shape along any axis but the last. */
const cumsum: GradConfig = {
  kernelName: 'Cumsum',
  gradFunc: (dy, _saved, attrs) => {
    const { axis, exclusive, reverse } = attrs as NamedAttrMap & { axis: number; exclusive: boolean; reverse: boolean };
    return { x: () => tf.cumsum(dy as Tensor, axis, exclusive, !reverse) };
  },
};

for (const config of [topK, gatherNd, scatterNd, einsum, unpack, splitV, cumsum]) {
  if (tf.getGradient(config.kernelName) != null) tf.unregisterGradient(config.kernelName);
  tf.registerGradient(config);
}
