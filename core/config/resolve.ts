import { basename, extname, resolve } from 'node:path';
import type { Stage } from '../contracts/index.ts';
import { complaintsOf } from './complaint.ts';
import { displayPath, Findings } from './diagnostic.ts';
import { EntryChecker, overlay, report, STAGES } from './entry.ts';
import type { CheckedEntry, SchemaSource } from './entry.ts';
import { loadConfig } from './extend.ts';
import { expandName } from './merge.ts';
import { nearestNode, plainOf, withEntry, withoutEntry } from './node.ts';
import type { MapNode } from './node.ts';
import { applySet } from './override.ts';
import { runConfig } from './run-config.ts';
import type { Entry, RunConfig } from './run-config.ts';
import { runSchema } from './schema.ts';
import { StringSettler } from './strings.ts';
import { listed, nearest } from './suggest.ts';
import { expandSweep, fileName } from './sweep.ts';
import type { Variant } from './sweep.ts';
import { violations } from './validator.ts';

export interface ResolveOptions {
  /** The schemas of the plugins: the kernel. */
  readonly schemas: SchemaSource;
  /** `path.to.option=value`, applied in order. */
  readonly set?: readonly string[];
  /** The working directory of whoever asks; the process's own by default. */
  readonly cwd?: string;
  /** Where `${NAME}` is looked up; the process's own by default. */
  readonly env?: NodeJS.ProcessEnv;
}

/**
 * Reads a config file and checks all of it: what it extends, what `--set` changes, each combination of its sweep, and
 * every option against the schema of the plugin that owns it.
 * @returns one config per combination of the sweep; one without a sweep
 * @throws ConfigError with every mistake at once
 * @throws GraftError when the file cannot be read at all: `CONFIG_NOT_FOUND`, `CONFIG_NOT_A_FILE`, `CONFIG_TOO_LARGE`, `CONFIG_NOT_UTF8`, `CONFIG_UNREADABLE`
 */
export async function resolveConfigs(file: string, options: ResolveOptions): Promise<readonly RunConfig[]> {
  const findings = new Findings();
  const base = await loadConfig(file, findings);
  if (base === undefined) return refuse(findings, file);
  const set = options.set ?? [];
  const root = set.reduce((config, argument) => applySet(config, argument, findings, options.cwd), base);
  const fixed = new Set(set.map((argument) => argument.slice(0, Math.max(0, argument.indexOf('=')))));
  const variants = expandSweep(root, fixed, findings);
  const resolver = new Resolver(resolve(file), options, findings);
  const configs = variants.flatMap((variant) => resolver.resolve(variant) ?? []);
  findings.throwIfAny();
  return configs;
}

function refuse(findings: Findings, file: string): never {
  findings.throwIfAny();
  throw new Error(`${displayPath(file)} could not be used, and nothing says why`);
}

/**
 * The `plugins:` folders of a config, absolute: needed before there is a kernel to check the rest against. Only what
 * keeps the file from being read at all is an error here; wrong entries are told by `resolveConfigs`.
 */
export async function readPluginDirs(file: string, options: Pick<ResolveOptions, 'set' | 'env' | 'cwd'> = {}): Promise<readonly string[]> {
  const findings = new Findings();
  const base = await loadConfig(file, findings);
  if (base === undefined) return refuse(findings, file);
  const root = (options.set ?? []).reduce((config, argument) => applySet(config, argument, new Findings(), options.cwd), base);
  const node = root.entries.get('plugins')?.node;
  if (node === undefined) return [];
  const settler = new StringSettler(options.env ?? process.env, new Findings());
  const { value } = settler.settle(node, runSchema.properties.plugins);
  return Array.isArray(value) ? value.filter((dir) => typeof dir === 'string') : [];
}

interface RunValues {
  readonly name: string | undefined;
  readonly engine: RunConfig['engine'];
  readonly seed: number;
  readonly plugins: readonly string[];
  readonly runs_dir?: string;
  readonly queue?: 'on-change';
}

/** Checks one combination: the keys of the config itself, then its entries, one stage after the other. */
class Resolver {
  readonly #file: string;
  readonly #cwd: string;
  readonly #schemas: SchemaSource;
  readonly #settler: StringSettler;
  readonly #entries: EntryChecker;
  readonly #findings: Findings;

