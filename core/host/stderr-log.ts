import pc from 'picocolors';
import type { Logger } from '../contracts/index.ts';
import { withoutSecrets } from './trust/secret.ts';

const LEVELS = ['debug', 'info', 'warn', 'error'] as const;
type Level = (typeof LEVELS)[number];
const PAINT: Record<Level, (text: string) => string> = { debug: pc.dim, info: (text) => text, warn: pc.yellow, error: pc.red };

/**
 * Logs to standard error, one line a message, so that standard output stays the command's own.
 * @param threshold lowest level shown; `GRAFT_LOG` overrides it
 */
export function stderrLogger(threshold: Level = 'warn', fields: Readonly<Record<string, unknown>> = {}): Logger {
  // A line that can't be written is lost, and nothing else is.
  if (process.stderr.listenerCount('error') === 0) process.stderr.on('error', () => undefined);
  const named = process.env['GRAFT_LOG'];
  const lowest = LEVELS.indexOf(LEVELS.find((level) => level === named) ?? threshold);
  const write = (level: Level, message: string, own: Readonly<Record<string, unknown>> = {}): void => {
    if (LEVELS.indexOf(level) < lowest) return;
    const details = Object.entries({ ...fields, ...own }).map(([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`);
    process.stderr.write(withoutSecrets(`${PAINT[level](level.padEnd(5))} ${message}${details.length > 0 ? pc.dim(` ${details.join(' ')}`) : ''}\n`));
  };
  return {
    debug: (message, own) => write('debug', message, own),
    info: (message, own) => write('info', message, own),
    warn: (message, own) => write('warn', message, own),
    error: (message, own) => write('error', message, own),
    child: (own) => stderrLogger(threshold, { ...fields, ...own }),
  };
}
