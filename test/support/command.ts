/** The command line as a process of its own. */
import { spawn, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const GRAFT = fileURLToPath(new URL('../../core/cli/graft.mjs', import.meta.url));

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunningCommand {
  readonly process: ChildProcess;
  /** What it has written so far. */
  readonly stdout: () => string;
  readonly stderr: () => string;
  /** Resolves with the match once its output has one; rejects when it ends before. */
  seen(pattern: RegExp): Promise<RegExpExecArray>;
  readonly ended: Promise<Finished>;
}

/** Starts `graft` with arguments. */
export function startGraft(args: readonly string[], options: { readonly cwd?: string; readonly env?: NodeJS.ProcessEnv; readonly input?: string } = {}): RunningCommand {
  const child = spawn(process.execPath, [GRAFT, ...args], { cwd: options.cwd, env: { ...process.env, NO_COLOR: '1', ...options.env }, stdio: ['pipe', 'pipe', 'pipe'] });
  child.stdin.end(options.input ?? '');
  let [stdout, stderr] = ['', ''];
  const waiting = new Set<() => void>();
  const tell = (): void => waiting.forEach((check) => check());
  child.stdout.setEncoding('utf8').on('data', (text: string) => ((stdout += text), tell()));
  child.stderr.setEncoding('utf8').on('data', (text: string) => ((stderr += text), tell()));
  const ended = new Promise<Finished>((resolve) => child.on('close', (code) => resolve({ code, stdout, stderr })));
  return {
    process: child,
    stdout: () => stdout,
    stderr: () => stderr,
    ended,
    seen: (pattern) =>
      new Promise((resolve, reject) => {
        const check = (): void => {
          const match = pattern.exec(`${stdout}\n${stderr}`);
          if (match === null) return;
          waiting.delete(check);
          resolve(match);
        };
        waiting.add(check);
        void ended.then(({ code }) => reject(new Error(`graft ${args.join(' ')} ended with ${code} before ${String(pattern)} was seen:\n${stdout}\n${stderr}`)));
        check();
      }),
  };
}

/** Runs `graft` to its end. */
export function graft(args: readonly string[], options: Parameters<typeof startGraft>[1] = {}): Promise<Finished> {
  return startGraft(args, options).ended;
}
