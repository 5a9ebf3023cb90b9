/** The optimizer's arithmetic in one call each, with its moments in native memory. */
import { tf, type AdamWUpdater, type EngineOptimizer } from 'graft';
import type { Tensor, Variable } from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../backend.ts';
import { forgetRecipes } from '../recipes.ts';

export function nativeOptimizer(backend: NativeBackend): EngineOptimizer {
  return { norm: (gradients) => norm(backend, gradients), adamw: (variables) => nativeAdamW(backend, variables) };
}

async function norm(backend: NativeBackend, gradients: readonly Tensor[]): Promise<number> {
  // The bytes of one double.
  const made = tf.keep(backend.tensor([2]));
  try {
    backend.native.run('globalNorm', [gradients.length, ...gradients.flatMap((gradient) => [backend.id(gradient), gradient.size]), backend.id(made)]);
    const values = await made.data<'float32'>();
    return new Float64Array(values.buffer, values.byteOffset, 1)[0]!;
  } finally {
    made.dispose();
  }
}

function nativeAdamW(backend: NativeBackend, variables: readonly Variable[]): AdamWUpdater {
  const size = variables.reduce((sum, variable) => sum + variable.size, 0);
  const offsets = variables.map((_, i) => variables.slice(0, i).reduce((sum, variable) => sum + variable.size, 0));
  const momentsOf = (values: Float32Array): Tensor => tf.keep(tf.tensor2d(values, [2, size]));
  // All means, then all means of squares.
  let held = momentsOf(new Float32Array(2 * size));
  return {
    update: (gradients, { beta1, beta2, eps, stepSize, correction, scale, kept }) => {
      tf.tidy(() => {
        // A clone of a variable is to keep its values, so the step then makes new ones.
        const made = variables.map((variable) => (backend.refCount(variable.dataId) === 1 ? undefined : backend.tensor(variable.shape)));
        const each = variables.flatMap((variable, i) => [backend.id(variable), backend.id(gradients[i]!), variable.size, kept[i]!, made[i] === undefined ? -1 : backend.id(made[i])]);
        backend.native.run('adamw', [beta1, beta2, eps, stepSize, correction, scale, backend.id(held), variables.length, ...each]);
        variables.forEach((variable, i) => {
          if (made[i] !== undefined) variable.assign(made[i]);
        });
      });
      forgetRecipes();
    },
    moments: () => {
      const values = held.dataSync<'float32'>();
      return variables.map((variable, i) => ({
        expAvg: values.subarray(offsets[i], offsets[i]! + variable.size),
        expAvgSq: values.subarray(size + offsets[i]!, size + offsets[i]! + variable.size),
      }));
    },
    setMoments: (given) => {
      const values = new Float32Array(2 * size);
      given.forEach(({ expAvg, expAvgSq }, i) => {
        values.set(expAvg, offsets[i]);
        values.set(expAvgSq, size + offsets[i]!);
      });
      held.dispose();
      held = momentsOf(values);
    },
    dispose: () => held.dispose(),
  };
}
