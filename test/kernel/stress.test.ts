import { join } from 'node:path';
import { tf } from 'graft';
import * as tfjs from '@tensorflow/tfjs';
import * as typebox from 'typebox';
import * as graft from 'graft';
import { describe, expect, it } from 'vitest';
import { manifest, open, tempDir, write } from './support.ts';

const SWAPS = 1000;
const WARM_UP = 100;
const CALLERS = 8;
const LIMIT_BYTES = 50 * 1024;

/** A strategy with all that a plugin may hold: decorated classes, a tensor, a timer, a listener of its generation's signal. */
const strategy = (version: number): string => `
import { definePlugin, Type, tf } from 'graft';
import { injectable, singleton } from 'tsyringe';

@singleton()
class Version {
  readonly value = ${version};
}

@injectable()
class Scale {
  readonly weight = tf.tidy(() => tf.variable(tf.fill([16], ${version}), true));
  constructor(readonly version: Version) {}
}

export default definePlugin({
  stage: 'inject',
  config: Type.Object({ r: Type.Integer({ default: 8 }) }),
  setup: ({ scope, container }) => {
    let disposed = false;
    const scale = container.resolve(Scale);
    scope.own('weight', () => scale.weight.dispose());
    const timer = setInterval(() => {}, 60_000);
    scope.own('timer', () => clearInterval(timer));
    scope.own('flag', () => void (disposed = true));
    return {
      inject: async () => {
        const first = tf.tidy(() => scale.weight.add(0).dataSync()[0]);
        await new Promise((resolve) => setTimeout(resolve, Math.random() * 4));
        if (disposed) throw new Error('answered by a disposed generation');
        const last = tf.tidy(() => scale.weight.add(0).dataSync()[0]);
        if (first !== last || first !== scale.version.value) throw new Error('answered by two generations');
        return { name: String(first), trainables: [], save: async () => [], load: async () => {}, remove: () => {} };
      },
    };
  },
});
`;

/** Bytes in use on the heap and beside it, once all that can be collected is. */
async function retained(): Promise<number> {
  for (let i = 0; i < 4; i++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    globalThis.gc!();
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

describe('a strategy plugin', () => {
  it(`is swapped ${SWAPS} times under concurrent calls: none fails, none is answered by a disposed generation, memory and tensors stay flat`, { timeout: 300_000 }, async () => {
    await tf.setBackend('cpu');
    const dir = tempDir();
    const file = join(dir, 'a');
    write(file, { 'package.json': manifest('a'), 'index.ts': strategy(1) });
    const { kernel, slot, events } = await open(dir, { hostModules: { graft, typebox, '@tensorflow/tfjs': tfjs } });
    let running = true;
    let calls = 0;
    const versions = new Set<string>();
    const callers = Array.from({ length: CALLERS }, async () => {
      while (running) {
        const lease = kernel.lease('inject', 'a');
        try {
          const { name } = await lease.value.inject({} as never);
          if (name !== String(lease.generation.number)) throw new Error(`asked generation ${lease.generation.number}, and ${name} answered`);
          versions.add(name);
          calls++;
        } finally {
          lease.release();
        }
      }
    });
    let before = 0;
    for (let version = 2; version <= SWAPS + 1; version++) {
      write(file, { 'index.ts': strategy(version) });
      await kernel.refresh();
      if (version !== WARM_UP) continue;
      events.splice(0);
      before = await retained();
    }
    running = false;
    await Promise.all(callers);
    expect(slot('inject:a')).toMatchObject({ swaps: SWAPS, failures: 0, current: { number: SWAPS + 1, leases: 0 } });
    expect(versions.size).toBeGreaterThan(SWAPS / 2);
    expect(calls).toBeGreaterThan(SWAPS);
    expect(events.filter((event) => event.type === 'disposed' && event.failures.length > 0)).toEqual([]);
    events.splice(0);
    versions.clear();
    const perSwap = ((await retained()) - before) / (SWAPS + 1 - WARM_UP);
    process.stdout.write(`${calls} calls over ${SWAPS} swaps; retained ${Math.round(perSwap)} bytes a swap\n`);
    expect(perSwap).toBeLessThan(LIMIT_BYTES);
    expect(slot('inject:a').draining).toEqual([]);
    expect(tf.memory().numTensors).toBe(1);
    await kernel.dispose();
    expect(tf.memory().numTensors).toBe(0);
  });
});
