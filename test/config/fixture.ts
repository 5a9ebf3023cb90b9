import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Type } from 'typebox';
import type { TSchema } from 'typebox';
import { afterEach } from 'vitest';
import type { Stage } from '../../core/contracts/index.ts';
import { ConfigError, resolveConfigs } from '../../core/config/index.ts';
import type { RunConfig, SchemaSource } from '../../core/config/index.ts';
import { GraftError } from '../../core/kernel/errors.ts';

const lora = Type.Object({
  r: Type.Integer({ minimum: 1, maximum: 1024, default: 8, description: 'Rank.' }),
  lora_alpha: Type.Number({ exclusiveMinimum: 0, default: 8 }),
  lora_dropout: Type.Number({ minimum: 0, exclusiveMaximum: 1, default: 0 }),
  target_modules: Type.Union([Type.Array(Type.String({ minLength: 1 }), { minItems: 1 }), Type.Literal('all-linear')], { default: 'all-linear' }),
  bias: Type.Union([Type.Literal('none'), Type.Literal('all'), Type.Literal('lora_only')], { default: 'none' }),
  use_rslora: Type.Boolean({ default: false }),
  rank_pattern: Type.Record(Type.String(), Type.Integer({ minimum: 1 }), { default: {} }),
  layers: Type.Optional(Type.Array(Type.Integer(), { uniqueItems: true, maxItems: 3 })),
  init: Type.Optional(Type.Union([Type.Object({ kind: Type.Literal('normal'), std: Type.Number() }), Type.Object({ kind: Type.Literal('uniform'), bound: Type.Number() })])),
});

const adapter = Type.Object({ adapter_size: Type.Optional(Type.Integer({ minimum: 1 })), activation: Type.Enum(['relu', 'gelu'], { default: 'relu' }) });

const sft = Type.Object({
  learning_rate: Type.Number({ exclusiveMinimum: 0, description: 'Peak learning rate.' }),
  epochs: Type.Integer({ minimum: 1, default: 1 }),
  schedule: Type.Object({ kind: Type.Enum(['constant', 'linear', 'cosine'], { default: 'linear' }), warmup_ratio: Type.Number({ default: 0 }) }, { default: {} }),
});

const instruct = Type.Object({ data: Type.String({ graftPath: true, description: 'Data file.' }), template: Type.String({ default: 'plain' }), separator: Type.String({ graftPath: false, default: '' }) });

/** Two halves, each of which forgot to be closed. */
const merged = Type.Intersect([Type.Object({ left: Type.Optional(Type.Integer()) }), Type.Object({ right: Type.Optional(Type.Integer()) })]);

const STAGE_TO_SCHEMAS: Readonly<Record<Stage, Readonly<Record<string, TSchema>>>> = {
  load: { llama: Type.Object({ model: Type.Optional(Type.String()), token: Type.Optional(Type.String({ graftEnv: true })) }) },
  preprocess: { instruct, text: Type.Object({ files: Type.Array(Type.String({ graftPath: true })) }) },
  inject: { lora, adapter, merged, odd: { type: 'nonsense' } as TSchema },
  train: { sft },
  serve: { openai: Type.Object({ port: Type.Integer({ minimum: 0, maximum: 65535, default: 8080 }), api_key: Type.Optional(Type.String({ graftEnv: true })) }) },
};

/** The plugins that the tests' configs are checked against. */
export const schemas: SchemaSource = {
  schema: (stage, name) => (Object.hasOwn(STAGE_TO_SCHEMAS[stage], name) ? STAGE_TO_SCHEMAS[stage][name] : undefined),
  names: (stage) => (stage === 'engine:' ? ['engine:native', 'engine:portable'] : Object.keys(STAGE_TO_SCHEMAS[stage as Stage])),
};

const made: string[] = [];
afterEach(() => made.splice(0).forEach((dir) => rmSync(dir, { recursive: true, force: true })));

/** A folder with these files, gone after the test. */
export function folder(files: Readonly<Record<string, string | Uint8Array>>): string {
  const dir = mkdtempSync(join(tmpdir(), 'config-'));
  made.push(dir);
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, name)), { recursive: true });
    writeFileSync(join(dir, name), content);
  }
  return dir;
}

export interface Given {
  readonly set?: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  /** Further files beside run.yaml. */
  readonly files?: Readonly<Record<string, string | Uint8Array>>;
  readonly schemas?: SchemaSource;
}

/** What a config of this text resolves to. */
export async function resolved(text: string | Uint8Array, given: Given = {}): Promise<readonly RunConfig[]> {
  const dir = folder({ 'run.yaml': text, ...given.files });
  return resolveConfigs(join(dir, 'run.yaml'), { schemas: given.schemas ?? schemas, set: given.set, env: given.env ?? {} });
}

/** The one config that a text resolves to. */
export async function single(text: string, given: Given = {}): Promise<RunConfig> {
  const configs = await resolved(text, given);
  if (configs.length !== 1 || configs[0] === undefined) throw new Error(`${configs.length} configs`);
  return configs[0];
}

/** What a person is told of a config of this text, with the temporary folder taken out of paths. */
export async function told(text: string | Uint8Array, given: Given = {}): Promise<string> {
  const dir = folder({ 'run.yaml': text, ...given.files });
  try {
    await resolveConfigs(join(dir, 'run.yaml'), { schemas: given.schemas ?? schemas, set: given.set, env: given.env ?? {} });
  } catch (error) {
    if (!GraftError.is(error)) throw error;
    return `${error.message}${error.hint === undefined ? '' : ` ${error.hint}`}`.replaceAll(`${dir}/`, '');
  }
  throw new Error('the config is right');
}

/** The first line of each error: `file:line:column: message`. */
export async function headlines(text: string | Uint8Array, given: Given = {}): Promise<readonly string[]> {
  return (await told(text, given)).split('\n').filter((line) => /^[^ >].*:\d+:\d+: /.test(line));
}

/** The codes of what is wrong, in order. */
export async function codes(text: string, given: Given = {}): Promise<readonly string[]> {
  const dir = folder({ 'run.yaml': text, ...given.files });
  return resolveConfigs(join(dir, 'run.yaml'), { schemas, set: given.set, env: given.env ?? {} }).then(
    () => [],
    (error: unknown) => (ConfigError.is(error) ? error.diagnostics.map((each) => each.code) : [String(error)]),
  );
}
