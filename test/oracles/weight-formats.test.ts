import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Engine, WeightDtype } from '../../core/index.ts';
import { packRows, type Rows } from '../../core/run/oracles/rows.ts';
import { trainSteps } from '../../core/run/oracles/train.ts';
import { graftFromFolder, recognizeFolder } from '../../core/run/recognize.ts';
import { loadCall, oracleDir, sharedDir } from '../support/model.ts';
import { setUpInject } from '../support/strategies.ts';
import lora from '../../plugins/inject-lora/index.ts';
import { loadLlama } from '../../plugins/load-llama/load.ts';
import { startNative } from '../../plugins/engine-native/engine.ts';

const shared = sharedDir();
if (shared === undefined) console.warn('Skipped: ../shared is not here, so training on quantized weights is not held against the stories260k oracle.');

interface LoraSft {
  readonly optimizer: { readonly lr: number; readonly weight_decay: number; readonly clip: number };
  readonly batches: Rows[];
  /** Of PyTorch and PEFT, in float32. */
  readonly losses: number[];
}

/** 24 steps of 2,048 tokens. */
const TIMEOUT = 180_000;

describe.skipIf(shared === undefined)('LoRA on real weights', { timeout: TIMEOUT }, () => {
  const dir = join(oracleDir(), 'stories260k');
  let engine: Engine;
  let oracle: LoraSft;
  beforeAll(async () => {
    engine = await startNative();
    oracle = JSON.parse(await readFile(join(dir, 'lora_sft.json'), 'utf8')) as LoraSft;
  });

  /** The losses of the oracle's batches, with the frozen weights kept as asked. */
  async function losses(dtype: WeightDtype, lowMemory = false): Promise<readonly number[]> {
    const { optimizer, batches, losses: expected } = oracle;
    const call = await loadCall(join(shared!, 'models/stories260k'), { dtype, low_memory: lowMemory }, engine);
    const { model } = await loadLlama(call);
    const init = join(dir, 'lora_init');
    const graft = await graftFromFolder(init, await recognizeFolder(init, [await setUpInject('lora', lora)]), model, 'stories', call);
    const packed = batches.map(packRows);
    const schedule = expected.map((_, step) => packed[step % packed.length]!);
    const trained = trainSteps(model, 'stories', graft.trainables, schedule, { learningRate: optimizer.lr, weightDecay: optimizer.weight_decay, clip: optimizer.clip });
    graft.remove();
    model.dispose();
    return trained.losses;
  }

  // int8 and nf4 are other weights, rounded from these: 1 in 254 and about 1 in 12 of what is largest.
  it.each<[WeightDtype, number]>([['f32', 2e-4], ['bf16', 0.02], ['f16', 0.005], ['int8', 0.02], ['nf4', 0.25]])('follows the losses of float32 in %s, within a part of %d', async (dtype, part) => {
    const trained = await losses(dtype);
    const worst = trained.reduce((most, loss, i) => Math.max(most, Math.abs(loss / oracle.losses[i]! - 1)), 0);
    expect(worst).toBeLessThan(part);
    const batches = oracle.batches.length;
    expect(trained.at(-1)).toBeLessThan(0.97 * trained[(trained.length - 1) % batches]!);
  });

  it('has the same losses from mapped weights as from those in memory', async () => {
    expect(await losses('f32', true)).toEqual(await losses('f32'));
  });
});
