import { existsSync } from 'node:fs';
import { cp, mkdtemp, readdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CausalLM, Graft } from '../../core/index.ts';
import { mergeGrafts } from '../../core/run/merge.ts';
import type { OracleBase } from '../../core/run/oracles/base.ts';
import type { OracleHost } from '../../core/run/oracles/port.ts';
import { largestDifference, logitsOf } from '../../core/run/oracles/rows.ts';
import { METHOD_OPTIMIZER, trainSteps } from '../../core/run/oracles/train.ts';
import { recognizeFolder } from '../../core/run/recognize.ts';
import { graft } from '../support/graft.ts';
import { loadFolder } from '../support/model.ts';
import { inject, oracleBase, ORACLES, strategyHost } from '../support/strategies.ts';
import { writeTinyModel, writeTinyRun } from '../support/tiny-run.ts';

const temporary = (): Promise<string> => mkdtemp(join(tmpdir(), 'graft-merge-'));

let host: OracleHost;
let base: OracleBase;
beforeAll(async () => {
  host = await strategyHost();
  base = await oracleBase(host);
});

describe('merging the grafts of a stack', () => {
  let model: CausalLM;
  beforeAll(async () => {
    model = await base.load();
  });
  afterAll(() => model.dispose());

  it('leaves a base that computes what the stack did, whatever replaces and whatever adds', async () => {
    const grafts: Graft[] = [
      await inject(host, model, 'many', 'lora', { target_modules: ['q_proj', 'up_proj'], init_lora_weights: false }),
      await inject(host, model, 'many', 'full', { parameters: ['q_proj', 'norm'] }),
      await inject(host, model, 'many', 'lora', { target_modules: ['q_proj'], r: 2, init_lora_weights: false }),
    ];
    trainSteps(model, 'many', grafts.flatMap((each) => each.trainables), [base.batch, base.batch], METHOD_OPTIMIZER);
    const before = logitsOf(model, base.batch, { stack: 'many' });
    expect(await mergeGrafts(model, 'many', grafts)).toBeLessThan(2e-5);
    expect(largestDifference(logitsOf(model, base.batch, {}), before)).toBeLessThan(2e-5);
  });

  it('refuses an adapter that is not linear, before anything is changed', async () => {
    const before = logitsOf(model, base.batch, {});
    const grafts = [await inject(host, model, 'bent', 'lora', { init_lora_weights: false }), await inject(host, model, 'bent', 'adapter')];
    await expect(mergeGrafts(model, 'bent', grafts)).rejects.toMatchObject({
      code: 'MERGE_UNSUPPORTED',
      message: "adapter can't be folded into the weights: what it adds is not a linear function of a layer's input.",
    });
    expect(logitsOf(model, base.batch, {})).toEqual(before);
    for (const each of grafts.reverse()) each.remove();
  });

  it('refuses what a base with tied embeddings has no place for', async () => {
    const { model: tied } = await tiedModel();
    const saved = await inject(host, tied, 'tied', 'lora', { modules_to_save: ['lm_head'] });
    await expect(mergeGrafts(tied, 'tied', [saved])).rejects.toMatchObject({
      code: 'MERGE_TIED',
      message: 'lm_head is trained apart from the input embedding, but this base keeps both as one weight (tie_word_embeddings), so they can not be merged into it.',
    });
    saved.remove();
    const both = await inject(host, tied, 'both', 'lora', { modules_to_save: ['lm_head'], ensure_weight_tying: true });
    trainSteps(tied, 'both', both.trainables, [base.batch], METHOD_OPTIMIZER);
    expect(await mergeGrafts(tied, 'both', [both])).toBeLessThan(2e-5);
    tied.dispose();
  });

  it('finds a strategy whose merge is not what it computes', async () => {
    const own = await base.load();
    const lora = await inject(host, own, 'wrong', 'lora', { init_lora_weights: false });
    await expect(mergeGrafts(own, 'wrong', [{ ...lora, merge: async () => {} }])).rejects.toMatchObject({
      code: 'MERGE_DIFFERS',
      message: expect.stringMatching(/^The merged weights give logits that differ by \d\.\de[+-]\d+ from those of the adapters\.$/),
    });
    own.dispose();
  });

  async function tiedModel(): Promise<{ readonly model: CausalLM }> {
    const dir = await temporary();
    writeTinyModel(dir);
    const peft = join(ORACLES, 'other_shapes/tied/peft');
    await cp(join(peft, 'base_config.json'), join(dir, 'config.json'));
    await cp(join(peft, 'base.safetensors'), join(dir, 'model.safetensors'));
    return loadFolder(dir);
  }
});

