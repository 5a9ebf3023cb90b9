import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { endianness } from 'node:os';
import { basename, dirname, join, relative } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { PreprocessCall } from '../contracts/index.ts';
import { reasonOf } from '../kernel/errors.ts';
import { fileDigest, ReadMeter } from './bytes.ts';
import { readCacheFile, writeCacheFile, type Tokenised } from './cache-file.ts';
import type { Example } from './example.ts';
import { badRowSummary, BadRows, isBadRow, RowProblem, type BadRow, type BadRowPolicy, type Row } from './row.ts';

/** Files to be turned into examples, and how. */
export interface TokeniseJob {
  readonly call: Pick<PreprocessCall<unknown>, 'signal' | 'emit' | 'cacheDir' | 'tokenizer'>;
  /** Absolute. */
  readonly files: readonly string[];
  /** All that shapes the examples beside the files, the tokenizer and core: the plugin's generation and its options. JSON-serialisable. */
  readonly key: unknown;
  readonly badRows: BadRowPolicy;
  /** Rows to use at most, from the first on. */
  readonly maxRows?: number;
  read(file: string, meter: ReadMeter): AsyncIterable<Row | BadRow>;
  /**
   * @returns the examples of a row; none leaves it out
   * @throws RowProblem when the row cannot be used
   */
  tokenise(row: Row): readonly Example[];
  /** Called after the last row: examples that waited for more rows. */
  finish?(): readonly Example[];
  /** Called at the end: what people should be told of how rows were tokenised, whole sentences. */
  notes(): readonly string[];
}

/** Milliseconds of work between two turns of the event loop. */
const SLICE_MS = 25;
/** Milliseconds between two progress events. */
const REPORT_MS = 200;

/**
 * Tokenises files row by row, or takes what an earlier run made of the same contents in the same way. Memory holds the
 * tokens, and one row of text at a time. The event loop turns at least every few dozen milliseconds between rows.
 * @throws GraftError of the readers, `BAD_ROW` when the policy is to stop; the signal's reason when cancelled
 */
export async function tokeniseFiles(job: TokeniseJob): Promise<Tokenised> {
  const { call, files } = job;
  const path = join(call.cacheDir, 'examples', `${await keyOf(job)}.bin`);
  const cached = await fromCache(path, call);
  if (cached !== undefined) return cached;
  const made = await tokeniseRows(job);
  announce(made, call);
  try {
    await writeCacheFile(path, made);
  } catch (error) {
    call.emit({ type: 'log', level: 'warn', message: `The tokenised examples of ${labelOf(files)} could not be cached in ${path}: ${reasonOf(error)}. The run goes on without.` });
  }
  return made;
}

async function tokeniseRows({ call, files, read, tokenise, finish, notes, badRows: policy, maxRows = Infinity }: TokeniseJob): Promise<Tokenised> {
  const meter = await ReadMeter.of(files);
  const badRows = new BadRows(policy);
  const examples: Example[] = [];
  const label = `tokenising ${labelOf(files)}`;
  let rows = 0;
  let used = 0;
  let sliceBegan = performance.now();
  let reported = sliceBegan;
  const report = (total: number): void => call.emit({ type: 'progress', label, done: rows, total, unit: 'rows' });

  for (const file of files) {
    if (used >= maxRows) break;
    for await (const row of read(file, meter)) {
      call.signal.throwIfAborted();
      rows++;
      if (isBadRow(row)) badRows.report(row);
      else {
        try {
          for (const example of tokenise(row)) examples.push(example);
          used++;
        } catch (error) {
          if (!(error instanceof RowProblem)) throw error;
          badRows.report({ file: row.file, line: row.line, problem: error.message });
        }
      }
      if (used >= maxRows) break;
      const now = performance.now();
      if (now - sliceBegan < SLICE_MS) continue;
      if (now - reported >= REPORT_MS) {
        // How many rows there are is known at the end; until then, as many as the bytes read promise.
        report(Math.max(rows, Math.round((rows * meter.total) / Math.max(1, meter.done))));
        reported = now;
      }
      await nextTurn();
      call.signal.throwIfAborted();
      sliceBegan = performance.now();
    }
  }
  for (const example of finish?.() ?? []) examples.push(example);
  report(rows);
  return { examples, badRows: { count: badRows.count, reasons: badRows.reasons }, notes: notes() };
}

async function fromCache(path: string, call: TokeniseJob['call']): Promise<Tokenised | undefined> {
  try {
    const cached = await readCacheFile(path);
    if (cached === undefined) return undefined;
    call.emit({ type: 'log', level: 'info', message: `Using ${cached.examples.length} tokenised examples from the cache ${path}.` });
    announce(cached, call);
    return cached;
  } catch (error) {
    call.emit({ type: 'log', level: 'warn', message: `The cache ${path} is damaged (${reasonOf(error)}) and is made anew.` });
    // Where it cannot be removed, the writing will say why.
    await rm(path, { force: true }).catch(() => undefined);
    return undefined;
  }
}

/** Says again what was said when the rows were tokenised: a cached mistake is still one. */
function announce({ badRows, notes }: Tokenised, call: TokeniseJob['call']): void {
  for (const message of [badRowSummary(badRows), ...notes]) if (message !== undefined) call.emit({ type: 'log', level: 'warn', message });
}

async function keyOf({ call, files, key, badRows, maxRows }: TokeniseJob): Promise<string> {
  const contents: [string, string][] = [];
  for (const file of files) contents.push([file, await fileDigest(file, call.signal)]);
  const parts = { core: coreDigest(), endianness: endianness(), tokenizer: call.tokenizer.fingerprint, contents, key, badRows, maxRows };
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 40);
}

let digest: string | undefined;

/** Libraries of the host that shape examples: plugins are given them, so that no generation's hash covers them. */
const LIBRARIES = ['@huggingface/jinja', '@huggingface/tokenizers', 'csv-parse', 'hyparquet'];

/** sha256 of the code in this folder and those below, and of its libraries' versions: they shape examples as much as a plugin's code does. */
function coreDigest(): string {
  if (digest !== undefined) return digest;
  const dir = fileURLToPath(new URL('.', import.meta.url));
  const hash = createHash('sha256');
  const entries = readdirSync(dir, { recursive: true, withFileTypes: true });
  for (const file of entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name)).sort()) hash.update(relative(dir, file)).update(readFileSync(file));
  for (const name of LIBRARIES) hash.update(`${name}@${versionOf(name, dir)}`);
  digest = hash.digest('hex');
  return digest;
}

/** The installed version, as Node finds a package: in the nearest node_modules above. */
function versionOf(name: string, dir: string): string {
  const file = join(dir, 'node_modules', name, 'package.json');
  if (existsSync(file)) return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
  return dirname(dir) === dir ? '' : versionOf(name, dirname(dir));
}

function labelOf(files: readonly string[]): string {
  return files.length === 1 ? basename(files[0]!) : `${files.length} files`;
}
