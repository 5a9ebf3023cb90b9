import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type GenerationInfo, type LoadedModel, type Logger, type ServedModel } from '../../core/index.ts';
import type { OracleHost } from '../../core/run/oracles/port.ts';
import { Batcher } from '../../core/serving/batcher.ts';
import { HotServedModels } from '../../core/serving/served-models.ts';
import { loadFolder } from '../support/model.ts';
import { inject, quietLog, strategyHost } from '../support/strategies.ts';
import { writeTinyModel } from '../support/tiny-run.ts';

const generation = (plugin: string, number: number): GenerationInfo => ({ plugin, version: '0.1.0', hash: String(number).repeat(64).slice(0, 64), number });

let host: OracleHost;
let base: LoadedModel;
let batcher: Batcher;

beforeAll(async () => {
  const dir = mkdtempSync(join(tmpdir(), 'graft-served-'));
  writeTinyModel(dir);
  host = await strategyHost();
  base = await loadFolder(dir);
  batcher = new Batcher(base.model);
});
afterAll(async () => {
  await batcher.dispose();
  base.model.dispose();
});

/** Models whose stack is a LoRA that differs with each generation: its rank is the generation's number. */
async function served(): Promise<{ models: HotServedModels; edit: () => Promise<void>; breakBuild: (reason: string) => void; logged: string[]; removed: () => number }> {
  let number = 1;
  let broken: string | undefined;
  let removed = 0;
  const logged: string[] = [];
  const log: Logger = { ...quietLog, error: (message) => void logged.push(message) };
  const models = new HotServedModels({ base, baseId: 'base', baseGenerations: [generation('load:llama', 1)], batcher, log });
  models.add({
    id: 'run',
    plugins: ['inject:lora'],
    build: async (stack) => {
      if (broken !== undefined) throw new Error(broken);
      const graft = await inject(host, base.model, stack, 'lora', { r: number, init_lora_weights: false });
      const dispose = async (): Promise<void> => {
        removed++;
        graft.remove();
      };
      return { stack, grafts: [graft], generations: [generation('inject:lora', number)], dispose };
    },
  });
  const edit = (): Promise<void> => models.rebuild(generation('inject:lora', ++number));
  return { models, edit, breakBuild: (reason) => (broken = reason), logged, removed: () => removed };
}

async function textOf({ tokenizer, generate }: ServedModel): Promise<string> {
  const ids: number[] = [];
  for await (const { id } of generate({ inputIds: tokenizer.encode('the cat'), maxTokens: 20 })) ids.push(id);
  return tokenizer.decode(ids);
}

async function answer(models: HotServedModels, id: string): Promise<string> {
  const held = (await models.acquire(id))!;
  try {
    return await textOf(held);
  } finally {
    held.release();
  }
}

describe('served models', () => {
  it('are the base and the run, and nothing else', async () => {
    const { models } = await served();
    expect(models.list().map(({ id, parent }) => ({ id, parent }))).toEqual([{ id: 'base', parent: undefined }, { id: 'run', parent: 'base' }]);
    expect(await models.acquire('other')).toBeUndefined();
    expect(await answer(models, 'run')).not.toBe(await answer(models, 'base'));
    await models.dispose();
  });

  it('keep a stack on the model until its last request has ended', async () => {
    const { models, edit, removed } = await served();
    const [first, second] = [(await models.acquire('run'))!, (await models.acquire('run'))!];
    const before = await textOf(first);
    await edit();
    expect(await answer(models, 'run')).not.toBe(before);
    expect(await textOf(second)).toBe(before);
    first.release();
    first.release();
    expect(removed()).toBe(0);
    second.release();
    expect(removed()).toBe(1);
    await models.dispose();
    expect(removed()).toBe(2);
  });

  it('tell the code behind an answer by its fingerprint', async () => {
    const { models, edit } = await served();
    const fingerprint = async (id: string): Promise<string> => {
      const held = (await models.acquire(id))!;
      held.release();
      return held.fingerprint;
    };
    const [base1, run1] = [await fingerprint('base'), await fingerprint('run')];
    await edit();
    expect(await fingerprint('base')).toBe(base1);
    expect(await fingerprint('run')).not.toBe(run1);
    expect(run1).toMatch(/^[0-9a-f]{12}$/);
    await models.dispose();
  });

  it('go on with the old stack when the new one can not be made, and say why', async () => {
    const { models, edit, breakBuild, logged, removed } = await served();
    const before = await answer(models, 'run');
    breakBuild('target_modules: [q] matches nothing.');
    await edit();
    expect(await answer(models, 'run')).toBe(before);
    expect(removed()).toBe(0);
    expect(logged).toEqual(["run goes on with what it was made by: the new inject:lora 222222222222 can't take over, because target_modules: [q] matches nothing."]);
    await models.dispose();
  });

  it('build once for a generation that is told of twice', async () => {
    const { models, edit, removed } = await served();
    await models.load('run');
    await edit();
    await models.rebuild(generation('inject:lora', 2));
    expect(removed()).toBe(1);
    await models.dispose();
  });

  it('leave no tensor behind after many swaps under requests', async () => {
    batcher.forgetAll();
    const tensors = tf.memory().numTensors;
    const { models, edit } = await served();
    for (let swap = 0; swap < 20; swap++) await Promise.all([answer(models, 'run'), edit(), answer(models, 'run')]);
    await models.dispose();
    batcher.forgetAll();
    expect(tf.memory().numTensors).toBe(tensors);
  });
});
