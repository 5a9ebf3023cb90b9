/** Starts what the queue holds, as far as the machine has room, and brings every run to an end. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Job, JobLease, JobRequest, Logger, Outcome, Queue, Resources, RunEvent } from '../contracts/index.ts';
import { GraftError, reasonOf } from '../kernel/errors.ts';
import { readHistory } from '../run/history.ts';
import { eventsFileOf } from '../run/run-directory.ts';
import { DISK_FULL, FullDisk } from './full-disk.ts';
import type { HostMetrics } from './metrics.ts';
import { outcomeOf } from './outcome.ts';
import type { StopReason, WorkOrder } from './protocol.ts';
import { residentBytes } from './resident.ts';
import { runPayloadOf } from './run-payload.ts';
import { RunProcess, type ProcessEnd } from './run-process.ts';
import type { RunStore } from './run-store.ts';
import { schedule, type Rules } from './schedule.ts';

export interface DispatcherOptions {
  /** The same at every start of this host, and another one's never. */
  readonly holder: string;
  readonly queue: Queue;
  readonly runs: RunStore;
  readonly log: Logger;
  readonly metrics: HostMetrics;
  /** Plugin folders beside those that a run's config names. */
  readonly pluginDirs: readonly string[];
  readonly capacity: Resources;
  readonly rules: Rules;
  readonly leaseMs: number;
  /** Without a sign of life for so long a run is killed. */
  readonly silenceMs: number;
  /** Before the second attempt; it doubles with each. */
  readonly retryMs: number;
  /** What a run has to checkpoint in when it is asked to stop; then it is killed. */
  readonly stopMs: number;
  /** Called in the transaction that ends a job which has succeeded. */
  published?(job: Job): void;
  /** Folders beside runs' own that they, and the host for them, write to. */
  readonly writtenDirs: readonly string[];
}

/** Milliseconds between two looks at the queue where nothing else gives reason to. */
const TICK_MS = 1000;
/** Milliseconds between two looks at whether a full disk has space again. */
const SPACE_MS = 2000;
/** Milliseconds that events are gathered before they are written. */
const FLUSH_MS = 300;
/** Events of a run that are kept while they can't be written. */
const MOST_UNWRITTEN = 20_000;
/** Milliseconds between two complaints that something can't be written. */
const COMPLAINT_MS = 30_000;
/** Jobs that paused over a full disk that are looked at at once. */
const MOST_PAUSED = 1000;
/** Failures of the database that pass when the disk has space. */
const UNWRITABLE: ReadonlySet<string> = new Set([DISK_FULL, 'DATABASE_UNREADABLE']);

interface Running {
  readonly process: RunProcess;
  readonly attempt: number;
  lease: JobLease;
  told: { readonly at: number; readonly event: RunEvent }[];
  /** Where it says that it is, until that is written. */
  dir: string | undefined;
  asked: StopReason | undefined;
  /** It goes on under another config, once it does. */
  swapping: boolean;
}

/** Of two things that a run is asked for, the higher one is done. */
const RANKS: Readonly<Record<StopReason, number>> = { shutdown: 0, swap: 1, pause: 2, cancel: 3 };

