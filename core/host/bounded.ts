/** Code of others that may never give the thread back. */
import { Script } from 'node:vm';
import { GraftError } from '../kernel/errors.ts';

const ACT = Symbol.for('graft.bounded');
const script = new Script("globalThis[Symbol.for('graft.bounded')]()", { filename: 'bounded' });

/**
 * Runs something that is to come to an end within a time, else breaks it off, even in a loop without an end; what it goes on to do
 * later, after an `await`, is not bounded (`SetupGuard` looks after that).
 * @throws GraftError `NEVER_ENDS`; whatever it throws
 */
export function bounded<T>(ms: number, act: () => T): T {
  const holder = globalThis as unknown as Record<symbol, unknown>;
  const before = holder[ACT];
  let result: T | undefined;
  holder[ACT] = () => void (result = act());
  try {
    script.runInThisContext({ timeout: Math.ceil(ms) });
    return result as T;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error;
    throw new GraftError('NEVER_ENDS', `it did not come to an end within ${ms / 1000} s`, { cause: error });
  } finally {
    holder[ACT] = before;
  }
}
