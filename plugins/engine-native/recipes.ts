/** How to make again what is cheap to make, so that a backward keeps what it is made from, which others keep anyway. */
import type { Tensor } from '@tensorflow/tfjs-core';

export interface Recipe {
  /** To be saved by whoever needs the tensor in its backward. */
  readonly inputs: readonly Tensor[];
  /** The same bits again, in the shape in which the tensor was first made. @param saved the inputs, or clones of them */
  make(saved: readonly Tensor[]): Tensor;
}

interface Registered {
  readonly recipe: Recipe;
  /** The memory that each input was read from: a variable may be given other values. */
  readonly dataIds: readonly object[];
}

/** Under the memory that a tensor's clones and reshapes share with it. It holds no memory: the inputs are looked at, and may be gone. */
let recipeByDataId = new WeakMap<object, Registered>();

/** @param recipe whose inputs are kept for a backward already, or are together no larger than the tensor */
export function registerRecipe(tensor: Tensor, recipe: Recipe): void {
  recipeByDataId.set(tensor.dataId, { recipe, dataIds: recipe.inputs.map(({ dataId }) => dataId) });
}

/** For whoever changes memory in place: what was made before can't be made again. */
export function forgetRecipes(): void {
  recipeByDataId = new WeakMap();
}

/** What to save of an operand, and how to have it back: its recipe while the inputs live, else the operand itself. */
export function recipeOf(operand: Tensor): Recipe {
  const registered = recipeByDataId.get(operand.dataId);
  const usable = registered?.recipe.inputs.every((input, i) => !input.isDisposed && input.dataId === registered.dataIds[i]);
  return registered !== undefined && usable === true ? registered.recipe : { inputs: [operand], make: ([saved]) => saved! };
}
