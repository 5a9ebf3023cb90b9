/** What a job tells, in front of a person. */
import type { DaemonClient } from '../host/client.ts';
import { reasonOf } from '../kernel/errors.ts';
import { EXIT } from './exit.ts';
import { interruption } from './interruption.ts';

/** Prints the events of a job so far. @param json as JSON lines */
export async function show(client: DaemonClient, id: string, options: { readonly json?: boolean; readonly follow?: boolean; readonly signal?: AbortSignal } = {}): Promise<void> {
  const { PlainReporter } = await import('../run/reporters/plain.ts');
  const reporter = new PlainReporter((text) => void process.stdout.write(text));
  for await (const stored of client.events(id, { follow: options.follow ?? false, signal: options.signal })) {
    if (options.json === true) process.stdout.write(`${JSON.stringify(stored)}\n`);
    else reporter.receive(stored.event);
  }
}

/** Prints what a job tells until it has ended, and sets the exit code by how it did. Ctrl-C ends the looking, not the job. */
export async function follow(client: DaemonClient, id: string, options: { readonly json?: boolean } = {}): Promise<void> {
  const interrupted = interruption(() => process.stderr.write(`\nThe job goes on: graft logs -f ${id}\n`));
  try {
    await show(client, id, { ...options, follow: true, signal: interrupted.signal });
    const { job } = await client.get(id);
    if (options.json !== true) process.stdout.write(`${job.state}${job.reason === undefined ? '' : `. ${job.reason}`}${job.waitsFor === undefined ? '' : `. ${job.waitsFor}`}\n`);
    // Where the daemon ends, the job has not.
    process.exitCode = job.state === 'succeeded' ? EXIT.ok : job.state === 'failed' ? EXIT.failed : EXIT.interrupted;
  } catch (error) {
    if (!interrupted.signal.aborted) throw error instanceof Error ? error : new Error(reasonOf(error));
    process.exitCode = EXIT.interrupted;
  } finally {
    interrupted.dispose();
  }
}
