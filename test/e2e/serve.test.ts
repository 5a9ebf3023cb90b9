/** `graft generate` and `graft serve` as processes of their own, on what `graft run` made. */
import { cpSync, mkdirSync, mkdtempSync, readdirSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { graft, startGraft, type RunningCommand } from '../support/command.ts';
import { writeTinyRun } from '../support/tiny-run.ts';

const SLOW = 300_000;
const home = mkdtempSync(join(tmpdir(), 'graft-serve-'));
const model = join(home, 'model');
let config: string;
let run: string;

beforeAll(async () => {
  config = writeTinyRun(home, { train: { max_steps: 8, learning_rate: 0.05 }, extra: { serve: [{ use: 'openai', port: 0 }] } });
  const { code, stderr } = await graft(['run', config, '--quiet', '--samples', '0'], { cwd: home });
  expect(stderr).toBe('');
  expect(code).toBe(0);
  run = join(home, 'runs', readdirSync(join(home, 'runs'))[0]!);
  cpSync(join(run, 'adapters'), join(home, 'two'), { recursive: true });
  mkdirSync(join(home, 'two', '1-adapter'));
}, SLOW);

const generate = (...args: string[]) => graft(['generate', ...args], { cwd: home });

describe('graft generate', () => {
  it('continues a prompt with a run, with the newest run of its config, and with its adapter on the base alike', async () => {
    const prompt = ['-p', 'the cat', '--max-tokens', '16'];
    const [base, ofRun, ofConfig, ofAdapter, withoutAdapter] = await Promise.all([
      generate(model, ...prompt),
      generate(run, ...prompt),
      generate(config, ...prompt),
      generate(model, '--adapter', join(run, 'adapters', '0-lora'), ...prompt),
      generate(run, '--base', ...prompt),
    ]);
    for (const { code, stderr } of [base, ofRun, ofConfig, ofAdapter, withoutAdapter]) expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(base.stdout).toMatch(/^[^\n].*\n$/s);
    expect(ofRun.stdout).not.toBe(base.stdout);
    expect(ofConfig.stdout).toBe(ofRun.stdout);
    expect(ofAdapter.stdout).toBe(ofRun.stdout);
    expect(withoutAdapter.stdout).toBe(base.stdout);
  }, SLOW);

  it('reads the prompt from standard input, and samples by seed', async () => {
    const sampled = (seed: string) => graft(['generate', run, '--max-tokens', '16', '--temperature', '1.5', '--seed', seed], { cwd: home, input: 'the cat\n' });
    const [first, again, other] = await Promise.all([sampled('1'), sampled('1'), sampled('2')]);
    expect(first.code).toBe(0);
    expect(again.stdout).toBe(first.stdout);
    expect(other.stdout).not.toBe(first.stdout);
  }, SLOW);

  it.each([
    [['nowhere', '-p', 'x'], 'error nowhere does not exist.\nName a folder that `graft run` made, a config file, a Hugging Face folder, or a Hub id such as org/model.\n'],
    [['.', '-p', 'x'], 'error . is neither a run directory, nor a config, nor a model: it has no run.json and no config.json.\nName a folder that `graft run` made, a config file, a Hugging Face folder, or a Hub id such as org/model.\n'],
    [['RUN/adapters/0-lora', '-p', 'x'], "error RUN/adapters/0-lora is an adapter's folder.\nName the model that it stands on, and the adapter with --adapter RUN/adapters/0-lora.\n"],
    [['MODEL', '--adapter', 'RUN/adapters', '-p', 'x'], 'error RUN/adapters holds no single adapter.\nName the folder of one (such as runs/<run>/adapters/0-lora), or the run directory in place of the model.\n'],
    [['MODEL', '--adapter', 'nowhere', '-p', 'x'], 'error HOME/nowhere does not exist.\nName a folder with a saved adapter.\n'],
    [['RUN', '--adapter', 'HOME/two', '-p', 'x'], 'error HOME/two has 1-adapter, for which the config has no inject entry.\nUse the config that the adapters were trained with.\n'],
    [['RUN', '--adapter', 'x', '--base', '-p', 'x'], 'error --base and --adapter ask for different things: leave one out.\n'],
    [['MODEL', '-p', 'x'.repeat(200)], 'error The prompt has 200 tokens, and the model reads at most 128.\n'],
    [['MODEL', '-p', ''], 'error The prompt has no tokens.\nGive one with -p.\n'],
  ])('says what is wrong with %j', async (args, message) => {
    const filled = (text: string): string => text.replaceAll('RUN', run).replaceAll('MODEL', model).replaceAll('HOME', home);
    const { code, stdout, stderr } = await generate(...args.map(filled));
    expect(stderr).toBe(filled(message));
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  }, SLOW);

  it('refuses numbers that make no sense', async () => {
    const { code, stderr } = await generate(model, '-p', 'x', '--temperature', 'warm');
    expect(code).toBe(2);
    expect(stderr).toContain("error: option '--temperature <t>' argument 'warm' is invalid. It is a number from 0 to 2.");
  }, SLOW);

  it('says that a config has not been trained yet', async () => {
    const untrained = join(home, 'untrained.yaml');
    writeFileSync(untrained, 'extends: ./config.yaml\nname: untrained\n');
    const { code, stderr } = await generate(untrained, '-p', 'x');
    expect(code).toBe(2);
    expect(stderr).toBe(`error ${join(home, 'runs')} has no finished run named untrained.\nTrain it first: graft run ${untrained}\n`);
  }, SLOW);
});

describe('graft serve', () => {
  const started: RunningCommand[] = [];
  afterAll(async () => {
    for (const { process: child } of started) child.kill('SIGKILL');
    await Promise.all(started.map(({ ended }) => ended));
  });

  const serve = (...args: string[]): RunningCommand => {
    const command = startGraft(['serve', ...args], { cwd: home });
    started.push(command);
    return command;
  };

  it('serves a run under its name beside its base, answers the official client, and ends at Ctrl-C with 0', async () => {
    const command = serve(run);
    const [, url] = await command.seen(/serving\s+(http:\/\/127\.0\.0\.1:\d+)/);
    const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'any', maxRetries: 0 });
    expect((await client.models.list()).data.map(({ id }) => id)).toEqual(['model', 'tiny']);
    const { choices } = await client.completions.create({ model: 'tiny', prompt: 'the cat', max_tokens: 16, temperature: 0 });
    const printed = await generate(run, '-p', 'the cat', '--max-tokens', '16');
    expect(`${choices[0]!.text}\n`).toBe(printed.stdout);
    command.process.kill('SIGINT');
    expect((await command.ended).code).toBe(0);
  }, SLOW);

  it('serves a model that has no config at all', async () => {
    const command = serve(model, '--port', '0');
    const [, url] = await command.seen(/serving\s+(http:\S+)/);
    expect(await (await fetch(`${url}/v1/models`)).json()).toMatchObject({ object: 'list', data: [{ id: 'model' }] });
  }, SLOW);

  it('points at the line of the config when the port is taken, and at the host that is not protected', async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    const { port } = taken.address() as AddressInfo;
    const file = join(home, 'taken.yaml');
    writeFileSync(file, `extends: ./config.yaml\nserve:\n  - use: openai\n    port: ${port}\n`);
    const open = join(home, 'open.yaml');
    writeFileSync(open, 'extends: ./config.yaml\nserve:\n  - use: openai\n    host: 0.0.0.0\n');
    const [busy, unprotected] = await Promise.all([graft(['serve', file], { cwd: home }), graft(['serve', open], { cwd: home })]);
    taken.close();
    expect(busy.code).toBe(2);
    expect(busy.stderr).toContain('taken.yaml:4:11');
    expect(busy.stderr).toContain(`Port ${port} on 127.0.0.1 is in use by another program.`);
    expect(unprotected.code).toBe(2);
    expect(unprotected.stderr).toContain('open.yaml:4:11');
    expect(unprotected.stderr).toContain('Listening on 0.0.0.0 lets other machines use the model, and no api_key is set.');
  }, SLOW);
});
