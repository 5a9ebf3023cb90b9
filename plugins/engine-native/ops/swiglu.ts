import { fused, type FusedOps } from 'graft';
import type { Tensor, Tensor2D } from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../backend.ts';
import { registerRecipe } from '../recipes.ts';

/** `swiglu` of core/tensor/ops; where gate and up are kept for its backward, its result is made again from them. */
export function nativeSwiglu(backend: NativeBackend): FusedOps['swiglu'] {
  const { native } = backend;
  return (gate, up) => {
    const { shape, size } = gate;
    const gated = (g: Tensor, u: Tensor): Tensor2D => {
      const y = backend.tensor<Tensor2D>(shape);
      native.run('swiglu', [backend.id(g), backend.id(u), size, backend.id(y)]);
      return y;
    };
    return fused<'gate' | 'up', Tensor2D>({
      inputs: { gate, up },
      forward: (wants) => {
        const value = gated(gate, up);
        if (wants('gate') || wants('up')) registerRecipe(value, { inputs: [gate, up], make: ([g, u]) => gated(g!, u!) });
        return { value, saved: [gate, up] };
      },
      backward: (dy, [g, u], wants) => {
        const dgate = wants('gate') ? backend.tensor<Tensor2D>(shape) : undefined;
        const dup = wants('up') ? backend.tensor<Tensor2D>(shape) : undefined;
        native.run('swigluBackward', [backend.id(dy), backend.id(g!), backend.id(u!), size, ...[dgate, dup].map((made) => (made === undefined ? -1 : backend.id(made)))]);
        return { gate: dgate, up: dup };
      },
    });
  };
}
