import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Value } from 'typebox/value';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { tf, type CausalLM, type Dataset, type Packed, type TrainEvent, type TrainHook } from 'graft';
import { CheckpointFolder, CheckpointWriter } from '../../core/run/checkpoints.ts';
import type { OracleHost } from '../../core/run/oracles/port.ts';
import { inject, oracleBase, ORACLES, strategyHost } from '../../test/support/strategies.ts';
import plugin from './index.ts';
import { dpoOptions, type DpoOptions } from './options.ts';

type Step = Extract<TrainEvent, { type: 'step' }>;
interface OracleStep {
  readonly loss: number;
  readonly grad_norm: number;
  readonly 'rewards/chosen': number;
  readonly 'rewards/rejected': number;
  readonly 'rewards/accuracies': number;
  readonly 'rewards/margins': number;
}
/** What TRL's DPOTrainer computed on the base and the LoRA of the oracles, with the base as the reference. */
interface Oracle {
  readonly optimizer: { readonly learning_rate: number; readonly weight_decay: number; readonly max_grad_norm: number };
  readonly pairs: readonly { readonly prompt_ids: readonly number[]; readonly chosen_ids: readonly number[]; readonly rejected_ids: readonly number[] }[];
  readonly runs: readonly { readonly loss_type: DpoOptions['loss_type']; readonly beta: number; readonly label_smoothing?: number; readonly steps: readonly OracleStep[] }[];
}

const oracle = JSON.parse(readFileSync(join(ORACLES, 'trl/dpo.json'), 'utf8')) as Oracle;

function pairOf({ prompt_ids, chosen_ids, rejected_ids }: Oracle['pairs'][number]): Packed {
  const halves = [chosen_ids, rejected_ids].map((completion) => ({ ids: [...prompt_ids, ...completion], labels: [...prompt_ids.map(() => -100), ...completion] }));
  return {
    inputIds: Int32Array.from(halves.flatMap(({ ids }) => ids)),
    labels: Int32Array.from(halves.flatMap(({ labels }) => labels)),
    offsets: Int32Array.of(0, halves[0]!.ids.length, halves[0]!.ids.length + halves[1]!.ids.length),
  };
}

function datasetOf(train: readonly Packed[], held: readonly Packed[] = []): Dataset {
  return { preferences: true, train, eval: held, info: [], stats: { examples: train.length, tokens: 0, trainedTokens: 0, truncatedExamples: 0, badRows: 0 } };
}

