/** All that a plugin author imports: `import { definePlugin, Type, tf } from 'graft'`. */
export type * from './contracts/index.ts';
export { definePlugin } from './kernel/define.ts';
export { token } from './kernel/token.ts';
export { GraftError, reasonOf } from './kernel/errors.ts';
export { Type, type Static, type TSchema } from 'typebox';
export * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs';
export { valueAndGrads, needsGradient } from './tensor/tape.ts';
export { fused, type FusedOp, type Wants } from './tensor/fused.ts';
export { portableOps } from './tensor/portable.ts';
export { freezePortable } from './tensor/frozen.ts';
export { product } from './tensor/matmul.ts';
export { concatPacked, IGNORED, positionsOf, shiftLabels, trainedTokens } from './tensor/packed.ts';
export { rng, type Rng } from './tensor/rng.ts';
export { AdamW, clipScale, globalNorm, type AdamWOptions, type AdamWState } from './tensor/adamw.ts';
