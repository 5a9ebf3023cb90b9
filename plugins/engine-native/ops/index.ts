/** The engine's fused operations; what has no native form yet is the portable definition on native tensors. */
import { portableOps, type FusedOps } from 'graft';
import type { NativeBackend } from '../backend.ts';
import { nativeDropout } from './dropout.ts';
import { nativeEmbedding } from './embedding.ts';
import { nativeLinear } from './linear.ts';
import { nativeRmsNorm } from './rms-norm.ts';
import { nativeRope } from './rope.ts';
import { nativeSwiglu } from './swiglu.ts';

export function nativeOps(backend: NativeBackend): FusedOps {
  return {
    ...portableOps,
    linear: nativeLinear(backend),
    embedding: nativeEmbedding(backend),
    rmsNorm: nativeRmsNorm(backend),
    rope: nativeRope(backend),
    swiglu: nativeSwiglu(backend),
    dropout: nativeDropout(backend),
  };
}
