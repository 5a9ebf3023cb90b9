import type { Engine } from '../../core/index.ts';
import { startPortable } from '../../plugins/engine-portable/engine.ts';

/** The engine that every machine has; one a process, so that tests share it. */
export function testEngine(): Promise<Engine> {
  return startPortable();
}
