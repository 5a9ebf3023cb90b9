import { cp, mkdir, readdir, readFile, readlink, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { GraftError, type Logger, type RunEvent } from 'graft';
import { checkpoint, temporaryFolder } from '../../test/support/checkpoint.ts';
import { COMMIT, startHub, type FakeHub } from '../../test/support/hub-server.ts';
import { loadFolder } from '../../test/support/model.ts';
import { fetchModel, isHubId } from './hub.ts';
import type { Parts } from './hub-cache.ts';

const MODEL = 'owner/name';
const WEIGHTS = 'model.safetensors';
let home: string;
let warnings: string[];
let events: RunEvent[];

beforeEach(async () => {
  home = await temporaryFolder();
  warnings = [];
  events = [];
  for (const name of ['HF_TOKEN', 'HF_TOKEN_PATH', 'HF_HUB_CACHE', 'HUGGINGFACE_HUB_CACHE', 'HF_HUB_OFFLINE', 'TRANSFORMERS_OFFLINE']) vi.stubEnv(name, undefined);
  vi.stubEnv('HF_HOME', home);
});
afterEach(() => vi.unstubAllEnvs());

const log = { warn: (message: string) => warnings.push(message) } as unknown as Logger;
const fetched = (revision = 'main', parts: Parts = 'all', signal = new AbortController().signal) => fetchModel(MODEL, revision, parts, { signal, log, emit: (event) => events.push(event) });

async function refusal(promise: Promise<unknown>): Promise<GraftError> {
  const error: unknown = await promise.then(() => undefined, (reason: unknown) => reason);
  if (!GraftError.is(error)) throw error ?? new Error('it was not refused');
  return error;
}

/** A Hub with the base of the oracles, or another folder. */
async function hubWith(edit: (dir: string) => Promise<void> = async () => {}): Promise<{ hub: FakeHub; dir: string }> {
  const dir = await checkpoint('peft');
  await edit(dir);
  const hub = await startHub(dir);
  vi.stubEnv('HF_ENDPOINT', `${hub.endpoint}/`);
  return { hub, dir };
}

const repo = () => join(home, 'hub', 'models--owner--name');
const blobs = async () => (await readdir(join(repo(), 'blobs'))).sort();

describe('downloading a model', () => {
  it('puts what is needed into the cache as huggingface_hub lays it out', async () => {
    const { hub, dir } = await hubWith(async (folder) => {
      for (const extra of ['README.md', 'pytorch_model.bin', 'training_args.bin', 'flax_model.msgpack']) await writeFile(join(folder, extra), extra);
    });
    const snapshot = await fetched();
    expect(snapshot).toBe(join(repo(), 'snapshots', COMMIT));
    expect((await readdir(snapshot)).sort()).toEqual(['config.json', WEIGHTS, 'tokenizer.json']);
    for (const file of await readdir(snapshot)) {
      expect(Buffer.compare(await readFile(join(snapshot, file)), await readFile(join(dir, file))), file).toBe(0);
      expect(await readlink(join(snapshot, file))).toMatch(/^\.\.\/\.\.\/blobs\/[0-9a-f]{40,64}$/);
    }
    expect(await readFile(join(repo(), 'refs', 'main'), 'utf8')).toBe(COMMIT);
    expect((await blobs()).map((name) => name.length).sort()).toEqual([40, 40, 64]);
    expect(hub.requests.some(({ path }) => /\.bin|README|msgpack/.test(path))).toBe(false);
  });

  it('tells how far it is, up to the sum of all sizes', async () => {
    const { dir } = await hubWith();
    await fetched();
    const progress = events.filter((event) => event.type === 'progress');
    const last = progress[progress.length - 1]!;
    const sizes = await Promise.all((await readdir(dir)).map(async (file) => (await readFile(join(dir, file))).length));
    expect(last).toEqual({ type: 'progress', label: MODEL, done: last.total, total: sizes.reduce((sum, size) => sum + size, 0), unit: 'bytes' });
  });

  it('loads and computes, from the id alone', async () => {
    const { dir } = await hubWith();
    const { model } = await loadFolder(MODEL);
    const local = await loadFolder(dir);
    const values = (of: typeof model) => [...of.parameters.get('model.norm.weight')!.read().dataSync()];
    expect(values(model)).toEqual(values(local.model));
    expect(model.target('s').baseModel).toBe(MODEL);
    model.dispose();
    local.model.dispose();
  });

  it('takes every shard that the index names', async () => {
    const dir = await checkpoint('biases_tied_sharded');
    const hub = await startHub(dir);
    vi.stubEnv('HF_ENDPOINT', hub.endpoint);
    expect((await readdir(await fetched())).filter((name) => name.startsWith('model')).length).toBe(4);
  });

  it('takes no weights where only config and tokenizer are wanted, nor for a model that can not be run', async () => {
    const { hub } = await hubWith();
    expect((await readdir(await fetched('main', 'texts'))).sort()).toEqual(['config.json', 'tokenizer.json']);
    expect(hub.requests.some(({ host }) => host === 'files')).toBe(false);

    const other = await checkpoint('peft', { model_type: 'qwen3' });
    const qwen = await startHub(other, 'owner/qwen');
    vi.stubEnv('HF_ENDPOINT', qwen.endpoint);
    await expect(loadFolder('owner/qwen')).rejects.toThrow('is of a model of type "qwen3"');
    expect(qwen.requests.some(({ host }) => host === 'files')).toBe(false);
  });
});

describe('what is there already', () => {
  it('is found without network: a branch under HF_HUB_OFFLINE, a commit always', async () => {
    const { hub } = await hubWith();
    const snapshot = await fetched();
    await hub.close();
    const before = hub.requests.length;
    expect(await fetched(COMMIT)).toBe(snapshot);
    vi.stubEnv('HF_HUB_OFFLINE', '1');
    expect(await fetched()).toBe(snapshot);
    expect(hub.requests.length).toBe(before);
    expect(warnings).toEqual([]);
  });

  it('is taken with a warning where the Hub can not be reached', async () => {
    const { hub } = await hubWith();
    const snapshot = await fetched();
    await hub.close();
    expect(await fetched()).toBe(snapshot);
    expect(warnings).toEqual([expect.stringContaining(`${hub.endpoint} can't be reached: `)]);
  });

  it('is not downloaded again', async () => {
    const { hub } = await hubWith();
    await fetched();
    const before = hub.requests.length;
    await fetched();
    expect(hub.requests.slice(before).map(({ path }) => path.split('?')[0])).toEqual([`/api/models/${MODEL}/revision/main`]);
    await rm(join(repo(), 'snapshots'), { recursive: true });
    await fetched();
    expect(hub.requests.slice(before).some(({ path }) => path.includes('/resolve/'))).toBe(false);
  });

  it('may have been put there by Python', async () => {
    const dir = await checkpoint('peft');
    const snapshot = join(repo(), 'snapshots', COMMIT);
    await mkdir(join(repo(), 'blobs'), { recursive: true });
    await mkdir(join(repo(), 'refs'));
    await mkdir(snapshot, { recursive: true });
    for (const file of await readdir(dir)) {
      await cp(join(dir, file), join(repo(), 'blobs', `etag-${file}`));
      await symlink(`../../blobs/etag-${file}`, join(snapshot, file));
    }
    await writeFile(join(repo(), 'refs', 'main'), COMMIT);
    vi.stubEnv('HF_HUB_OFFLINE', 'true');
    expect(await fetched()).toBe(snapshot);
  });

  it('is kept where HF_HUB_CACHE says', async () => {
    await hubWith();
    const cache = await temporaryFolder();
    vi.stubEnv('HF_HUB_CACHE', cache);
    expect(dirname(await fetched())).toBe(join(cache, 'models--owner--name', 'snapshots'));
  });

  it('says what is missing offline', async () => {
    vi.stubEnv('HF_HUB_OFFLINE', '1');
    expect(await refusal(fetched())).toMatchObject({ code: 'HUB_OFFLINE', message: `The model ${MODEL} (main) is not in ${join(home, 'hub')}, and HF_HUB_OFFLINE forbids to download it.` });
  });
});

/** A run that is cancelled when the connection has been cut after so many bytes. */
async function stopAfter(hub: FakeHub, bytes: number): Promise<void> {
  const controller = new AbortController();
  hub.behaviour.cutAfter.push(bytes, 0);
  const stopped = expect(fetched('main', 'all', controller.signal)).rejects.toThrow('stopped');
  await vi.waitUntil(() => hub.requests.filter(({ host }) => host === 'files').length === 2, { timeout: 20_000 });
  controller.abort(new Error('stopped'));
  await stopped;
  hub.behaviour.cutAfter.length = 0;
}

describe('a broken download', () => {
  it('goes on within the run where the connection was cut', async () => {
    const { hub, dir } = await hubWith();
    hub.behaviour.cutAfter.push(10_000, 5_000);
    const snapshot = await fetched();
    expect(Buffer.compare(await readFile(join(snapshot, WEIGHTS)), await readFile(join(dir, WEIGHTS)))).toBe(0);
    expect(hub.requests.filter(({ host }) => host === 'files').map(({ range }) => range)).toEqual([undefined, 'bytes=10000-', 'bytes=15000-']);
  });

  it('goes on in the next run, with what the last one left', async () => {
    const { hub, dir } = await hubWith();
    await stopAfter(hub, 20_000);
    const left = (await blobs()).filter((name) => name.endsWith('.incomplete'));
    expect(left).toEqual([expect.stringMatching(/^[0-9a-f]{64}\.incomplete$/)]);
    const snapshot = await fetched();
    expect(Buffer.compare(await readFile(join(snapshot, WEIGHTS)), await readFile(join(dir, WEIGHTS)))).toBe(0);
    expect(hub.requests[hub.requests.length - 1]!.range).toBe('bytes=20000-');
    expect((await blobs()).some((name) => name.endsWith('.incomplete'))).toBe(false);
  });

  it('that a killed process left is taken over; one of a process that runs is not', async () => {
    const { hub, dir } = await hubWith();
    const bytes = await readFile(join(dir, WEIGHTS));
    await stopAfter(hub, 100);
    const [left] = (await blobs()).filter((name) => name.endsWith('.incomplete'));
    const etag = left!.split('.')[0]!;
    const path = (name: string) => join(repo(), 'blobs', `${etag}.${name}.incomplete`);
    await rename(join(repo(), 'blobs', left!), path('999999999-abc'));
    await writeFile(path(`${process.pid}-abc`), bytes.subarray(0, 500));
    await fetched();
    expect(hub.requests[hub.requests.length - 1]!.range).toBe('bytes=100-');
    expect((await blobs()).filter((name) => name.endsWith('.incomplete'))).toEqual([`${etag}.${process.pid}-abc.incomplete`]);
  });

  it('begins anew where ranges are ignored', async () => {
    const { hub, dir } = await hubWith();
    hub.behaviour.wholeFilesOnly = true;
    hub.behaviour.cutAfter.push(10_000);
    const snapshot = await fetched();
    expect(Buffer.compare(await readFile(join(snapshot, WEIGHTS)), await readFile(join(dir, WEIGHTS)))).toBe(0);
  });

  it('that keeps breaking off is an error that says how far it came', async () => {
    const { hub, dir } = await hubWith();
    hub.behaviour.cutAfter.push(100, 0, 0, 0, 0, 0);
    const size = (await readFile(join(dir, WEIGHTS))).length;
    const error = await refusal(fetched());
    expect(error.code).toBe('HUB_BROKEN_OFF');
    expect(error.message).toContain(`The download of ${WEIGHTS} of ${MODEL} broke off at 100 of ${size} bytes: `);
  }, 30_000);
});

describe('what comes is checked', () => {
  it.each([
    ['too short', (content: Buffer) => content.subarray(0, content.length - 7), 'HUB_SIZE', `${WEIGHTS} of ${MODEL} came with `],
    ['too long', (content: Buffer) => Buffer.concat([content, Buffer.alloc(7)]), 'HUB_SIZE', ' bytes or more; the Hub lists '],
    ['damaged', (content: Buffer) => Buffer.from(content).fill(1, 500, 501), 'HUB_HASH', `${WEIGHTS} of ${MODEL} is not the file that the Hub lists: its hash differs.`],
  ])('%s', async (_, damage, code, message) => {
    const { hub } = await hubWith();
    hub.behaviour.damage = damage;
    const error = await refusal(fetched());
    expect(error.code).toBe(code);
    expect(error.message).toContain(message);
    expect((await blobs()).filter((name) => name.length >= 64)).toEqual([]);
    hub.behaviour.damage = undefined;
    await fetched();
  });
});

describe('the token', () => {
  it('goes to the endpoint and to nobody else', async () => {
    const { hub } = await hubWith();
    hub.behaviour.token = 'secret';
    vi.stubEnv('HF_TOKEN', 'secret');
    await fetched();
    const of = (host: string) => new Set(hub.requests.filter((request) => request.host === host).map(({ authorization }) => authorization));
    expect(of('hub')).toEqual(new Set(['Bearer secret']));
    expect(of('files')).toEqual(new Set([undefined]));
  });

  it('may stand in the file that `hf auth login` writes', async () => {
    const { hub } = await hubWith();
    hub.behaviour.token = 'from-file';
    await writeFile(join(home, 'token'), 'from-file\n');
    await fetched();
    expect(hub.requests[0]!.authorization).toBe('Bearer from-file');
  });
});

describe('a refusal of the Hub', () => {
  it('of an unknown model names it and the folder that was not there either', async () => {
    const { hub } = await hubWith();
    const error = await refusal(loadFolder('owner/nothing'));
    expect(error).toMatchObject({ code: 'HUB_NOT_FOUND', option: ['model'], hint: 'Check the name; for a private model set HF_TOKEN.' });
    expect(error.message).toBe(`There is no model owner/nothing at ${hub.endpoint}, or it is private. There is no folder ${join(process.cwd(), 'owner/nothing')} either.`);
  });

  it('of a gated model says where its conditions are', async () => {
    const { hub } = await hubWith();
    hub.behaviour.gated = true;
    const error = await refusal(fetched());
    expect(error).toMatchObject({ code: 'HUB_GATED', message: `The model ${MODEL} is gated: ${hub.endpoint} lets only people have it who accepted its conditions.` });
    expect(error.hint).toContain(`Accept them at ${hub.endpoint}/${MODEL}, and set HF_TOKEN`);
  });

  it('of a revision blames the option revision', async () => {
    await hubWith();
    expect(await refusal(fetched('v9'))).toMatchObject({ code: 'HUB_REVISION', option: ['revision'], message: `The model ${MODEL} has no branch, tag or commit "v9".` });
  });

  it('that is none, but silence', async () => {
    vi.stubEnv('HF_ENDPOINT', 'http://127.0.0.1:1');
    expect(await refusal(fetched())).toMatchObject({ code: 'HUB_UNREACHABLE', message: expect.stringContaining("http://127.0.0.1:1 can't be reached: ") as string });
  });

  it('by us: of weights in Python pickle only, before any is downloaded', async () => {
    const { hub } = await hubWith(async (dir) => rename(join(dir, WEIGHTS), join(dir, 'pytorch_model.bin')));
    expect(await refusal(fetched())).toMatchObject({ code: 'MODEL_WEIGHTS_MISSING', message: `The model ${MODEL} has its weights in pytorch_model.bin only, a Python pickle that could run code when read.` });
    expect(hub.requests.some(({ host }) => host === 'files')).toBe(false);
  });
});

describe('a Hub id', () => {
  it.each(['gpt2', 'meta-llama/Llama-3.2-1B', 'a_b/c.d-e'])('is %s', (text) => expect(isHubId(text)).toBe(true));
  it.each(['./model', '/abs/model', '../up', 'a/b/c', 'a..b/c', 'C:\\x', '', '.hidden/x'])('is not %s', (text) => expect(isHubId(text)).toBe(false));
});
