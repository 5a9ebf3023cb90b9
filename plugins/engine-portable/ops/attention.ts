import { attentionSegments, fused, type AttentionShape } from 'graft';
import type { Tensor, Tensor3D } from '@tensorflow/tfjs-core';
import type { WasmMemory } from '../memory.ts';

/** Attention with its own kernels: a segment at a time, a head at a time, four queries at a time; P is never stored. */
export function wasmAttention(memory: WasmMemory) {
  const { kernels } = memory;

  return (q: Tensor3D, k: Tensor3D, v: Tensor3D, shape: AttentionShape): Tensor3D => {
    const [queries, heads, size] = q.shape;
    const [keys, groups] = k.shape;
    const segments = attentionSegments(shape, queries, keys);
    const window = shape.window ?? 0;
    const scratch = kernels.attentionScratch(Math.max(...segments.map(({ m }) => m)), size);
    const queryRow = heads * size * 4;
    const keyRow = groups * size * 4;
    const statsRow = heads * 8;

    return fused<'q' | 'k' | 'v', Tensor3D>({
      inputs: { q, k, v },

      forward: () => {
        const out = memory.empty<Tensor3D>([queries, heads, size]);
        // Of each query and head: the largest score, and the inverse of the sum of exponentials.
        const stats = memory.empty<Tensor>([queries, heads, 2]);
        const [qAt, kAt, vAt, outAt, statsAt] = [q, k, v, out, stats].map((tensor) => memory.address(tensor)) as [number, number, number, number, number];
        memory.withScratch(scratch, (at) => {
          for (const { q0, n, k0, m } of segments) {
            kernels.attention(qAt + q0 * queryRow, kAt + k0 * keyRow, vAt + k0 * keyRow, outAt + q0 * queryRow, statsAt + q0 * statsRow, at, n, m, heads, groups, size, shape.scale, window);
          }
        });
        return { value: out, saved: [q, k, v, stats] };
      },

      backward: (dy, saved) => {
        const dq = memory.empty<Tensor3D>([queries, heads, size]);
        const [dk, dv] = [memory.empty<Tensor3D>([keys, groups, size]), memory.empty<Tensor3D>([keys, groups, size])];
        const [dyAt, qAt, kAt, vAt, statsAt] = [dy, ...saved].map((tensor) => memory.address(tensor)) as [number, number, number, number, number];
        const [dqAt, dkAt, dvAt] = [memory.address(dq), memory.address(dk), memory.address(dv)];
        memory.withScratch(scratch, (at) => {
          for (const { q0, n, k0, m } of segments) {
            const [inQueries, inKeys] = [q0 * queryRow, k0 * keyRow];
            kernels.attentionBackward(dyAt + inQueries, qAt + inQueries, kAt + inKeys, vAt + inKeys, statsAt + q0 * statsRow, dqAt + inQueries, dkAt + inKeys, dvAt + inKeys, at, n, m, heads, groups, size, shape.scale, window);
          }
        });
        return { q: dq, k: dk, v: dv };
      },
    });
  };
}
