import { spawn } from 'node:child_process';

export interface Ended {
  /** Undefined where there is no such command. */
  readonly code: number | null | undefined;
  /** Standard output and error as they came. */
  readonly output: string;
}

/** Runs a command to its end without a shell; an abort ends it. */
export function runCommand(command: string, args: readonly string[], options: { readonly cwd?: string; readonly signal?: AbortSignal } = {}): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: options.cwd, signal: options.signal, stdio: ['ignore', 'pipe', 'pipe'], windowsHide: true });
    let output = '';
    const take = (text: string): void => void (output += text);
    child.stdout.setEncoding('utf8').on('data', take);
    child.stderr.setEncoding('utf8').on('data', take);
    child.on('error', (error: NodeJS.ErrnoException) => (error.code === 'ENOENT' ? resolve({ code: undefined, output }) : reject(error)));
    child.on('close', (code) => resolve({ code, output }));
  });
}

/** The last lines that say something, for an error's hint. */
export function lastLines(output: string, count = 8): string {
  return output.split('\n').filter((line) => line.trim() !== '').slice(-count).join('\n');
}
