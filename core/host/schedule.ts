/** Which jobs start now, and why the others wait. */
import type { Job, Resources } from '../contracts/index.ts';

export interface Rules {
  /** Waiting so long weighs as much as a point of priority. Milliseconds. */
  readonly ageingMs: number;
  /** Behind a job that has waited so long nothing smaller starts any more. Milliseconds. */
  readonly reserveMs: number;
}

export interface Schedule {
  /** In the order in which they are to start; all of them fit. */
  readonly start: readonly Job[];
  /** By the job's id, a sentence. */
  readonly waits: ReadonlyMap<string, string>;
}

type Kind = keyof Resources;
const KINDS: readonly Kind[] = ['cpu', 'memory_mb', 'gpu_memory_mb'];
const NAMES: Readonly<Record<Kind, string>> = { cpu: 'cores', memory_mb: 'MiB of memory', gpu_memory_mb: 'MiB of GPU memory' };

/**
 * Goes through the jobs by priority, those that have waited longer first (since they were due, not while they ran or were paused), and starts what fits beside what runs. A small job passes by a large one
 * that has no room yet, until the large one has waited for `reserveMs`: then what becomes free is kept for it.
 * @param due jobs that may start, the oldest first
 * @param running what runs now
 * @param capacity never exceeded
 */
export function schedule(due: readonly Job[], running: readonly Resources[], capacity: Resources, now: number, { ageingMs, reserveMs }: Rules): Schedule {
  const weight = ({ priority, dueAt }: Job): number => priority + (now - dueAt) / ageingMs;
  const ordered = due.toSorted((a, b) => weight(b) - weight(a));
  let free = running.reduce(minus, capacity);
  const start: Job[] = [];
  const waits = new Map<string, string>();
  let keptFor: Job | undefined;
  for (const job of ordered) {
    const tooLarge = lacking(job.resources, capacity);
    const lacks = lacking(job.resources, free);
    if (tooLarge !== undefined) {
      waits.set(job.id, `It needs ${amount(tooLarge, job.resources)}, and this host has ${amount(tooLarge, capacity)}: it can't start here.`);
    } else if (keptFor !== undefined) {
      waits.set(job.id, `What becomes free is kept for ${keptFor.name} (${keptFor.id}), which has waited for ${minutes(now - keptFor.dueAt)}.`);
    } else if (lacks === undefined) {
      start.push(job);
      free = minus(free, job.resources);
    } else {
      waits.set(job.id, `It needs ${amount(lacks, job.resources)}, and ${short(free[lacks])} of ${short(capacity[lacks])} are free.`);
      if (now - job.dueAt >= reserveMs) keptFor = job;
    }
  }
  return { start, waits };
}

function minus(from: Resources, taken: Resources): Resources {
  return { cpu: from.cpu - taken.cpu, memory_mb: from.memory_mb - taken.memory_mb, gpu_memory_mb: from.gpu_memory_mb - taken.gpu_memory_mb };
}

/** The first kind of which there is too little; what fractions of cores lose to rounding is none. */
function lacking(needed: Resources, free: Resources): Kind | undefined {
  return KINDS.find((kind) => needed[kind] > free[kind] + 1e-9);
}

function amount(kind: Kind, resources: Resources): string {
  return resources[kind] === 1 && kind === 'cpu' ? '1 core' : `${short(resources[kind])} ${NAMES[kind]}`;
}

const short = (value: number): string => String(Number(value.toFixed(2)));

function minutes(ms: number): string {
  return ms < 120_000 ? `${Math.round(ms / 1000)} s` : `${Math.round(ms / 60_000)} min`;
}
