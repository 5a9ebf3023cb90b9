import { pino, type Logger as Pino } from 'pino';
import type { Logger } from '../contracts/index.ts';

/** One JSON object a line on standard output, for whoever collects logs. Its level is `GRAFT_LOG`, `info` by default. */
export function jsonLogger(): Logger {
  const level = process.env['GRAFT_LOG'];
  const output = pino.destination({ dest: 1, sync: true });
  // On a full disk lines are lost, and nothing else is.
  output.on('error', () => undefined);
  return adapted(pino({ name: 'graft', level: level !== undefined && level in pino.levels.values ? level : 'info', timestamp: pino.stdTimeFunctions.isoTime, base: { pid: process.pid } }, output));
}

function adapted(log: Pino): Logger {
  return {
    debug: (message, fields) => log.debug(fields ?? {}, message),
    info: (message, fields) => log.info(fields ?? {}, message),
    warn: (message, fields) => log.warn(fields ?? {}, message),
    error: (message, fields) => log.error(fields ?? {}, message),
    child: (fields) => adapted(log.child(fields)),
  };
}
