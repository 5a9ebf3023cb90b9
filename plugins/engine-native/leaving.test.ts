/** How a process ends while the engine computes: at once, as it was told to, and without a word. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const FIXTURE = join(import.meta.dirname, 'fixtures/leave.mjs');

/** The fixture enqueues work for many minutes: where leaving waited for it, the test would run into its time limit. */
async function leave(way: string): Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null; readonly stdout: string; readonly stderr: string }> {
  const child = spawn(process.execPath, [FIXTURE, way], { stdio: ['ignore', 'pipe', 'pipe'] });
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return { code, signal, stdout, stderr };
}

const OTHER_THREAD = 'the native engine runs in another thread of this process, and only one can use it';

describe('a process that leaves in the middle of a computation', () => {
  it.each([
    ['process.exit', 'exit', 3],
    ['process.exit while a value is read', 'exitWhileReading', 3],
    ['the end of the script, with nobody waiting for what it enqueued', 'end', 0],
  ])('by %s ends with its own code', async (_, way, code) => {
    expect(await leave(way)).toEqual({ code, signal: null, stdout: '', stderr: '' });
  });

  it.each([['an exception that nobody catches', 'throw', 'thrown on purpose'], ['a promise rejected', 'reject', 'rejected on purpose']])('by %s ends with 1 and says so', async (_, way, message) => {
    expect(await leave(way)).toMatchObject({ code: 1, signal: null, stdout: '', stderr: expect.stringContaining(message) });
  });

  it('stays for a value that was asked for', async () => {
    expect(await leave('read')).toEqual({ code: 0, signal: null, stdout: 'read 768\n', stderr: '' });
  });
});

describe('the threads of a process', () => {
  it('have one engine among them: a second is told, and the first goes on', async () => {
    expect(await leave('secondThread')).toEqual({ code: 0, signal: null, stdout: `${OTHER_THREAD}\nread 768\n`, stderr: '' });
  });

  it('may have it one after the other', async () => {
    expect(await leave('terminateOwner')).toEqual({ code: 0, signal: null, stdout: `${OTHER_THREAD}\nstarted\n`, stderr: '' });
  });
});
