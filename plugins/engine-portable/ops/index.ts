/** The engine's fused operations: the portable definitions, with our own kernels where those are faster. */
import { crossEntropyWith, portableOps, rotating, type FusedOps } from 'graft';
import type { Tensor1D } from '@tensorflow/tfjs-core';
import type { WasmMemory } from '../memory.ts';
import { wasmAttention } from './attention.ts';
import { wasmDropout, wasmRmsNorm, wasmRope, wasmSwiglu } from './rows.ts';

export function wasmOps(memory: WasmMemory): FusedOps {
  return {
    ...portableOps,
    attention: rotating(wasmAttention(memory), wasmRope(memory)),
    rmsNorm: wasmRmsNorm(memory),
    rope: wasmRope(memory),
    swiglu: wasmSwiglu(memory),
    dropout: wasmDropout(memory),
    crossEntropy: crossEntropyWith((logits, classes) => {
      const [rows, vocabulary] = logits.shape;
      const loss = memory.empty<Tensor1D>([rows]);
      memory.withInts(classes, (at) => memory.kernels.softmaxLoss(memory.address(logits), at, memory.address(loss), rows, vocabulary));
      return { gradient: logits, loss };
    }),
  };
}
