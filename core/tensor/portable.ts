/** The fused operations in plain tfjs: what every engine's own must agree with, and what an engine without its own uses. */
import type { FusedOps } from '../contracts/index.ts';
import { attention } from './ops/attention.ts';
import { crossEntropy } from './ops/cross-entropy.ts';
import { dropout } from './ops/dropout.ts';
import { embedding } from './ops/embedding.ts';
import { linear } from './ops/linear.ts';
import { rmsNorm } from './ops/rms-norm.ts';
import { rope } from './ops/rope.ts';
import { swiglu } from './ops/swiglu.ts';

export const portableOps: FusedOps = Object.freeze({ linear, embedding, rmsNorm, rope, attention, swiglu, crossEntropy, dropout });
