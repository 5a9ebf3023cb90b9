/** A strategy that is none of ours, in a folder outside the repository: trained, served, and edited while it serves. */
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TOLERANCE } from '../../core/run/oracles/port.ts';
import { largestDifference, logitsOf, referenceLogits } from '../../core/run/oracles/rows.ts';
import { METHOD_OPTIMIZER, trainSteps } from '../../core/run/oracles/train.ts';
import { graft, startGraft, type RunningCommand } from '../support/command.ts';
import { inject, oracleBase, ORACLES, setUpInject, strategyHost } from '../support/strategies.ts';
import { writeTinyRun } from '../support/tiny-run.ts';
import ia3 from './fixtures/inject-ia3/index.ts';

const FIXTURE = fileURLToPath(new URL('./fixtures/inject-ia3', import.meta.url));

const home = mkdtempSync(join(tmpdir(), 'graft-third-party-'));
const plugin = join(home, 'my-plugins', 'inject-ia3');
const source = join(plugin, 'index.ts');
let config: string;

beforeAll(() => {
  mkdirSync(join(home, 'my-plugins'));
  cpSync(FIXTURE, plugin, { recursive: true });
  config = writeTinyRun(home, { inject: [{ use: 'ia3' }], train: { epochs: 4, learning_rate: 0.05 }, extra: { plugins: ['./my-plugins'], serve: [{ use: 'openai', port: 0 }] } });
});

/** Replaces text in the plugin's source, as an editor does. */
function edit(from: string, to: string): void {
  const text = readFileSync(source, 'utf8');
  expect(text).toContain(from);
  writeFileSync(source, text.replace(from, to));
}

describe('a third-party strategy', () => {
  it('trains through graft run, and is saved as PEFT saves it', async () => {
    const { code, stdout, stderr } = await graft(['run', config, '--json', '--samples', '0'], { cwd: home });
    expect(stderr).toBe('');
    expect(code).toBe(0);
    const losses = stdout.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line) as { type: string; loss: number }])).filter(({ type }) => type === 'evaluation').map(({ loss }) => loss);
    expect(losses.at(-1)).toBeLessThan(losses[0]! - 0.1);
    const [run] = readdirSync(join(home, 'runs'));
    const folder = join(home, 'runs', run!, 'adapters', '0-ia3');
    expect(JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8'))).toMatchObject({ peft_type: 'IA3', target_modules: ['k_proj', 'v_proj', 'down_proj'], feedforward_modules: ['down_proj'] });
    expect(JSON.parse(readFileSync(join(home, 'runs', run!, 'run.json'), 'utf8'))).toMatchObject({ status: 'succeeded', generations: { 'inject:ia3': { version: '0.1.0' } } });
  }, 300_000);
});

describe('the same strategy on the reference base', () => {
  it("computes what PEFT's IA3 does, and trains as it does for ten steps", async () => {
    const host = await strategyHost();
    const base = await oracleBase(host);
    const model = await base.load();
    const io = JSON.parse(readFileSync(join(ORACLES, 'peft/ia3/io.json'), 'utf8')) as { logits: number[][][]; adamw_losses: number[]; n_trainable: number };
    const graft = await inject({ ...host, injectPlugins: [await setUpInject('ia3', ia3)] }, model, 'ia3', 'ia3');
    await graft.load(join(ORACLES, 'peft/ia3/init'));
    expect(graft.trainables.reduce((sum, { variable }) => sum + variable.size, 0)).toBe(io.n_trainable);
    expect(largestDifference(logitsOf(model, base.batch, { stack: 'ia3' }), referenceLogits(io.logits, base.rows))).toBeLessThan(TOLERANCE.logits);
    const { losses } = trainSteps(model, 'ia3', graft.trainables, io.adamw_losses.map(() => base.batch), METHOD_OPTIMIZER);
    expect(largestDifference(losses, io.adamw_losses)).toBeLessThan(TOLERANCE.losses);
    graft.remove();
    model.dispose();
  });
});

