import { availableParallelism, totalmem } from 'node:os';
import { Type, type Static } from 'typebox';
import { readDocument, topKeys } from '../config/index.ts';
import { checkOptions } from '../config/options.ts';
import { runSchema } from '../config/schema.ts';
import type { Resources } from '../contracts/index.ts';
import { defaultStateDir } from './state-dir.ts';

const auto = (schema: ReturnType<typeof Type.Number>, description: string) => Type.Union([Type.Literal('auto'), schema], { default: 'auto', description });

/** What `graft daemon --config` reads. */
export const daemonSchema = Type.Object({
  state_dir: Type.Optional(Type.String({ graftPath: true, graftEnv: true, description: 'Folder of the database, its backups and what was submitted, one daemon to a folder. Default: `GRAFT_STATE`, else `~/.graft`.' })),
  host: Type.String({ default: '127.0.0.1', description: 'Address to listen on.' }),
  port: Type.Integer({ minimum: 0, maximum: 65535, default: 7474, description: 'Port to listen on; 0: any that is free.' }),
  queue: Type.String({ default: 'sqlite', description: 'The queue plugin.' }),
  plugins: Type.Array(Type.String({ graftPath: true, graftEnv: true }), { default: [], description: 'Folders to look for further plugins in.' }),
  configs: Type.Union([Type.String({ graftPath: true, graftEnv: true }), Type.Array(Type.String({ graftPath: true, graftEnv: true }))], { default: [], description: 'A folder of configs, or a list of them: each is checked when it changes, and queued where it says `queue: on-change`. Folders in it are not looked into.' }),
  capacity: Type.Object(
    {
      cpu: auto(Type.Number({ exclusiveMinimum: 0 }), 'Cores that runs may take together. auto: all that the system lets the host use.'),
      memory_mb: auto(Type.Number({ exclusiveMinimum: 0 }), 'MiB of memory that runs may take together. auto: nine tenths of the machine.'),
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
  ageing_minutes: Type.Number({ exclusiveMinimum: 0, default: 10, description: 'Waiting so long weighs as much as a point of priority.' }),
  reserve_minutes: Type.Number({ minimum: 0, default: 30, description: 'A run that has waited so long is not passed by smaller ones any more.' }),
  retry_seconds: Type.Number({ minimum: 0, default: 5, description: 'Pause before the second attempt; it doubles with each.' }),
  silence_seconds: Type.Number({ exclusiveMinimum: 0, default: 180, description: 'A run that gives no sign of life for so long is ended.' }),
  lease_seconds: Type.Number({ exclusiveMinimum: 0, default: 30, description: 'How long a run belongs to this host after its last heartbeat in the database.' }),
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
  const config = file === undefined ? (checkOptions(daemonSchema, {}, 'a daemon config') as Static<typeof daemonSchema>) : await readDocument(file, daemonSchema, 'a daemon config');
  return { ...config, state_dir: config.state_dir ?? defaultStateDir() };
}

/** Whether a file is a daemon's config rather than a run's: it has keys of the one alone. */
export async function isDaemonConfig(file: string): Promise<boolean> {
  const keys = await topKeys(file);
  const isDaemons = (key: string): boolean => Object.hasOwn(daemonSchema.properties, key);
  return keys.every((key) => isDaemons(key) || !Object.hasOwn(runSchema.properties, key)) && keys.some((key) => key !== 'plugins' && isDaemons(key));
}

/** What runs may take, in numbers. */
export function capacityOf({ capacity }: DaemonConfig): Resources {
  return {
    cpu: capacity.cpu === 'auto' ? availableParallelism() : capacity.cpu,
    memory_mb: capacity.memory_mb === 'auto' ? Math.floor((0.9 * totalmem()) / 2 ** 20) : capacity.memory_mb,
    gpu_memory_mb: capacity.gpu_memory_mb,
  };
}

/** What a run takes where its submission leaves something open. */
export function resourcesOf({ job }: DaemonConfig, capacity: Resources, asked: Partial<Resources>): Resources {
  const cpu = asked.cpu ?? (job.cpu === 'auto' ? capacity.cpu : job.cpu);
  const share = Math.floor(capacity.memory_mb * Math.min(1, cpu / capacity.cpu));
  return { cpu, memory_mb: asked.memory_mb ?? (job.memory_mb === 'auto' ? share : job.memory_mb), gpu_memory_mb: asked.gpu_memory_mb ?? job.gpu_memory_mb };
}
