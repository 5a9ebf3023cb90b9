import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { bounded } from '../../core/host/bounded.ts';
import { openHost } from '../../core/host/open-host.ts';
import { quietLog } from '../support/strategies.ts';

describe('code that is bounded', () => {
  it('gives what it gives, and throws what it throws', async () => {
    expect(bounded(1000, () => bounded(1000, () => 7))).toBe(7);
    expect(() => bounded(1000, () => bounded(1000, () => { throw new RangeError('mine'); }))).toThrow(new RangeError('mine'));
    await expect(bounded(1000, async () => Promise.resolve(8))).resolves.toBe(8);
  });

  it('is broken off where it never ends, and what comes after works', () => {
    expect(() => bounded(100, () => { for (;;); })).toThrow(expect.objectContaining({ code: 'NEVER_ENDS', message: 'it did not come to an end within 0.1 s' }) as Error);
    expect(bounded(1000, () => 7)).toBe(7);
  });
});

it.each([
  ['at once', '() => { for (;;); }', 'failed in its setup: it did not come to an end within 3 s'],
  ['after an await', 'async () => { await 1; for (;;); }', 'its setup did not finish within 3000 ms'],
])('a plugin that loops without an end in its setup, %s, is refused, and the host goes on', async (_, setup, reason) => {
  const dir = mkdtempSync(join(tmpdir(), 'graft-loops-'));
  mkdirSync(join(dir, 'inject-loops'));
  writeFileSync(join(dir, 'inject-loops/package.json'), JSON.stringify({ name: 'loops', version: '0.1.0', type: 'module', main: './index.ts', graft: { api: '^1.0.0', stage: 'inject', name: 'loops' } }));
  writeFileSync(join(dir, 'inject-loops/index.ts'), `import { definePlugin, Type } from 'graft';\nexport default definePlugin({ stage: 'inject', config: Type.Object({}), setup: ${setup} });\n`);
  const host = await openHost({ pluginDirs: [dir], log: quietLog, setupMs: 3000, heldMs: 3000 });
  try {
    const slot = host.kernel.explain().slots.find(({ id }) => id === 'inject:loops');
    expect(slot).toMatchObject({ state: 'failed', reason: expect.stringContaining(reason) as string });
    expect(host.kernel.explain().slots.find(({ id }) => id === 'inject:lora')).toMatchObject({ state: 'active' });
  } finally {
    await host.dispose();
    rmSync(dir, { recursive: true });
  }
}, 60_000);
