import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { CausalLM } from '../../contracts/index.ts';
import { reasonOf } from '../../kernel/errors.ts';
import { generate } from '../../tensor/generate.ts';
import { graftFromFolder, recognizeFolder } from '../recognize.ts';
import { TOLERANCE, type Check, type OracleHost, type OracleResult } from './port.ts';
import { largestDifference, meanLossValue, packRows, type Rows } from './rows.ts';
import { trainSteps } from './train.ts';

interface Greedy {
  readonly input_ids: number[];
  readonly output_ids: number[];
  readonly loss: number;
}

interface LoraSft {
  readonly optimizer: { readonly lr: number; readonly weight_decay: number; readonly clip: number };
  readonly batches: Rows[];
  readonly losses: number[];
}

/** The oracles on real weights and real text. */
export async function* checkStories(dir: string, modelDir: string, host: OracleHost): AsyncGenerator<OracleResult> {
  const parts: readonly (readonly [string, string, (json: unknown, model: CausalLM) => Promise<readonly Check[]>])[] = [
    ['stories260k/greedy', 'greedy.json', (json, model) => checkGreedy(json as Greedy[], model, host)],
    ['stories260k/lora_sft', 'lora_sft.json', (json, model) => checkLoraSft(dir, json as LoraSft, model, host)],
  ];
  if (!existsSync(join(modelDir, 'config.json'))) {
    for (const [method] of parts) yield { method, state: 'skipped', reason: `the model is not at ${modelDir}` };
    return;
  }
  const { model } = await host.load(modelDir);
  try {
    for (const [method, file, check] of parts) {
      if (!existsSync(join(dir, file))) continue;
      try {
        yield { method, state: 'checked', checks: await check(JSON.parse(await readFile(join(dir, file), 'utf8')), model) };
      } catch (error) {
        yield { method, state: 'broken', reason: reasonOf(error) };
      }
    }
  } finally {
    model.dispose();
  }
}

/** Token by token, and the loss of each prompt. */
async function checkGreedy(cases: readonly Greedy[], model: CausalLM, host: OracleHost): Promise<readonly Check[]> {
  let wrong = 0;
  let loss = 0;
  for (const { input_ids: prompt, output_ids: expected, loss: expectedLoss } of cases) {
    const ids: number[] = [];
    for await (const { id } of generate(model, { inputIds: Int32Array.from(prompt), maxTokens: expected.length, temperature: 0, seed: 0, stopTokenIds: [], signal: host.call.signal })) ids.push(id);
    wrong += expected.filter((id, at) => ids[at] !== id).length;
    const mask = [prompt.map(() => 1)];
    const batch = packRows({ input_ids: [prompt], attention_mask: mask, labels: [prompt] });
    loss = Math.max(loss, Math.abs(meanLossValue(model, batch, {}) - expectedLoss));
  }
  return [
    { name: 'wrong tokens', difference: wrong, tolerance: 0 },
    { name: 'loss', difference: loss, tolerance: TOLERANCE.losses },
  ];
}

async function checkLoraSft(dir: string, { optimizer, batches, losses: expected }: LoraSft, model: CausalLM, host: OracleHost): Promise<readonly Check[]> {
  const init = join(dir, 'lora_init');
  const stack = 'oracle stories';
  const graft = await graftFromFolder(init, await recognizeFolder(init, host.injectPlugins), model, stack, host.call);
  try {
    const packed = batches.map(packRows);
    const schedule = expected.map((_, step) => packed[step % packed.length]!);
    const { losses } = trainSteps(model, stack, graft.trainables, schedule, { learningRate: optimizer.lr, weightDecay: optimizer.weight_decay, clip: optimizer.clip });
    return [{ name: 'losses', difference: largestDifference(losses, expected), tolerance: TOLERANCE.storiesLosses }];
  } finally {
    graft.remove();
  }
}
