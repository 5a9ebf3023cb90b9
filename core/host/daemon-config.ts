import { availableParallelism, totalmem } from 'node:os';
import { basename, isAbsolute } from 'node:path';
import { Type, type Static } from 'typebox';
import type { Complaint } from '../config/complaint.ts';
import { readDocument, topKeys } from '../config/index.ts';
import { checkOptions } from '../config/options.ts';
import { runSchema } from '../config/schema.ts';
import type { Resources } from '../contracts/index.ts';
import { httpSchema } from './http.ts';
import { defaultStateDir } from './state-dir.ts';

const auto = (schema: ReturnType<typeof Type.Number> | ReturnType<typeof Type.Integer>, description: string) => Type.Union([Type.Literal('auto'), schema], { default: 'auto', description });

/** A base model of the daemon. */
const servedBase = Type.Object(
  {
    model: Type.String({ minLength: 1, graftEnv: true, description: 'Folder of a checkpoint in Hugging Face format, relative to this file, or the id of a model on the Hugging Face Hub.' }),
    id: Type.Optional(Type.String({ minLength: 1, description: "The name that requests say. Default: the folder's, or the Hub id." })),
    serve: Type.Boolean({ default: true, description: 'Whether it is loaded and answers; else it may be trained alone.' }),
    load: Type.Record(Type.String(), Type.Unknown(), { default: {}, description: 'Options of the load plugin, and `use:` where that is not `llama`.' }),
    server: Type.Record(Type.String(), Type.Unknown(), { default: {}, description: 'Options of the serve plugin, and `use:` where that is not `openai`.' }),
    engine: Type.String({ default: 'auto', description: 'Which engine computes.' }),
    threads: auto(Type.Integer({ minimum: 1 }), 'Threads that it computes with; runs have as many cores less. auto: all, shared with the runs.'),
    memory_mb: Type.Number({ exclusiveMinimum: 0, default: 8192, description: 'MiB of memory of its process, beyond which it is ended and started again. Runs have as much less.' }),
    adapters_mb: Type.Number({ exclusiveMinimum: 0, default: 1024, description: 'MiB of adapters in memory: those that were used least recently leave, and are loaded again when they are asked for.' }),
    kv_cache_mb: Type.Number({ exclusiveMinimum: 0, default: 1024, description: 'MiB of keys and values of texts that are being generated, and of those that may be gone on from.' }),
    max_sequences: Type.Integer({ minimum: 1, default: 64, description: 'Texts that are generated at once.' }),
    max_batch_tokens: Type.Integer({ minimum: 1, default: 512, description: 'Tokens of one pass of the model: a longer prompt is computed in parts, so that the others go on meanwhile.' }),
  },
  { additionalProperties: false },
);
export type ServedBase = Static<typeof servedBase>;

/** What `graft daemon --config` reads. */
export const daemonSchema = Type.Object({
  state_dir: Type.Optional(Type.String({ graftPath: true, graftEnv: true, description: 'Folder of the database, its backups and what was submitted, one daemon to a folder. Default: `GRAFT_STATE`, else `~/.graft`.' })),
  host: Type.String({ default: '127.0.0.1', description: "Address to listen on; another than this machine's own needs an API key." }),
  port: Type.Integer({ minimum: 0, maximum: 65535, default: 7474, description: 'Port to listen on; 0: any that is free.' }),
  http: httpSchema,
  queue: Type.String({ default: 'sqlite', description: 'The queue plugin.' }),
  plugins: Type.Array(Type.String({ graftPath: true, graftEnv: true }), { default: [], description: 'Folders to look for further plugins in.' }),
  configs: Type.Union([Type.String({ graftPath: true, graftEnv: true }), Type.Array(Type.String({ graftPath: true, graftEnv: true }))], { default: [], description: 'A folder of configs, or a list of them: each is checked when it changes, and queued where it says `queue: on-change`. Folders in it are not looked into.' }),
  capacity: Type.Object(
    {
      cpu: auto(Type.Number({ exclusiveMinimum: 0 }), 'Cores that runs may take together. auto: all that the system lets the host use, less the `threads` that served `models` are given.'),
      memory_mb: auto(Type.Number({ exclusiveMinimum: 0 }), 'MiB of memory that runs may take together. auto: nine tenths of the machine, less what the served `models` may take.'),
      gpu_memory_mb: Type.Number({ minimum: 0, default: 0, description: 'MiB of GPU memory that runs may take together.' }),
    },
    { default: {}, description: 'What runs may take of this machine; never more is given away.' },
  ),
  job: Type.Object(
    {
      cpu: auto(Type.Number({ exclusiveMinimum: 0 }), 'Cores of a run, and the threads that it computes with. auto: all.'),
      memory_mb: auto(Type.Number({ exclusiveMinimum: 0 }), 'MiB of a run, beyond which it is ended. auto: the same share of the memory as of the cores.'),
      gpu_memory_mb: Type.Number({ minimum: 0, default: 0, description: 'MiB of GPU memory of a run.' }),
      priority: Type.Number({ default: 0, description: 'Higher goes first.' }),
      max_attempts: Type.Integer({ minimum: 1, default: 5, description: 'Attempts that may crash before a run has failed.' }),
    },
    { default: {}, description: 'What a run gets where its submission says nothing else.' },
  ),
  models: Type.Array(servedBase, { default: [], description: 'Base models that are served over OpenAI\'s API, with the adapters that runs make of them.' }),
  adapter_roots: Type.Array(Type.String({ graftPath: true, graftEnv: true }), { default: [], description: 'Folders that `/v1/load_lora_adapter` may load adapters from.' }),
  uploads: Type.Object(
    {
      file_mb: Type.Number({ exclusiveMinimum: 0, default: 512, description: 'MiB of an uploaded file.' }),
      total_mb: Type.Number({ exclusiveMinimum: 0, default: 10_240, description: 'MiB of all uploaded files together.' }),
      line_kb: Type.Number({ exclusiveMinimum: 0, default: 1024, description: 'KiB of a line of a file to train on.' }),
      rows: Type.Integer({ minimum: 1, default: 5_000_000, description: 'Rows of a file to train on.' }),
      depth: Type.Integer({ minimum: 1, default: 32, description: 'How deep lists and objects may stand in each other in a row.' }),
    },
    { default: {}, description: 'What may be uploaded through `/v1/files`.' },
  ),
  setup_seconds: Type.Number({ exclusiveMinimum: 0, default: 10, description: 'How long the setup of an edited plugin may take before the edit is refused.' }),
  ageing_minutes: Type.Number({ exclusiveMinimum: 0, default: 10, description: 'Waiting so long weighs as much as a point of priority.' }),
  reserve_minutes: Type.Number({ minimum: 0, default: 30, description: 'A run that has waited so long is not passed by smaller ones any more.' }),
  retry_seconds: Type.Number({ minimum: 0, default: 5, description: 'Pause before the second attempt; it doubles with each.' }),
  silence_seconds: Type.Number({ exclusiveMinimum: 0, default: 180, description: 'A run that gives no sign of life for so long is ended.' }),
  lease_seconds: Type.Number({ exclusiveMinimum: 0, default: 30, description: 'How long a run belongs to this host after its last heartbeat in the database.' }),
  keep_days: Type.Number({ exclusiveMinimum: 0, default: 30, description: 'Days that the events and metrics of a run that has ended are kept in the database; its run directory keeps them for as long as it is there.' }),
  check_seconds: Type.Number({ exclusiveMinimum: 0, maximum: 120, default: 60, description: 'How long the plugins that a config names have to say whether it is right, in a process of their own; and how long a config is tried out for `graft swap`.' }),
  shutdown_seconds: Type.Number({ minimum: 0, default: 60, description: 'How long runs have to checkpoint when the daemon ends, or when they are paused or cancelled.' }),
});

