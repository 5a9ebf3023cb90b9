/** Configs and their plugins looked at in a process of its own, with a deadline: a plugin that loops for ever or crashes harms nobody. */
import { fork, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { GraftError } from '../kernel/errors.ts';
import type { CheckAnswer, CheckRequest } from './check-protocol.ts';
import type { CheckedConfig } from './checked-config.ts';
import { residentBytes } from './resident.ts';
import type { ConfigSource } from './run-payload.ts';

const ENTRY = fileURLToPath(new URL('./child/entry.mjs', import.meta.url));
/** Milliseconds between two looks at its memory. */
const LOOK_MS = 200;
/** Characters of its error output that are kept. */
const KEPT = 4000;

/** The checks that are going on. */
export class Checks {
  readonly #live = new Set<CheckProcess>();
  readonly #pluginDirs: readonly string[];
  readonly #deadlineMs: number;

  /**
   * @param pluginDirs folders to look for plugins in, beside those that a config names
   * @param deadlineMs what one question may take
   */
  constructor(pluginDirs: readonly string[], deadlineMs: number) {
    this.#pluginDirs = pluginDirs;
    this.#deadlineMs = deadlineMs;
  }

  /** @param memoryMb MiB beyond which the process is ended */
  async within<T>(act: (check: CheckProcess) => Promise<T>, memoryMb = Infinity): Promise<T> {
    const check = new CheckProcess(this.#pluginDirs, this.#deadlineMs, memoryMb);
    this.#live.add(check);
    try {
      return await act(check);
    } finally {
      await check.end();
      this.#live.delete(check);
    }
  }

  async dispose(): Promise<void> {
    await Promise.all([...this.#live].map((check) => check.end()));
  }
}

export class CheckProcess {
  readonly #child: ChildProcess;
  readonly #pluginDirs: readonly string[];
  readonly #deadlineMs: number;
  readonly #gone: Promise<void>;
  readonly #watch: NodeJS.Timeout;
  #killed: GraftError | undefined;
  #over: GraftError | undefined;
  #written = '';
  #answered: (answer: CheckAnswer | GraftError) => void = () => undefined;

  constructor(pluginDirs: readonly string[], deadlineMs: number, memoryMb: number) {
    this.#pluginDirs = pluginDirs;
    this.#deadlineMs = deadlineMs;
    this.#child = fork(ENTRY, ['check'], { stdio: ['ignore', 'ignore', 'pipe', 'ipc'], execArgv: [], detached: true, env: { ...process.env, NO_COLOR: '1', GRAFT_HOST_PID: String(process.pid) } });
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.#written = (this.#written + text).slice(-KEPT)));
    this.#child.on('message', (answer: CheckAnswer) => this.#answered(answer));
    this.#watch = setInterval(() => {
      const mb = Math.ceil((residentBytes(this.#child.pid ?? -1) ?? 0) / 2 ** 20);
      if (mb > memoryMb) this.#kill(new GraftError('CHECK_MEMORY', `Trying it out took ${mb} MiB of memory, and ${Math.floor(memoryMb)} were left.`));
    }, LOOK_MS);
    this.#gone = new Promise((resolve) => {
      const gone = (how: string): void => {
        clearInterval(this.#watch);
        this.#over = this.#killed ?? new GraftError('CHECK_CRASHED', `The config's plugins ended the process that they were tried out in: ${how}.${this.#lastLine()}`);
        this.#answered(this.#over);
        resolve();
      };
      this.#child.on('error', (error) => gone(error.message));
      this.#child.on('exit', (code, signal) => gone(signal === null ? `it ended with code ${code}` : `it was ended by ${signal}`));
    });
  }

  /** @throws ConfigError's message as a GraftError; `CHECK_TIMEOUT`, `CHECK_CRASHED` */
  async resolve(source: ConfigSource): Promise<readonly CheckedConfig[]> {
    const answer = await this.#ask({ type: 'resolve', source, pluginDirs: this.#pluginDirs }, `Reading ${source.config} with its plugins`);
    return (answer as Extract<CheckAnswer, { type: 'resolved' }>).configs;
  }

  /** After `resolve`: whether the run in a directory could go on under a config, with what a person should know of it. @throws GraftError where it could not; `CHECK_TIMEOUT`, `CHECK_MEMORY` */
  async rehearse(order: Omit<Extract<CheckRequest, { type: 'rehearse' }>, 'type'>): Promise<readonly string[]> {
    return ((await this.#ask({ type: 'rehearse', ...order }, 'Trying it out')) as Extract<CheckAnswer, { type: 'rehearsed' }>).notes;
  }

  /** Resolves once it is gone. */
  async end(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#gone;
  }

  async #ask(request: CheckRequest, what: string): Promise<CheckAnswer> {
    const deadline = setTimeout(() => this.#kill(new GraftError('CHECK_TIMEOUT', `${what} did not end within ${this.#deadlineMs / 1000} s.`)), this.#deadlineMs);
    try {
      const answer = await new Promise<CheckAnswer | GraftError>((resolve) => {
        this.#answered = resolve;
        if (this.#over !== undefined) resolve(this.#over);
        this.#child.send(request, () => undefined);
      });
      if (GraftError.is(answer)) throw answer;
      if (answer.type !== 'refused') return answer;
      throw answer.code === undefined ? new GraftError('CHECK_FAILED', `${what} failed: ${answer.message}`) : new GraftError(answer.code, answer.message, { hint: answer.hint });
    } finally {
      clearTimeout(deadline);
    }
  }

  #kill(because: GraftError): void {
    this.#killed ??= because;
    this.#child.kill('SIGKILL');
  }

  #lastLine(): string {
    const line = this.#written.trimEnd().split('\n').at(-1)?.trim() ?? '';
    return line === '' ? '' : ` It wrote last: ${line}`;
  }
}
