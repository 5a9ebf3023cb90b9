/** The engine's fused operations; what has no native form yet is the portable definition on native tensors. */
import { portableOps, type FusedOps } from 'graft';
import type { NativeBackend } from '../backend.ts';
import { nativeAttention } from './attention.ts';
import { nativeCrossEntropy } from './cross-entropy.ts';
import { nativeEmbedding } from './embedding.ts';
import { nativeLinear } from './linear.ts';

export function nativeOps(backend: NativeBackend): FusedOps {
  return { ...portableOps, linear: nativeLinear(backend), embedding: nativeEmbedding(backend), attention: nativeAttention(backend), crossEntropy: nativeCrossEntropy(backend) };
}