describe('the same strategy while graft serve --watch runs', () => {
  const request = { model: 'tiny', prompt: 'the cat', max_tokens: 24, temperature: 0 } as const;
  const long = { ...request, max_tokens: 110, temperature: 1, seed: 7, n: 12 } as const;
  let server: RunningCommand;
  let client: OpenAI;

  beforeAll(async () => {
    const [run] = readdirSync(join(home, 'runs'));
    server = startGraft(['serve', join(home, 'runs', run!), '--watch'], { cwd: home });
    const [, url] = await server.seen(/serving\s+(http:\S+)/);
    await server.seen(/watching/);
    client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'any', maxRetries: 0 });
  }, 300_000);

  afterAll(async () => {
    server.process.kill('SIGKILL');
    await server.ended;
  });

  it('is served beside its base', async () => {
    expect((await client.models.list()).data.map(({ id }) => id)).toEqual(['model', 'tiny']);
    const [tuned, base] = await Promise.all([client.completions.create(request), client.completions.create({ ...request, model: 'model' })]);
    expect(tuned.choices[0]!.text).not.toBe(base.choices[0]!.text);
  });

  it('shows an edit in the next request, while a request in flight finishes as it began', async () => {
    const before = await client.completions.create(request);
    const whole = await client.completions.create(long);
    const stream = await client.completions.create({ ...long, stream: true });
    const texts: string[] = whole.choices.map(() => '');
    let after: OpenAI.Completion | undefined;
    let chunksAfterSwap = 0;
    for await (const { choices } of stream) {
      texts[choices[0]!.index] += choices[0]!.text;
      if (after !== undefined) chunksAfterSwap++;
      if (texts.every((text) => text === '')) continue;
      if (after === undefined) {
        edit('const scale = tf.reshape(variable, [1, -1]);', 'const scale = tf.mul(tf.reshape(variable, [1, -1]), 3);');
        await server.seen(/tiny is served by the new inject:ia3 [0-9a-f]{12}/);
        after = await client.completions.create(request);
      }
    }
    expect(after!.choices[0]!.text).not.toBe(before.choices[0]!.text);
    expect(after!.system_fingerprint).not.toBe(before.system_fingerprint);
    expect(texts).toEqual(whole.choices.map(({ text }) => text));
    expect(chunksAfterSwap).toBeGreaterThan(0);
  }, 300_000);

  it('goes on with the last good generation when an edit does not compile, and says why', async () => {
    const before = await client.completions.create(request);
    edit('const scale =', 'const scale = = ');
    await server.seen(/inject:ia3[^\n]*(Unexpected|Expected)/);
    expect(await client.completions.create(request)).toMatchObject({ choices: before.choices, system_fingerprint: before.system_fingerprint });
  }, 300_000);

  it('goes on with the last good stack when an edit compiles and can not be grafted', async () => {
    const before = await client.completions.create(request);
    edit('const scale = = ', 'const scale =');
    edit('const feedforward =', "if (target.stack !== '') throw new Error('out of paper');\n      const feedforward =");
    await server.seen(/tiny goes on with what it was made by: the new inject:ia3 [0-9a-f]{12} can't take over, because out of paper/);
    expect(await client.completions.create(request)).toMatchObject({ choices: before.choices, system_fingerprint: before.system_fingerprint });
  }, 300_000);

  it('goes back to what it was when the edits are undone', async () => {
    cpSync(join(FIXTURE, 'index.ts'), source);
    await expect.poll(() => [...server.stderr().matchAll(/tiny is served by the new/g)].length, { timeout: 120_000 }).toBe(2);
    const { choices } = await client.completions.create(request);
    expect(choices[0]!.finish_reason).toMatch(/length|stop/);
  }, 300_000);

  it('ends at Ctrl-C with 0', async () => {
    server.process.kill('SIGINT');
    expect((await server.ended).code).toBe(0);
  }, 120_000);
});