describe('train dpo', () => {
  const pairs = oracle.pairs.map(pairOf);
  const { learning_rate, weight_decay, max_grad_norm } = oracle.optimizer;
  let host: OracleHost;
  let model: CausalLM;
  let dir: string;
  let stacks = 0;

  beforeAll(async () => {
    host = await strategyHost();
    model = await (await oracleBase(host)).load();
  });
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'graft-dpo-'));
    return () => rmSync(dir, { recursive: true, force: true });
  });
  afterAll(() => model.dispose());

  const options = (given: Partial<DpoOptions>): DpoOptions => Value.Default(dpoOptions, { lr_scheduler_type: 'constant', learning_rate, weight_decay, max_grad_norm, ...given }) as DpoOptions;

  interface Given {
    readonly data?: Dataset;
    readonly resume?: boolean;
    readonly swapped?: 'same-data';
    readonly stopAfter?: number;
    readonly lora?: Readonly<Record<string, unknown>>;
  }

  /** Trains the oracle's LoRA from its beginning or from the last checkpoint, and takes it off again. */
  async function run(given: Partial<DpoOptions>, { data = datasetOf(pairs), resume = false, swapped, stopAfter, lora = {} }: Given = {}): Promise<TrainEvent[]> {
    const { r, lora_alpha, target_modules } = JSON.parse(readFileSync(join(ORACLES, 'peft/lora/init/adapter_config.json'), 'utf8')) as Record<string, unknown>;
    const stack = `dpo-${stacks++}`;
    const graft = await inject(host, model, stack, 'lora', { r, lora_alpha, target_modules, ...lora });
    const folder = new CheckpointFolder(join(dir, 'checkpoints'));
    const stop = new AbortController();
    const events: TrainEvent[] = [];
    try {
      await graft.load(join(ORACLES, 'peft/lora/init'));
      const latest = resume ? await folder.latest() : undefined;
      const hook = (await plugin.setup({} as never)) as TrainHook<DpoOptions>;
      const call = { ...host.call, config: options(given), model, dataset: data, grafts: [graft], stack, signal: stop.signal, checkpoints: new CheckpointWriter(folder, [graft], () => 0), resume: latest && { ...latest, swapped } };
      for await (const event of hook.train(call)) {
        events.push(event);
        if (event.type === 'step' && event.step === stopAfter) stop.abort();
      }
      return events;
    } finally {
      graft.remove();
    }
  }

  const stepsOf = (events: readonly TrainEvent[]): Step[] => events.filter((event): event is Step => event.type === 'step');
  const numbersOf = (events: readonly TrainEvent[]): unknown[] => stepsOf(events).map(({ loss, gradNorm, metrics }) => ({ loss, gradNorm, metrics }));

  it.each(oracle.runs.map((each) => [`${each.loss_type}, beta ${each.beta}`, each] as const))("has the losses, gradient norms and rewards of TRL's DPOTrainer: %s", async (_, { loss_type, beta, label_smoothing = 0, steps: theirs }) => {
    const ours = stepsOf(await run({ max_steps: theirs.length, batch_size: pairs.length, save_strategy: 'no', loss_type, beta, label_smoothing }));
    expect(ours).toHaveLength(10);
    for (const [i, { loss, gradNorm, metrics }] of ours.entries()) {
      const { loss: theirLoss, grad_norm, ...rewards } = theirs[i]!;
      expect(Math.abs(loss - theirLoss) / Math.max(1, theirLoss)).toBeLessThan(1e-4);
      expect(Math.abs(gradNorm - grad_norm) / Math.max(1, grad_norm)).toBeLessThan(1e-3);
      expect(Object.keys(metrics!).sort()).toEqual(Object.keys(rewards).sort());
      for (const [name, value] of Object.entries(rewards)) expect(Math.abs(metrics![name]! - value)).toBeLessThan(1e-4);
    }
  });

  it('gives the same however a step is divided into passes; a pair stays together', async () => {
    const whole = stepsOf(await run({ max_steps: 4, batch_size: 4, save_strategy: 'no' }));
    for (const micro_batch_tokens of [45, 1]) {
      const divided = stepsOf(await run({ max_steps: 4, batch_size: 4, save_strategy: 'no', micro_batch_tokens }));
      for (const [i, step] of divided.entries()) {
        expect(step.loss).toBeCloseTo(whole[i]!.loss, 5);
        expect(step.gradNorm).toBeCloseTo(whole[i]!.gradNorm, 4);
        for (const [name, value] of Object.entries(whole[i]!.metrics!)) expect(step.metrics![name]).toBeCloseTo(value, 5);
      }
    }
  });

  it('goes on from a checkpoint with the same numbers, bit for bit, dropout included', async () => {
    const given = { epochs: 3, batch_size: 2, save_steps: 2 };
    const lora = { lora_dropout: 0.1 };
    const whole = numbersOf(await run(given, { lora }));
    rmSync(join(dir, 'checkpoints'), { recursive: true, force: true });
    const before = numbersOf(await run(given, { lora, stopAfter: 3 }));
    const after = numbersOf(await run(given, { lora, resume: true }));
    expect([...before, ...after]).toEqual(whole);
  });

  it('after a swap to another loss counts evaluations and checkpoints anew: they are no measure for each other', async () => {
    const data = datasetOf(pairs, pairs.slice(0, 2));
    const common = { batch_size: 2, eval_steps: 2, save_steps: 2, early_stopping_patience: 1, load_best_model_at_end: true };
    const before = await run({ ...common, max_steps: 6 }, { data });
    // With ipo a loss begins about 1 / (2 beta)^2 = 25, which is no worse than what sigmoid's came to.
    const after = await run({ ...common, max_steps: 12, loss_type: 'ipo' }, { data, resume: true, swapped: 'same-data' });
    const evaluations = (events: readonly TrainEvent[]): number[] => events.flatMap((event) => (event.type === 'evaluation' ? [event.loss] : []));
    expect(evaluations(before).at(-1)).toBeLessThan(1);
    expect(evaluations(after)).toHaveLength(3);
    expect(after.at(-1)).toMatchObject({ type: 'train-ended', reason: 'completed', step: 12, evalLoss: Math.min(...evaluations(after)) });
    expect(Math.min(...evaluations(after))).toBeGreaterThan(10);
  });

  it('evaluates pairs: the loss falls and the margins grow', async () => {
    const events = await run({ epochs: 6, batch_size: 2, save_strategy: 'no' }, { data: datasetOf(pairs, pairs.slice(0, 2)) });
    const evaluations = events.flatMap((event) => (event.type === 'evaluation' ? [event] : []));
    expect(evaluations[0]).toMatchObject({ step: 0, trainedTokens: 4 + 1 + 6 + 1 + 3 + 1 + 2 + 1 });
    expect(evaluations[0]).not.toHaveProperty('perplexity');
    expect(evaluations.at(-1)!.loss).toBeLessThan(evaluations[0]!.loss - 0.1);
    expect(evaluations.at(-1)!.metrics!['rewards/margins']).toBeGreaterThan(evaluations[0]!.metrics!['rewards/margins']!);
  });

  it('keeps as many tensors after ten steps as after two', async () => {
    const counts: number[] = [];
    for (const max_steps of [2, 10]) {
      await run({ max_steps, batch_size: 2, save_strategy: 'no' });
      counts.push(tf.memory().numTensors);
    }
    expect(counts[1]).toBe(counts[0]);
  });

  it('leaves out a pair one of whose halves has nothing to learn', async () => {
    const [first, second] = pairs as [Packed, Packed];
    const silent = { ...second, labels: second.labels.map((label, i) => (i < second.offsets[1]! ? -100 : label)) };
    expect(numbersOf(await run({ max_steps: 1, batch_size: 4, save_strategy: 'no' }, { data: datasetOf([first, silent]) }))).toEqual(
      numbersOf(await run({ max_steps: 1, batch_size: 4, save_strategy: 'no' }, { data: datasetOf([first]) })),
    );
  });

  it('is planned as it then happens', async () => {
    const graft = await inject(host, model, 'planned-dpo', 'lora', { r: 4, target_modules: ['q_proj'] });
    const { plan } = (await plugin.setup({} as never)) as TrainHook<DpoOptions>;
    const planned = plan({ config: options({ epochs: 2, batch_size: 3 }), dataset: datasetOf(pairs), grafts: [graft], model, seed: 7 });
    graft.remove();
    expect(planned).toMatchObject({ totalSteps: 4, epochs: 2, trainedTokensPerEpoch: 4 + 6 + 3 + 2 + 7 + 5 + 2 + 4 + 2 * pairs.length });
  });

  it('refuses data that are no pairs, and a smoothing that has no effect', async () => {
    const { preferences, ...plain } = datasetOf(pairs);
    expect(preferences).toBe(true);
    await expect(run({}, { data: datasetOf([pairs[0]!, { ...pairs[1]!, offsets: Int32Array.of(0, pairs[1]!.inputIds.length) }]) })).rejects.toMatchObject({ code: 'PREFERENCES_MISSING' });
    await expect(run({}, { data: plain })).rejects.toMatchObject({ code: 'PREFERENCES_MISSING', hint: expect.stringContaining('`preference`') });
    await expect(run({ label_smoothing: 0.1 })).rejects.toMatchObject({ code: 'OPTIONS_CONFLICT', option: ['label_smoothing'], message: 'train dpo: label_smoothing has no effect while loss_type is sigmoid.' });
    await expect(run({ batch_size: 1, batch_tokens: 3 })).rejects.toMatchObject({ code: 'OPTIONS_CONFLICT', message: expect.stringMatching(/^train dpo: /) });
  });
});