  constructor(file: string, options: ResolveOptions, findings: Findings) {
    this.#file = file;
    this.#cwd = options.cwd ?? process.cwd();
    this.#schemas = options.schemas;
    this.#settler = new StringSettler(options.env ?? process.env, findings);
    this.#entries = new EntryChecker(options.schemas, this.#settler, findings);
    this.#findings = findings;
  }

  resolve(variant: Variant): RunConfig | undefined {
    const root = withEngine(variant.root);
    const run = this.#checkRun(root);
    const load = root.entries.has('load') ? this.#entries.check(root, 'load', ['load']) : undefined;
    const preprocess = this.#list(root, 'preprocess');
    const inject = this.#list(root, 'inject');
    const train = root.entries.has('train') ? this.#entries.check(root, 'train', ['train']) : undefined;
    const serve = this.#list(root, 'serve');
    if (this.#findings.any || load === undefined) return undefined;
    const values = run.value as RunValues;
    // A run directory's own copy asks for no other run.
    const { queue, ...own } = overlay(run.value, run.written);
    const experiment = values.name ?? defaultName(this.#file);
    const name = `${experiment}${variant.suffix}`;
    const runsDir = values.runs_dir ?? resolve(this.#cwd, 'runs');
    const entriesOf = (checked: readonly CheckedEntry[]): readonly Entry[] => checked.map(({ entry }) => entry);
    return runConfig({
      name,
      experiment,
      file: this.#file,
      baseDir: resolve(this.#file, '..'),
      seed: values.seed,
      engine: values.engine,
      plugins: values.plugins,
      runsDir,
      load: load.entry,
      preprocess: entriesOf(preprocess),
      inject: entriesOf(inject),
      train: train?.entry,
      serve: entriesOf(serve),
      queuesOnChange: queue === 'on-change',
      source: root,
      resolved: {
        ...own,
        name,
        runs_dir: run.written.runs_dir ?? runsDir,
        load: load.written,
        preprocess: preprocess.map(({ written }) => written),
        inject: inject.map(({ written }) => written),
        ...(train === undefined ? {} : { train: train.written }),
        serve: serve.map(({ written }) => written),
      },
    });
  }

  #checkRun(root: MapNode): { readonly value: unknown; readonly written: { readonly runs_dir?: unknown } } {
    const stages = STAGES.filter((stage) => root.entries.has(stage));
    const own = this.#settler.settle(stages.reduce(withoutEntry, root), runSchema);
    const written = own.written as { readonly runs_dir?: unknown };
    const value = { ...(own.value as object), ...Object.fromEntries(stages.map((stage) => [stage, plainOf(nearestNode(root, [stage]).node)])) };
    const errors = violations(runSchema, value);
    for (const complaint of complaintsOf(errors, value, { name: 'a config', noun: 'key' })) report(this.#findings, root, [], complaint);
    const engine = nearestNode(root, ['engine', 'use']);
    if (engine.exact && engine.node.kind === 'scalar' && typeof engine.node.value === 'string') this.#checkEngine(engine.node.value, engine.node.span);
    return { value, written };
  }

  #checkEngine(name: string, span: Parameters<Findings['add']>[0]): void {
    const names = ['auto', ...this.#schemas.names('engine:').map((id) => id.replace(/^engine:/, ''))];
    if (names.includes(name)) return;
    const suggestion = nearest(name, names);
    this.#findings.add(span, 'ENGINE_UNKNOWN', `There is no engine \`${name}\`.${suggestion === undefined ? ` There are ${listed(names)}.` : ''}`, suggestion);
  }

  #list(root: MapNode, stage: Stage): readonly CheckedEntry[] {
    const node = root.entries.get(stage)?.node;
    if (node?.kind !== 'list') return [];
    return node.items.flatMap((_, index) => this.#entries.check(root, stage, [stage, index]) ?? []);
  }
}

/** `engine: native` as `engine: { use: native }`. */
function withEngine(root: MapNode): MapNode {
  const engine = root.entries.get('engine');
  return engine === undefined ? root : withEntry(root, 'engine', { key: engine.key, node: expandName(engine.node) });
}

/** The file's own name, fit for a folder: `my lora.yaml` gives `my_lora`. */
function defaultName(file: string): string {
  const name = fileName(basename(file, extname(file))).slice(0, 100);
  return /^[A-Za-z0-9]/.test(name) ? name : `run${name}`;
}
