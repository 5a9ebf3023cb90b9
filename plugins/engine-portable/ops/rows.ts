/** The operations on rows with their own kernels: one pass over memory where tfjs takes several. */
import { fused, rngKey, GraftError, type DropoutKey } from 'graft';
import type { Tensor, Tensor1D, Tensor2D, Tensor3D } from '@tensorflow/tfjs-core';
import type { WasmMemory } from '../memory.ts';

export function wasmRmsNorm(memory: WasmMemory) {
  const { kernels } = memory;
  return (x: Tensor2D, weight: Tensor1D, eps: number): Tensor2D => {
    const [rows, size] = x.shape;
    return fused<'x' | 'weight', Tensor2D>({
      inputs: { x, weight },
      forward: () => {
        const [y, r] = [memory.empty<Tensor2D>([rows, size]), memory.empty<Tensor1D>([rows])];
        kernels.rmsNorm(memory.address(x), memory.address(weight), memory.address(y), memory.address(r), rows, size, eps);
        return { value: y, saved: [x, weight, r] };
      },
      backward: (dy, saved, wants) => {
        const [xAt, weightAt, rAt] = saved.map((tensor) => memory.address(tensor)) as [number, number, number];
        const dx = wants('x') ? memory.empty<Tensor2D>([rows, size]) : undefined;
        const dw = wants('weight') ? memory.zeros<Tensor1D>([size]) : undefined;
        kernels.rmsNormBackward(memory.address(dy), xAt, weightAt, rAt, dx ? memory.address(dx) : 0, dw ? memory.address(dw) : 0, rows, size);
        return { x: dx, weight: dw };
      },
    });
  };
}

export function wasmRope(memory: WasmMemory) {
  const { kernels } = memory;
  return (x: Tensor3D, cos: Tensor2D, sin: Tensor2D): Tensor3D => {
    const [tokens, heads, size] = x.shape;
    const turn = (from: Tensor3D, c: Tensor, s: Tensor, sign: 1 | -1): Tensor3D => {
      const y = memory.empty<Tensor3D>([tokens, heads, size]);
      kernels.rope(memory.address(from), memory.address(c), memory.address(s), memory.address(y), tokens, heads, size / 2, sign);
      return y;
    };
    return fused<'x', Tensor3D>({
      inputs: { x },
      forward: () => ({ value: turn(x, cos, sin, 1), saved: [cos, sin] }),
      backward: (dy, saved) => ({ x: turn(dy, saved[0]!, saved[1]!, -1) }),
    });
  };
}

export function wasmSwiglu(memory: WasmMemory) {
  const { kernels } = memory;
  return (gate: Tensor2D, up: Tensor2D): Tensor2D =>
    fused<'gate' | 'up', Tensor2D>({
      inputs: { gate, up },
      forward: () => {
        const y = memory.empty<Tensor2D>(gate.shape);
        kernels.swiglu(memory.address(gate), memory.address(up), memory.address(y), gate.size);
        return { value: y, saved: [gate, up] };
      },
      backward: (dy, saved) => {
        const [g, u] = saved as [Tensor2D, Tensor2D];
        const [dgate, dup] = [memory.empty<Tensor2D>(g.shape), memory.empty<Tensor2D>(g.shape)];
        kernels.swigluBackward(memory.address(dy), memory.address(g), memory.address(u), memory.address(dgate), memory.address(dup), g.size);
        return { gate: dgate, up: dup };
      },
    });
}

export function wasmDropout(memory: WasmMemory) {
  const { kernels } = memory;
  return <T extends Tensor>(x: T, rate: number, { seed, step, path }: DropoutKey): T => {
    if (!(rate >= 0 && rate < 1)) throw new GraftError('DROPOUT_RATE', `A dropout rate must be at least 0 and below 1, not ${rate}.`);
    if (rate === 0) return x.clone() as T;
    const { low, high } = rngKey(seed, 'dropout', step, path);
    const masked = (from: Tensor): T => {
      const y = memory.empty<T>(from.shape);
      kernels.dropout(memory.address(from), memory.address(y), from.size, low, high, Math.round(rate * 2 ** 32), 1 / (1 - rate));
      return y;
    };
    return fused<'x', T>({ inputs: { x }, forward: () => ({ value: masked(x), saved: [] }), backward: (dy) => ({ x: masked(dy) }) });
  };
}
