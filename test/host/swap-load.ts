/**
 * Chat streams at a steady rate while strategy, preprocess and server plugins are edited, some edits broken in every way that there is.
 *
 * As a command: `node --import tsx test/host/swap-load.ts [SECONDS] [EDITS] [BROKEN] [REQUESTS_PER_SECOND]`.
 */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Logger } from '../../core/contracts/index.ts';
import { DaemonClient } from '../../core/host/client.ts';
import { residentBytes } from '../../core/host/resident.ts';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { inject, strategyHost } from '../support/strategies.ts';
import { loadFolder } from '../support/model.ts';
import { writeTinyModel } from '../support/tiny-run.ts';

export interface SwapLoadOptions {
  readonly edits: number;
  readonly broken: number;
  readonly requestsPerSecond: number;
  /** The traffic goes on for so long, or until the edits are done. */
  readonly seconds: number;
  readonly tell?: (text: string) => void;
}

export interface SwapLoadReport {
  readonly requests: number;
  /** What went wrong with requests, a sentence each. */
  readonly failed: readonly string[];
  readonly edits: number;
  /** Broken edits whose reason was seen, in the plugins' report or, of what fails when it is disposed, in the log alone. */
  readonly seen: number;
  readonly broken: number;
  /** Code that answers were computed by: generations of the strategy that served. */
  readonly fingerprints: number;
  /** MiB of the process that serves: after a tenth of the edits, and at the end. */
  readonly memoryMb: { readonly begin: number; readonly end: number };
  readonly seconds: number;
}

const PLUGINS = fileURLToPath(new URL('../../plugins/', import.meta.url));
/** Copies under names of their own: [folder, its stage, the name]. A strategy whose name comes first recognizes what LoRA saved. */
const COPIES = [['inject-lora', 'inject', 'a-lora'], ['preprocess-instruct', 'preprocess', 'a-instruct'], ['serve-openai', 'serve', 'a-openai']] as const;
const FAULTS = ['syntax', 'setup', 'dispose', 'never'] as const;
type Fault = (typeof FAULTS)[number];
const MIB = 2 ** 20;
const SETUP_SECONDS = 0.3;
/** Milliseconds that an edit has to be taken up or refused. */
const PATIENCE_MS = 60_000;

/** A plugin's index.ts, edited for the n-th time. */
function edited(source: string, n: number, fault: Fault | undefined): string {
  const mark = `edit-${n}.`;
  const wrap = (setup: string): string => `${source.replace('export default definePlugin(', 'const made = definePlugin(')}\nexport default { ...made, setup: ${setup} };\n// ${mark}\n`;
  switch (fault) {
    case undefined:
      return `${source}\n// ${mark}\n`;
    case 'syntax':
      return `${source}\nconst ${mark.replace('-', '_')} = ;\n`;
    case 'setup':
      return wrap(`() => { throw new Error('${mark}'); }`);
    case 'dispose':
      return wrap(`(call: Parameters<typeof made.setup>[0]) => { call.scope.own('${mark}', () => { throw new Error('${mark}'); }); return made.setup(call); }`);
    case 'never':
      return wrap(`() => new Promise<never>(() => { void '${mark}'; })`);
  }
}

export async function swapUnderLoad({ edits, broken, requestsPerSecond, seconds, tell = () => undefined }: SwapLoadOptions): Promise<SwapLoadReport> {
  const dir = realpathSync(mkdtempSync(join(tmpdir(), 'graft-swap-load-')));
  const logged: string[] = [];
  const log: Logger = { debug: () => undefined, info: () => undefined, warn: (message) => void logged.push(message), error: (message) => void logged.push(message), child: () => log };
  let daemon: TestDaemon | undefined;
  try {
    await prepare(dir);
    daemon = await startDaemon({ plugins: [join(dir, 'plugins')], setup_seconds: SETUP_SECONDS, models: [{ model: join(dir, 'tiny'), server: { use: 'a-openai', max_queue: 1000 }, memory_mb: 3000 }], adapter_roots: [join(dir, 'adapters')] }, log);
    const { url, models } = daemon.daemon();
    await post(`${url}/v1/load_lora_adapter`, { lora_name: 'mine', lora_path: join(dir, 'adapters', 'mine') });
    const client = DaemonClient.find(join(daemon.dir, 'state'));
    const pid = models.processes[0]!.pid!;

    const ending = new AbortController();
    const traffic = drive(`${url}/v1/chat/completions`, requestsPerSecond, ending.signal);
    const began = performance.now();
    let [seen, brokenDone, memoryBegin] = [0, 0, 0];
    for (let n = 0; n < edits; n++) {
      const due = Math.floor(((n + 1) * broken) / edits) > brokenDone;
      const fault = due ? FAULTS[brokenDone++ % FAULTS.length] : undefined;
      const [folder, stage, name] = COPIES[n % COPIES.length]!;
      const file = join(dir, 'plugins', folder, 'index.ts');
      const before = (await client.plugins()).slots.find(({ id }) => id === `${stage}:${name}`)!;
      writeFileSync(file, edited(readFileSync(join(PLUGINS, folder, 'index.ts'), 'utf8'), n, fault));
      const after = await changed(client, `${stage}:${name}`, before.swaps + before.failures);
      if (fault === 'dispose') {
        // It serves, and fails when the next one takes over.
        writeFileSync(file, edited(readFileSync(join(PLUGINS, folder, 'index.ts'), 'utf8'), n, undefined));
        await changed(client, `${stage}:${name}`, after.swaps + after.failures);
        await until(() => logged.some((line) => line.includes(`edit-${n}.`)), `the log to tell of edit ${n}, which throws when it is disposed`);
        seen++;
      } else if (fault !== undefined) {
        const { reason } = after;
        const place = fault === 'never' ? 'setup' : fault === 'syntax' ? 'index.ts' : `edit-${n}.`;
        if (reason?.includes(place) === true && logged.some((line) => line.includes(reason))) seen++;
        else tell(`edit ${n} (${fault}) of ${name}: ${reason ?? 'no reason'}\n`);
      }
      if (n === Math.floor(edits / 10)) memoryBegin = residentBytes(pid)! / MIB;
      if (n % 20 === 0) tell(`${n} edits in ${((performance.now() - began) / 1000).toFixed(0)} s\n`);
    }
    while (performance.now() - began < seconds * 1000) await sleep(100);
    ending.abort();
    const { requests, failed, fingerprints } = await traffic;
    const memoryMb = { begin: memoryBegin, end: (residentBytes(pid) ?? 0) / MIB };
    return { requests, failed, edits, seen, broken, fingerprints, memoryMb, seconds: (performance.now() - began) / 1000 };
  } finally {
    await daemon?.close();
    rmSync(dir, { recursive: true });
  }
}