describe('graft merge', () => {
  it("folds an adapter's folder into a base, and writes a checkpoint that needs neither", async () => {
    const dir = await temporary();
    writeTinyModel(join(dir, 'base'));
    const done = await graft(dir, ['merge', join(ORACLES, 'peft/lora/after10'), '--model', 'base', '--out', 'merged', '--engine', 'portable']);
    expect(done.stderr).toBe('');
    expect(done.code).toBe(0);
    expect(done.stdout).toMatch(/merged; logits differ by at most \d\.\de[+-]\d+ from those of base and adapters\.$/);
    const { model } = await loadFolder(join(dir, 'merged'));
    const own = await base.load();
    const folder = join(ORACLES, 'peft/lora/after10');
    const { options } = await recognizeFolder(folder, host.injectPlugins);
    const lora = await inject(host, own, 'after10', 'lora', options);
    await lora.load(folder);
    expect(largestDifference(logitsOf(model, base.batch, {}), logitsOf(own, base.batch, { stack: 'after10' }))).toBeLessThan(2e-5);
    model.dispose();
    own.dispose();
  });

  it('folds what a run trained into the base that its config names', async () => {
    const dir = await temporary();
    writeTinyRun(dir, { inject: [{ use: 'lora', r: 2 }, { use: 'full', parameters: ['norm'] }], train: { max_steps: 2 } });
    expect(await graft(dir, ['run', 'config.yaml'])).toMatchObject({ code: 0 });
    const [run] = await readdir(join(dir, 'runs'));
    const done = await graft(dir, ['merge', join('runs', run!), '--out', 'merged']);
    expect(done).toMatchObject({ code: 0, stderr: '' });
    expect(existsSync(join(dir, 'merged', 'model.safetensors'))).toBe(true);
    (await loadFolder(join(dir, 'merged'))).model.dispose();
  });

  it.each([
    ['an adapter without a base', ['ADAPTER', '--out', 'merged'], /adapter's folder: say which base it stands on with --model\./],
    ['a folder that is not there', ['nowhere', '--out', 'merged'], /nowhere does not exist\./],
    ['an output folder that is in use', ['ADAPTER', '--model', 'base', '--out', 'used'], /used is not empty\.\nName a new folder with --out\./],
    ['an output that is a file', ['ADAPTER', '--model', 'base', '--out', 'used/note.txt'], /note\.txt is a file\.\nName a new folder with --out\./],
    ['a bottleneck adapter', ['BOTTLENECK', '--model', 'base', '--out', 'merged', '--engine', 'portable'], /adapter can't be folded into the weights: what it adds is not a linear function of a layer's input\./],
    ['a folder that no plugin knows', ['base', '--model', 'base', '--out', 'merged', '--engine', 'portable'], /no inject plugin knows what .*base holds\./],
  ])('is told what is wrong: %s', async (_, args, message) => {
    const dir = await temporary();
    writeTinyModel(join(dir, 'base'));
    await cp(join(dir, 'base'), join(dir, 'used'), { recursive: true });
    await writeFile(join(dir, 'used', 'note.txt'), '');
    const places: Readonly<Record<string, string>> = { ADAPTER: join(ORACLES, 'peft/lora/init'), BOTTLENECK: join(ORACLES, 'adapterhub/seq_bn/init') };
    const done = await graft(dir, ['merge', ...args.map((arg) => places[arg] ?? arg)]);
    expect(done.stderr).toMatch(message);
    expect(done.stderr).not.toContain('    at ');
    expect(done.code).toBe(2);
    expect(existsSync(join(dir, 'merged'))).toBe(false);
  });
});
