/** The engine's fused operations. */
import type { FusedOps } from 'graft';
import type { NativeBackend } from '../backend.ts';
import { nativeAttention } from './attention.ts';
import { nativeCrossEntropy } from './cross-entropy.ts';
import { nativeDropout } from './dropout.ts';
import { nativeEmbedding } from './embedding.ts';
import { nativeLinear } from './linear.ts';
import { nativeRmsNorm } from './rms-norm.ts';
import { nativeRope } from './rope.ts';
import { nativeSwiglu } from './swiglu.ts';

export function nativeOps(backend: NativeBackend): FusedOps {
  return {
    linear: nativeLinear(backend),
    embedding: nativeEmbedding(backend),
    rmsNorm: nativeRmsNorm(backend),
    rope: nativeRope(backend),
    attention: nativeAttention(backend),
    swiglu: nativeSwiglu(backend),
    crossEntropy: nativeCrossEntropy(backend),
    dropout: nativeDropout(backend),
  };
}