async function prepare(dir: string): Promise<void> {
  for (const [folder, , name] of COPIES) {
    const to = join(dir, 'plugins', folder);
    cpSync(join(PLUGINS, folder), to, { recursive: true, filter: (path) => !path.endsWith('.test.ts') });
    const manifest = JSON.parse(readFileSync(join(to, 'package.json'), 'utf8')) as { name: string; graft: { name: string } };
    writeFileSync(join(to, 'package.json'), JSON.stringify({ ...manifest, name: `copy-${name}`, graft: { ...manifest.graft, name } }));
  }
  writeTinyModel(join(dir, 'tiny'));
  const base = await loadFolder(join(dir, 'tiny'));
  const graft = await inject(await strategyHost(), base.model, 'mine', 'lora', { r: 4, lora_alpha: 32, init_lora_weights: false, target_modules: ['q_proj', 'v_proj'] });
  mkdirSync(join(dir, 'adapters', 'mine'), { recursive: true });
  await graft.save(join(dir, 'adapters', 'mine'));
  graft.remove();
  base.model.dispose();
}

/** Waits until a plugin has been swapped, or an edit of it refused, once more. */
async function changed(client: DaemonClient, id: string, before: number): Promise<{ readonly swaps: number; readonly failures: number; readonly reason?: string }> {
  const since = performance.now();
  for (;;) {
    const slot = (await client.plugins()).slots.find((each) => each.id === id)!;
    if (slot.swaps + slot.failures > before) return slot;
    if (performance.now() - since > PATIENCE_MS) throw new Error(`the edit of ${id} was neither taken up nor refused: ${JSON.stringify(slot)}`);
    await sleep(20);
  }
}

async function until(holds: () => boolean, what: string): Promise<void> {
  const since = performance.now();
  while (!holds()) {
    if (performance.now() - since > PATIENCE_MS) throw new Error(`waited in vain for ${what}`);
    await sleep(20);
  }
}

/** Sends requests at a steady rate, however long the answers take. */
async function drive(url: string, perSecond: number, signal: AbortSignal): Promise<{ readonly requests: number; readonly failed: readonly string[]; readonly fingerprints: number }> {
  const failed: string[] = [];
  const fingerprints = new Set<string>();
  const underWay = new Set<Promise<void>>();
  let requests = 0;
  const began = performance.now();
  while (!signal.aborted) {
    const number = requests++;
    const one = stream(url, number % 2 === 0 ? 'mine' : 'tiny')
      .then((fingerprint) => void fingerprints.add(fingerprint))
      .catch((error: unknown) => void failed.push(`request ${number}: ${error instanceof Error ? `${error.message} ${String(error.cause ?? '')}` : String(error)}`))
      .finally(() => underWay.delete(one));
    underWay.add(one);
    await sleep(Math.max(0, (requests * 1000) / perSecond - (performance.now() - began)));
  }
  await Promise.all(underWay);
  return { requests, failed, fingerprints: fingerprints.size };
}

/** One chat stream, read to its end. @returns what code computed it @throws Error where it is not whole */
async function stream(url: string, model: string): Promise<string> {
  const response = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ model, messages: [{ role: 'user', content: 'the cat' }], max_tokens: 6, stream: true }) });
  const text = await response.text();
  if (!response.ok) throw new Error(`${response.status} ${text}`);
  const lines = text.split('\n\n').filter((line) => line !== '');
  if (lines.at(-1) !== 'data: [DONE]') throw new Error(`a stream that ends with ${lines.at(-1)}`);
  const chunks = lines.slice(0, -1).map((line) => JSON.parse(line.slice('data: '.length)) as { system_fingerprint: string; choices: { finish_reason: string | null }[] });
  if (!chunks.some(({ choices }) => choices[0]?.finish_reason != null)) throw new Error('a stream without an end');
  return chunks[0]!.system_fingerprint;
}

async function post(url: string, body: unknown): Promise<void> {
  const response = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
  if (!response.ok) throw new Error(await response.text());
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [seconds = 60, edits = 200, broken = 50, requestsPerSecond = 50] = process.argv.slice(2).map(Number);
  const report = await swapUnderLoad({ seconds, edits, broken, requestsPerSecond, tell: (text) => void process.stdout.write(text) });
  process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
  process.exit(report.failed.length === 0 && report.seen === report.broken ? 0 : 1);
}
