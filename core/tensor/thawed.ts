import type { Variable } from '@tensorflow/tfjs-core';
import type { GraftableParameter } from '../contracts/index.ts';

/** A parameter of the base and the copy of it that a stack trains. */
export interface ThawedParameter {
  readonly parameter: GraftableParameter;
  readonly variable: Variable;
}

/** Parameters of the base that one graft trains copies of. */
export interface ThawedParameters {
  readonly list: readonly ThawedParameter[];
  /** Gives the base the trained values, for good. */
  merge(): void;
  /** Lets the stack compute with the base again, and disposes the copies. */
  restore(): void;
}

/** Thaws parameters, all or none: where one can't be, those before it are restored and the error goes on. */
export function thawParameters(parameters: readonly GraftableParameter[]): ThawedParameters {
  const thawed: (ThawedParameter & { readonly restore: () => void })[] = [];
  const restore = (): void => {
    for (const entry of thawed.splice(0).reverse()) entry.restore();
  };
  try {
    for (const parameter of parameters) thawed.push({ parameter, ...parameter.thaw() });
  } catch (error) {
    restore();
    throw error;
  }
  return {
    list: [...thawed],
    merge: () => {
      for (const { parameter, variable } of thawed) parameter.assign(variable as Parameters<GraftableParameter['assign']>[0]);
    },
    restore,
  };
}
