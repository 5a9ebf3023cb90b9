import { EXIT } from './exit.ts';

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

/**
 * Turns Ctrl-C into an AbortSignal; the second one ends the process at once.
 * @param onFirst tells the person what happens now
 */
export function interruption(onFirst: () => void): { readonly signal: AbortSignal; dispose(): void } {
  const controller = new AbortController();
  const receive = (): void => {
    if (controller.signal.aborted) process.exit(EXIT.interrupted);
    controller.abort();
    onFirst();
  };
  SIGNALS.forEach((signal) => process.on(signal, receive));
  return { signal: controller.signal, dispose: () => SIGNALS.forEach((signal) => process.off(signal, receive)) };
}
