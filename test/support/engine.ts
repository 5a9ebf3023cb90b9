import type { Engine } from '../../core/index.ts';
import { startNative } from '../../plugins/engine-native/engine.ts';
import { startPortable } from '../../plugins/engine-portable/engine.ts';

/** The engine that every machine has, or the one that GRAFT_TEST_ENGINE=native asks for; one a process, so that tests share it. */
export function testEngine(): Promise<Engine> {
  const asked = process.env['GRAFT_TEST_ENGINE'] ?? 'portable';
  if (asked !== 'native' && asked !== 'portable') throw new Error(`GRAFT_TEST_ENGINE is ${asked}; there are portable and native`);
  return asked === 'native' ? startNative() : startPortable();
}
