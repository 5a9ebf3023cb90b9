import type { RunEvent } from '../contracts/index.ts';

/** Tells a person what goes on while a command prepares its answer. */
export interface Teller {
  emit(event: RunEvent): void;
  /** Takes a progress bar away. */
  end(): void;
}

/** Progress and warnings go to standard error: standard output is the answer alone. */
export async function teller(): Promise<Teller> {
  if (!process.stderr.isTTY) {
    const { PlainReporter } = await import('../run/reporters/plain.ts');
    const reporter = new PlainReporter((text) => void process.stderr.write(text));
    return { emit: (event) => reporter.receive(event), end: () => undefined };
  }
  const { TerminalReporter } = await import('../run/reporters/terminal.ts');
  const reporter = new TerminalReporter(process.stderr);
  return { emit: (event) => reporter.receive(event), end: () => void process.stderr.write('\r\u001b[2K') };
}
