import { fused, type FusedOps } from 'graft';
import type { Tensor, Tensor3D } from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../backend.ts';

/** `rope` of core/tensor/ops. */
export function nativeRope(backend: NativeBackend): FusedOps['rope'] {
  return (x, cos, sin) => {
    const [tokens, heads, size] = x.shape;
    const turned = (from: Tensor3D, c: Tensor, s: Tensor, sign: 1 | -1): Tensor3D => {
      const y = backend.tensor<Tensor3D>([tokens, heads, size]);
      backend.native.run('rope', [backend.id(from), backend.id(c), backend.id(s), tokens, heads, size / 2, sign, backend.id(y)]);
      return y;
    };
    return fused<'x', Tensor3D>({
      inputs: { x },
      forward: () => ({ value: turned(x, cos, sin, 1), saved: [cos, sin] }),
      backward: (dy, [c, s]) => ({ x: turned(dy, c!, s!, -1) }),
    });
  };
}