export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #idToRunning = new Map<string, Running>();
  readonly #ending = new Set<Promise<void>>();
  readonly #timers: NodeJS.Timeout[] = [];
  #waits: ReadonlyMap<string, string> = new Map();
  /** Looks run one after the other. */
  #looking: Promise<void> = Promise.resolve();
  #lookAgain = false;
  #draining = false;
  #renewedAt = 0;
  readonly #fullDisk: FullDisk;
  /** What jobs came to while that could not be written, by their ids. */
  readonly #idToUnwritten = new Map<string, Outcome>();
  /** Whether there may be jobs that paused over a full disk. */
  #somePaused = true;
  #spaceAt = 0;
  #complainedAt = Number.NEGATIVE_INFINITY;

  constructor(options: DispatcherOptions) {
    this.#options = options;
    this.#fullDisk = new FullDisk(options.writtenDirs);
  }

  /** Takes back what a host before this one left running, and begins. */
  async start(): Promise<void> {
    const { queue, runs, log, metrics, holder } = this.#options;
    const left = await queue.takeBack({ now: Date.now(), holder, working: [], lost: lost('The host ended while it ran.') });
    for (const job of left) {
      runs.endAttempt(job.id, job.attempts, { reason: 'The host ended.' });
      metrics.attemptEnded(lost('The host ended.')());
      log.warn(`${job.name} (${job.id}) was running when the host ended; it is ${job.state} now.`);
    }
    this.#timers.push(setInterval(() => this.wake(), TICK_MS), setInterval(() => this.#flushAll(), FLUSH_MS));
    this.wake();
  }

  /** Why each waiting job waits, by its id. */
  get waits(): ReadonlyMap<string, string> {
    return this.#waits;
  }

  /** What a job that has ended came to, while the disk is too full to write it. */
  unwritten(id: string): Outcome | undefined {
    return this.#idToUnwritten.get(id);
  }

  get draining(): boolean {
    return this.#draining;
  }

  /** What runs now takes. */
  get taken(): readonly Resources[] {
    return [...this.#idToRunning.values()].map(({ lease }) => lease.job.resources);
  }

  /** MiB that a job has of its own and does not take just now; of one that does not run, what no other has. */
  memoryLeft(job: Job): number {
    const running = this.#idToRunning.get(job.id);
    if (running === undefined) return this.taken.reduce((left, { memory_mb }) => left - memory_mb, this.#options.capacity.memory_mb);
    return running.lease.job.resources.memory_mb - Math.max(residentBytes(running.process.pid) ?? 0, running.process.peakBytes) / 2 ** 20;
  }

  /** Looks at the queue now rather than at the next tick. */
  wake(): void {
    if (this.#lookAgain) return;
    this.#lookAgain = true;
    this.#looking = this.#looking.then(async () => {
      this.#lookAgain = false;
      await this.#look().catch((error: unknown) => this.#complain(`The queue can't be looked at: ${reasonOf(error)}`));
    });
  }

  /** Tells a running job at once what it was asked for; its next heartbeat would, too. */
  notify(job: Job): void {
    const running = this.#idToRunning.get(job.id);
    if (running !== undefined && job.request !== undefined) this.#ask(running, job.request);
    this.wake();
  }

  /** Starts nothing more, lets every run checkpoint, and resolves when all are gone. */
  async drain(): Promise<void> {
    this.#draining = true;
    await this.#looking;
    for (const running of this.#idToRunning.values()) this.#ask(running, 'shutdown');
    while (this.#ending.size > 0) await Promise.all(this.#ending);
    this.#timers.forEach(clearInterval);
  }

  async #look(): Promise<void> {
    const { queue, capacity, rules, log, metrics, holder, leaseMs } = this.#options;
    if (performance.now() - this.#renewedAt > leaseMs / 3) await this.#renew();
    if (this.#draining) return;
    if (this.#somePaused && performance.now() - this.#spaceAt > SPACE_MS) await this.#goOnWhereSpace();
    const now = Date.now();
    for (const job of await queue.expire({ now, holder, lost: lost('Its lease ran out.') })) log.warn(`The lease of ${job.name} (${job.id}) ran out; it is ${job.state} now.`);
    for (const job of await queue.takeBack({ now, holder, working: [...this.#idToRunning.keys()], lost: lost('How its process ended could not be recorded.') })) log.warn(`${job.name} (${job.id}) has no process any more; it is ${job.state} now.`, { job: job.id });
    // One that was taken from this host while its process lives on waits for that to end.
    const due = (await queue.due(now)).filter(({ id }) => !this.#idToRunning.has(id));
    const { start, waits } = schedule(due, this.taken, capacity, now, rules);
    this.#waits = waits;
    for (const job of start) {
      const lease = await queue.claim(job.id, { now: Date.now(), leaseMs, holder });
      if (lease === undefined) continue;
      metrics.attemptBegan(Date.now() - job.dueAt);
      await this.#begin(lease);
    }
  }

  async #begin(lease: JobLease): Promise<void> {
    const { queue, runs, log, metrics, silenceMs, pluginDirs } = this.#options;
    const { id, name, attempts, resources } = lease.job;
    const { runId, configFile, halvings, swap } = runPayloadOf(lease.job);
    const order: WorkOrder = {
      ...{ runId, configFile, halvings, swap: swap && { id: swap.id } },
      pluginDirs,
      threads: Math.max(1, Math.floor(resources.cpu)),
      beatMs: Math.min(1000, silenceMs / 4),
    };
    let running: Running | undefined;
    try {
      const child = new RunProcess({ type: 'start', order }, { memoryMb: resources.memory_mb, silenceMs }, {
        told: (message) => {
          if (running === undefined) return;
          if (message.type === 'event') metrics.told(message.event);
          if (message.type === 'directory') {
            running.dir = message.dir;
            running.swapping &&= !message.swapped;
          } else if (message.type === 'event') {
            if (message.event.type === 'swapped') running.swapping = false;
            running.told.push(message);
          } else if (message.type === 'log') running.told.push({ at: Date.now(), event: { type: 'log', level: message.level, message: message.message } });
        },
      });
      running = { process: child, attempt: attempts, lease, told: [], dir: undefined, asked: undefined, swapping: swap !== undefined };
    } catch (error) {
      const outcome = { ...lost(`Its process can't be started: ${reasonOf(error)}.`)(), dueAt: Date.now() + this.#options.retryMs };
      await queue.end(lease, outcome);
      metrics.attemptEnded(outcome);
      return;
    }
    this.#idToRunning.set(id, running);
    const begun = running;
    const ending = begun.process.ended
      .then((end) => this.#end(begun, end))
      // It is taken back at the next look that can write the database.
      .catch((error: unknown) => log.error(`${name} (${id}) ended, and that can't be recorded: ${reasonOf(error)}`, { job: id }))
      .finally(() => {
        if (this.#idToRunning.get(id) === begun) this.#idToRunning.delete(id);
        this.#idToUnwritten.delete(id);
        this.#ending.delete(ending);
        this.wake();
      });
    this.#ending.add(ending);
    try {
      runs.beginAttempt(id, attempts, begun.process.pid);
    } catch (error) {
      this.#complain(`The attempt of ${name} (${id}) can't be recorded: ${reasonOf(error)}`, id);
    }
    log.info(`${name} (${id}) runs as process ${begun.process.pid}, attempt ${attempts}.`, { job: id });
  }

  async #end(running: Running, end: ProcessEnd): Promise<void> {
    const { queue, runs, log, metrics, retryMs } = this.#options;
    const { lease, process: child, attempt } = running;
    const { id, name } = lease.job;
    this.#flush(id, running);
    const outcome = outcomeOf(lease.job, end, running.asked, { now: Date.now(), retryMs, swapping: running.swapping });
    metrics.attemptEnded(outcome, child.peakBytes);
    const died = end.kind === 'died' ? end : undefined;
    const attemptEnd = { exitCode: died === undefined ? 0 : died.exitCode, signal: died?.signal, reason: 'reason' in outcome ? outcome.reason : undefined, lastLines: died?.lastLines, peakBytes: child.peakBytes };
    const dir = running.dir ?? runs.directory(id);
    if (isDiskFull(outcome)) await this.#fullDisk.paused(id, dir);
    else if (outcome.state !== 'waiting') this.#fullDisk.forget(id);
    this.#idToUnwritten.set(id, outcome);
    if (outcome.state === 'succeeded' && attempt > 1) await this.#fillGaps(id, dir);
    const kept = await this.#untilWritten(() =>
      queue.end(lease, outcome, () => {
        if (dir !== undefined) runs.setDirectory(id, dir);
        runs.endAttempt(id, attempt, attemptEnd);
        if (outcome.state !== 'succeeded') return;
        runs.publish(id);
        this.#options.published?.(lease.job);
      }),
    );
    this.#somePaused ||= isDiskFull(outcome);
    if (!kept) {
      runs.endAttempt(id, attempt, { ...attemptEnd, reason: 'Its lease was lost.' });
      return log.warn(`${name} (${id}) ended after its lease was lost: what it came to is not counted.`, { job: id });
    }
    if ('code' in outcome && outcome.code === 'SWAP_UNDONE') running.told.push({ at: Date.now(), event: { type: 'log', level: 'error', message: outcome.reason } });
    this.#flush(id, running);
    log[outcome.state === 'succeeded' ? 'info' : 'warn'](`${name} (${id}): ${told(outcome)}`, { job: id });
  }

  async #goOnWhereSpace(): Promise<void> {
    const { queue, runs, log } = this.#options;
    this.#spaceAt = performance.now();
    const paused = (await queue.list({ states: ['paused'], limit: MOST_PAUSED })).filter(({ code }) => code === DISK_FULL);
    this.#somePaused = paused.length > 0;
    for (const { id, name } of paused) {
      if (!(await this.#fullDisk.hasRoom(id, runs.directory(id)))) continue;
      // Somebody may have paused it meanwhile.
      if ((await queue.get(id))?.code !== DISK_FULL) continue;
      if ((await queue.resume(id)) !== undefined) log.info(`There is space on the disk again: ${name} (${id}) goes on.`, { job: id });
    }
  }

  /** Tries again while the disk is full, for what a run came to is not to be lost over it; a host that ends leaves it to the next, which has the run's directory to read it from. */
  async #untilWritten<T>(act: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await act();
      } catch (error) {
        if (!GraftError.is(error) || !UNWRITABLE.has(error.code) || this.#draining) throw error;
        this.#complain(`What a run came to can't be recorded yet: ${error.message}`);
        await sleep(TICK_MS);
      }
    }
  }

  /** Writes the numbers of steps that a host before this one was told and could not write, for it was killed: its run has them. */
  async #fillGaps(id: string, dir: string | undefined): Promise<void> {
    const { runs, log } = this.#options;
    if (dir === undefined) return;
    try {
      const { steps, evaluations } = readHistory(eventsFileOf(dir));
      await this.#untilWritten(async () => runs.recordNumbers(id, [...steps, ...evaluations]));
    } catch (error) {
      log.warn(`The steps of ${id} that were missed can't be read: ${reasonOf(error)}`, { job: id });
    }
  }

  async #renew(): Promise<void> {
    const { queue, leaseMs } = this.#options;
    this.#renewedAt = performance.now();
    for (const [id, running] of this.#idToRunning) {
      try {
        const renewed = await queue.renew(running.lease, { now: Date.now(), leaseMs });
        if (renewed === undefined) running.process.kill('Its lease was lost.');
        else {
          running.lease = renewed;
          if (renewed.job.request !== undefined) this.#ask(running, renewed.job.request);
        }
      } catch (error) {
        this.#complain(`The lease of ${id} can't be renewed: ${reasonOf(error)}`, id);
      }
    }
  }

  #ask(running: Running, what: JobRequest | 'shutdown'): void {
    const { asked } = running;
    if (asked !== undefined && RANKS[asked] >= RANKS[what]) return;
    running.asked = what;
    if (asked !== undefined) return;
    running.process.stop(what);
    const { stopMs } = this.#options;
    const deadline = setTimeout(() => running.process.kill(`It did not stop within ${stopMs / 1000} s.`), stopMs);
    void running.process.ended.then(() => clearTimeout(deadline));
  }

  #flushAll(): void {
    for (const [id, running] of this.#idToRunning) this.#flush(id, running);
  }

  /** What can't be written now, since the disk is full, is tried again with what comes; what never can be is left out, and said. */
  #flush(id: string, running: Running): void {
    const { runs, log, metrics } = this.#options;
    try {
      if (running.dir !== undefined) runs.setDirectory(id, running.dir);
      running.dir = undefined;
      if (running.told.length > 0) metrics.eventsWritten(runs.record(id, running.told));
      running.told = [];
    } catch (error) {
      if (GraftError.is(error)) {
        metrics.eventsDropped(running.told.splice(0, Math.max(0, running.told.length - MOST_UNWRITTEN)).length);
        return this.#complain(`What ${id} has told can't be recorded: ${error.message}`, id);
      }
      const told = running.told;
      running.told = [];
      for (const each of told) {
        try {
          metrics.eventsWritten(runs.record(id, [each]));
        } catch (refused) {
          metrics.eventsDropped(1);
          log.warn(`An event of ${id} is left out, for it is not as it should be (${reasonOf(refused)}): ${JSON.stringify(each.event)}`, { job: id });
        }
      }
    }
  }

  /** Now and then: a full disk would otherwise be said several times a second. */
  #complain(message: string, job?: string): void {
    if (performance.now() - this.#complainedAt < COMPLAINT_MS) return;
    this.#complainedAt = performance.now();
    this.#options.log.error(message, job === undefined ? undefined : { job });
  }
}

/** Of a job whose holder is gone, which was not its fault. */
function lost(reason: string): () => Extract<Outcome, { readonly state: 'waiting' }> {
  return () => ({ state: 'waiting', reason, code: 'LEASE_LOST', dueAt: Date.now(), counts: false });
}

function isDiskFull(outcome: Outcome): boolean {
  return outcome.state === 'paused' && outcome.code === DISK_FULL;
}

function told(outcome: Outcome): string {
  return outcome.state === 'succeeded' ? 'succeeded' : `${outcome.state}. ${outcome.reason}`;
}
