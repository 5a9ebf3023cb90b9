/** The command line as a person meets it: a process of its own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const GRAFT = fileURLToPath(new URL('../../core/cli/graft.mjs', import.meta.url));

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs `graft` without colour, from a folder.
 * @param onLine is told each line of standard output, and may send the process a signal
 */
export async function graft(cwd: string, args: readonly string[], onLine: (line: string, send: (signal: NodeJS.Signals) => void) => void = () => undefined): Promise<Ended> {
  const child = spawn(process.execPath, [GRAFT, ...args], { cwd, stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, NO_COLOR: '1', GRAFT_LOG: undefined } });
  const lines: string[] = [];
  let stderr = '';
  child.stderr.on('data', (part: Buffer) => { stderr += part.toString(); });
  createInterface({ input: child.stdout }).on('line', (line) => {
    lines.push(line);
    onLine(line, (signal) => child.kill(signal));
  });
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return { code, signal, stdout: lines.join('\n'), stderr };
}
