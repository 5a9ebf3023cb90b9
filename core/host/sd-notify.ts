/**
 * What systemd is told of a service of `Type=notify`: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
 *
 * Its socket takes datagrams, which Node can't send to a path: systemd's own program does, so the unit needs `NotifyAccess=all`.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Logger } from '../contracts/index.ts';
import { reasonOf } from '../kernel/errors.ts';

const PROGRAM = 'systemd-notify';
/** Milliseconds that the program may take. */
const PROGRAM_MS = 10_000;
/** Milliseconds between two looks at the status where there is no watchdog. */
const STATUS_MS = 10_000;

export interface SystemdOptions {
  readonly log: Logger;
  /**
   * A short line on how the host stands, which shows that its database can be read.
   * @throws where it can't: then the watchdog hears nothing, and systemd ends the host
   */
  readonly status: () => Promise<string>;
  readonly env?: NodeJS.ProcessEnv;
}

export class Systemd {
  readonly #log: Logger;
  readonly #status: () => Promise<string>;
  readonly #env: NodeJS.ProcessEnv;
  /** Whether a watchdog listens to this process, and the milliseconds between two beats. */
  readonly #watched: boolean;
  readonly #periodMs: number;
  #timer: NodeJS.Timeout | undefined;
  /** Messages leave in the order in which they were given. */
  #sending: Promise<void> = Promise.resolve();
  #lastStatus: string | undefined;
  #busy = false;
  #complained = false;

  private constructor({ log, status }: SystemdOptions, env: NodeJS.ProcessEnv, watchdogMs: number | undefined) {
    this.#log = log;
    this.#status = status;
    this.#env = env;
    this.#watched = watchdogMs !== undefined;
    this.#periodMs = watchdogMs === undefined ? STATUS_MS : Math.max(1, watchdogMs / 2);
  }

  /**
   * @param options.env what systemd has set is taken out of it: it is meant for this process, and not for those that it starts
   * @returns undefined where systemd does not listen
   */
  static of(options: SystemdOptions): Systemd | undefined {
    const { env = process.env } = options;
    const { NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID } = env;
    for (const name of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID']) delete env[name];
    if (NOTIFY_SOCKET === undefined || NOTIFY_SOCKET === '') return undefined;
    const microseconds = Number(WATCHDOG_USEC);
    const watched = microseconds > 0 && (WATCHDOG_PID === undefined || Number(WATCHDOG_PID) === process.pid);
    return new Systemd(options, { ...env, NOTIFY_SOCKET }, watched ? microseconds / 1000 : undefined);
  }

  /** The host listens. From now on the watchdog is told that it lives, twice in each of its periods, by the loop that does the host's work: one that is stuck says nothing. */
  async ready(): Promise<void> {
    await this.#send('READY=1');
    await this.#beat();
    this.#timer = setInterval(() => void this.#beat(), this.#periodMs).unref();
  }

  /** The host drains, and beats on meanwhile. */
  async stopping(): Promise<void> {
    this.#lastStatus = undefined;
    await this.#send('STOPPING=1', 'STATUS=Ending: runs checkpoint.');
  }

  /** The host has ended. Resolves when all that was said has left. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#sending;
  }

  async #beat(): Promise<void> {
    // A look that hangs is as good as one that fails.
    if (this.#busy) return;
    this.#busy = true;
    try {
      const status = await this.#status();
      const changed = status !== this.#lastStatus;
      this.#lastStatus = status;
      const message = [...(this.#watched ? ['WATCHDOG=1'] : []), ...(changed ? [`STATUS=${status}`] : [])];
      if (message.length > 0) await this.#send(...message);
    } catch (error) {
      this.#log.error(`The database can't be read${this.#watched ? ', so systemd is not told that the host lives' : ''}: ${reasonOf(error)}`);
    } finally {
      this.#busy = false;
    }
  }

  async #send(...assignments: readonly string[]): Promise<void> {
    this.#sending = this.#sending.then(async () => {
      try {
        await promisify(execFile)(PROGRAM, [...assignments], { env: this.#env, timeout: PROGRAM_MS, killSignal: 'SIGKILL' });
      } catch (error) {
        this.#complain(error);
      }
    });
    await this.#sending;
  }

  /** Once: it would be the same every few seconds. */
  #complain(error: unknown): void {
    if (this.#complained) return;
    this.#complained = true;
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    this.#log.error(missing ? `systemd listens, and its program ${PROGRAM} is not on the PATH: it is told nothing. Install it, or use Type=exec and no WatchdogSec.` : `${PROGRAM} failed: ${reasonOf(error)}`);
  }
}
