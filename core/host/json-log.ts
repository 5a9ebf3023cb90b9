import { pino, type DestinationStream, type Logger as Pino } from 'pino';
import type { Logger } from '../contracts/index.ts';
import { SECRET_FIELDS, withoutSecrets } from './trust/secret.ts';

/** One JSON object a line, for whoever collects logs, without secrets wherever in it they stand. Its level is `GRAFT_LOG`, `info` by default. */
export function jsonLogger(output: DestinationStream = standardOutput()): Logger {
  const level = process.env['GRAFT_LOG'];
  const clean: DestinationStream = { write: (line) => output.write(withoutSecrets(line)) };
  return adapted(pino({ name: 'graft', level: level !== undefined && level in pino.levels.values ? level : 'info', timestamp: pino.stdTimeFunctions.isoTime, base: { pid: process.pid }, redact: SECRET_FIELDS.flatMap((field) => [field, `*.${field}`, `*.*.${field}`]) }, clean));
}

function standardOutput(): DestinationStream {
  const output = pino.destination({ dest: 1, sync: true });
  // On a full disk lines are lost, and nothing else is.
  output.on('error', () => undefined);
  return output;
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
