/** An engine from a tfjs backend that is set: what engines on tfjs have in common. */
import * as tf from '@tensorflow/tfjs';
import type { Engine, EngineInfo, FrozenWeight, FusedOps } from '../contracts/index.ts';
import { freezePortable } from './frozen.ts';
import { portableOps } from './portable.ts';

/**
 * @param info what runs
 * @param ops its fused operations; the portable ones when left out
 */
export function backendEngine(info: EngineInfo, ops: FusedOps = portableOps): Engine {
  const frozen = new Set<FrozenWeight>();
  return {
    info,
    ops,

    freeze: (source, dtype) => {
      const weight = freezePortable(source, dtype);
      const dispose = weight.dispose.bind(weight);
      frozen.add(weight);
      weight.dispose = () => {
        frozen.delete(weight);
        dispose();
      };
      return weight;
    },

    memory: () => {
      const { numBytes, numTensors } = tf.memory();
      let frozenBytes = 0;
      for (const weight of frozen) frozenBytes += weight.bytes;
      return { frozenBytes, tensorBytes: numBytes - frozenBytes, tensors: numTensors };
    },

    dispose: async () => {
      for (const weight of [...frozen]) weight.dispose();
    },
  };
}
