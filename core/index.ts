/** All that a plugin author imports: `import { definePlugin, Type, tf } from 'graft'`. */
export type * from './contracts/index.ts';
export { definePlugin } from './kernel/define.ts';
export { token } from './kernel/token.ts';
export { GraftError, reasonOf } from './kernel/errors.ts';
export { Type, type Static, type TSchema } from 'typebox';
export * as tf from '@tensorflow/tfjs-core';
