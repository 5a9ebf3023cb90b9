import { checkRowTerms, fused, needsGradient, portableOps, type LowRankTerm, type Weight } from 'graft';
import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../backend.ts';
import { recipeOf, type Recipe } from '../recipes.ts';
import { matrixOf } from './matrix.ts';

type Operand = 'x' | 'weight' | 'bias' | `input${number}` | `a${number}` | `b${number}`;

const NONE = -1;

/** `linear` of core/tensor/ops in one pass over the weight, low-rank terms and bias included; its backward likewise. */
export function nativeLinear(backend: NativeBackend) {
  const { native } = backend;
  const idOf = (tensor: Tensor | undefined): number => (tensor === undefined ? NONE : backend.id(tensor));

  return (x: Tensor2D, weight: Weight, bias?: Tensor1D, given: readonly LowRankTerm[] = []): Tensor2D => {
    const terms: LowRankTerm[] = [];
    const ofSome: LowRankTerm[] = [];
    for (const term of given) (term.rows === undefined ? terms : ofSome).push(term);
    checkRowTerms(x, ofSome);
    // Terms of some rows are for generating with many adapters, where no gradient is asked for.
    if (ofSome.some(({ a, b }) => needsGradient(x) || needsGradient(a) || needsGradient(b))) return portableOps.linear(x, weight, bias, given);
    const rowTerms: number[] = [];
    for (const { a, b, scale, rows = [] } of ofSome) {
      rowTerms.push(backend.id(a), backend.id(b), a.shape[0], scale, 2 * rows.length);
      for (const { start, count } of rows) rowTerms.push(start, count);
    }
    const [rows, width] = x.shape;
    const [outputs] = weight.shape;
    const matrix = matrixOf(backend, weight);
    const inputs: Partial<Record<Operand, Tensor>> = { x, bias, weight: matrix.tensor };
    terms.forEach(({ input, a, b }, i) => {
      if (input !== undefined) inputs[`input${i}`] = input;
      inputs[`a${i}`] = a;
      inputs[`b${i}`] = b;
    });

    // Operands that only a weight's gradient reads may be made again rather than kept.
    const [madeX, madeInputs] = [recipeOf(x), terms.map(({ input }) => input && recipeOf(input))];

    return fused<Operand, Tensor2D>({
      inputs,

      forward: (wants) => {
        const y = backend.tensor<Tensor2D>([rows, outputs]);
        // x A^T is kept for dB; the input for dA.
        const products = terms.map(({ a }, i) => (wants(`b${i}`) ? backend.tensor<Tensor2D>([rows, a.shape[0]]) : undefined));
        const parts = terms.flatMap(({ input, a, b, scale }, i) => [idOf(input), input?.shape[1] ?? width, backend.id(a), backend.id(b), a.shape[0], scale, idOf(products[i])]);
        native.run('linear', [backend.id(x), rows, width, ...matrix.args, outputs, idOf(bias), terms.length, ...parts, ofSome.length, ...rowTerms, backend.id(y)]);

        const saved: Tensor[] = [];
        const keepsX = wants('weight') || terms.some(({ input }, i) => input === undefined && wants(`a${i}`));
        if (keepsX) saved.push(...madeX.inputs);
        if (matrix.tensor !== undefined) saved.push(matrix.tensor);
        terms.forEach(({ input, a, b }, i) => {
          saved.push(a, b);
          if (products[i] !== undefined) saved.push(products[i]);
          if (input !== undefined && wants(`a${i}`)) saved.push(...madeInputs[i]!.inputs);
        });
        return { value: y, saved };
      },

      backward: (dy, saved, wants) => {
        const kept = [...saved];
        const next = (): Tensor => kept.shift()!;
        const made = ({ inputs: { length }, make }: Recipe): Tensor => make(kept.splice(0, length));
        const keepsX = wants('weight') || terms.some(({ input }, i) => input === undefined && wants(`a${i}`));
        const xId = keepsX ? backend.id(made(madeX)) : NONE;
        const args = matrix.tensor === undefined ? matrix.args : matrixOf(backend, next() as Tensor2D).args;
        const gradients: Partial<Record<Operand, Tensor>> = {};
        const wanted = (name: Operand, shape: readonly number[]): number => (wants(name) ? backend.id((gradients[name] = backend.tensor(shape))) : NONE);
        const parts = terms.flatMap(({ input, scale }, i) => {
          const [a, b] = [next() as Tensor2D, next() as Tensor2D];
          const h = wants(`b${i}`) ? backend.id(next()) : NONE;
          const [r, own] = a.shape;
          // The input's gradient needs no input; a place is named all the same, so that it is told from x.
          const inputId = input === undefined ? NONE : wants(`a${i}`) ? backend.id(made(madeInputs[i]!)) : backend.id(a);
          const passes = input === undefined ? wants('x') : wants(`input${i}`);
          const [da, db] = [wanted(`a${i}`, [r, own]), wanted(`b${i}`, [outputs, r])];
          return [inputId, own, backend.id(a), backend.id(b), r, scale, h, da, db, passes ? 1 : 0, input === undefined ? NONE : wanted(`input${i}`, [rows, own])];
        });
        const out = [wanted('x', [rows, width]), wanted('weight', [outputs, width]), wanted('bias', [outputs])];
        native.run('linearBackward', [backend.id(dy), rows, outputs, xId, width, ...args, terms.length, ...parts, ...out]);
        return gradients;
      },
    });
  };
}
