import { pino, type Logger as Pino } from 'pino';
import type { Logger } from '../contracts/index.ts';
import { SECRET_FIELDS, withoutKeys } from './trust/secret.ts';

/** One JSON object a line on standard output, for whoever collects logs. Its level is `GRAFT_LOG`, `info` by default. */
export function jsonLogger(): Logger {
  const level = process.env['GRAFT_LOG'];
  const output = pino.destination({ dest: 1, sync: true });
  // On a full disk lines are lost, and nothing else is.
  output.on('error', () => undefined);
  return adapted(pino({ name: 'graft', level: level !== undefined && level in pino.levels.values ? level : 'info', timestamp: pino.stdTimeFunctions.isoTime, base: { pid: process.pid }, redact: SECRET_FIELDS.flatMap((field) => [field, `*.${field}`]) }, output));
}

function adapted(log: Pino): Logger {
  return {
    debug: (message, fields) => log.debug(fields ?? {}, withoutKeys(message)),
    info: (message, fields) => log.info(fields ?? {}, withoutKeys(message)),
    warn: (message, fields) => log.warn(fields ?? {}, withoutKeys(message)),
    error: (message, fields) => log.error(fields ?? {}, withoutKeys(message)),
    child: (fields) => adapted(log.child(fields)),
  };
}