/** Its part of the README's reference. */
export const daemonReference = { title: "The daemon's config", schema: daemonSchema } as const;

export type DaemonConfig = Static<typeof daemonSchema> & { readonly state_dir: string };

/**
 * @param file without it everything is as by default; its `state_dir` is `GRAFT_STATE`'s where that is set and the file is silent
 * @throws ConfigError with every mistake at its place
 */
export async function readDaemonConfig(file: string | undefined): Promise<DaemonConfig> {
  const config = file === undefined ? (checkOptions(daemonSchema, {}, 'a daemon config') as Static<typeof daemonSchema>) : await readDocument(file, daemonSchema, 'a daemon config', sameIds);
  return { ...config, state_dir: config.state_dir ?? defaultStateDir() };
}

/** The name that requests say: as configured, else the last part of the path, or the Hub id. */
export function baseId({ id, model }: Pick<ServedBase, 'id' | 'model'>): string {
  return id ?? (isAbsolute(model) ? basename(model) : model);
}

/** Two models of one name: requests could not tell them apart. */
function sameIds({ models }: Static<typeof daemonSchema>): readonly Complaint[] {
  const ids = models.map(baseId);
  return models.flatMap(({ id }, index): Complaint[] =>
    ids.indexOf(ids[index]!) === index ? [] : [{ path: ['models', index, ...(id === undefined ? [] : ['id'])], at: 'value', code: 'MODEL_ID', message: `The model ${ids[index]} is named twice. Give each an \`id\` of its own.` }],
  );
}

/** Whether a file is a daemon's config rather than a run's: it has keys of the one alone. */
export async function isDaemonConfig(file: string): Promise<boolean> {
  const keys = await topKeys(file);
  const isDaemons = (key: string): boolean => Object.hasOwn(daemonSchema.properties, key);
  return keys.every((key) => isDaemons(key) || !Object.hasOwn(runSchema.properties, key)) && keys.some((key) => key !== 'plugins' && isDaemons(key));
}

/** What runs may take, in numbers; one core and a tenth of the memory at least, however much the served models may take. */
export function capacityOf({ capacity, models }: DaemonConfig, machineMb = totalmem() / 2 ** 20, cores = availableParallelism()): Resources {
  const served = models.filter(({ serve }) => serve);
  const servedMb = served.reduce((sum, { memory_mb }) => sum + memory_mb, 0);
  const servedThreads = served.reduce((sum, { threads }) => sum + (threads === 'auto' ? 0 : threads), 0);
  return {
    cpu: capacity.cpu === 'auto' ? Math.max(1, cores - servedThreads) : capacity.cpu,
    memory_mb: capacity.memory_mb === 'auto' ? Math.floor(Math.max(0.1 * machineMb, 0.9 * machineMb - servedMb)) : capacity.memory_mb,
    gpu_memory_mb: capacity.gpu_memory_mb,
  };
}

/** What a run takes where its submission leaves something open. */
export function resourcesOf({ job }: DaemonConfig, capacity: Resources, asked: Partial<Resources>): Resources {
  const cpu = asked.cpu ?? (job.cpu === 'auto' ? capacity.cpu : job.cpu);
  const share = Math.floor(capacity.memory_mb * Math.min(1, cpu / capacity.cpu));
  return { cpu, memory_mb: asked.memory_mb ?? (job.memory_mb === 'auto' ? share : job.memory_mb), gpu_memory_mb: asked.gpu_memory_mb ?? job.gpu_memory_mb };
}
