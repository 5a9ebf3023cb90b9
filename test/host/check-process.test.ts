import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Checks } from '../../core/host/check-process.ts';
import { writeTinyRun } from '../support/tiny-run.ts';

describe('a config whose plugins are looked at in a process of its own', () => {
  let dir: string;
  let config: string;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'graft-check-'));
    mkdirSync(join(dir, 'plugins/preprocess-own'), { recursive: true });
    writeFileSync(join(dir, 'plugins/preprocess-own/package.json'), JSON.stringify({ name: 'own', version: '0.1.0', type: 'module', main: './index.ts', graft: { api: '^1.0.0', stage: 'preprocess', name: 'own' } }));
    config = writeTinyRun(dir, { extra: { plugins: ['./plugins'], preprocess: [{ use: 'own', size: 3 }] } });
  });
  afterAll(() => rmSync(dir, { recursive: true }));

  const plugin = (first: string): void =>
    writeFileSync(join(dir, 'plugins/preprocess-own/index.ts'), `import { definePlugin, Type } from 'graft';\n${first}\nexport default definePlugin({ stage: 'preprocess', config: Type.Object({ size: Type.Integer({ maximum: 9 }) }, { additionalProperties: false }), setup: () => ({ preprocess: async ({ input }) => input }) });\n`);
  const resolve = (seconds: number, set: readonly string[] = [], memoryMb?: number): Promise<unknown> => new Checks([], seconds * 1000).within((check) => check.resolve({ config, set }), memoryMb);

  it('is told as it resolves, or with its mistakes at their places', async () => {
    plugin('');
    await new Checks([], 60_000).within(async (check) => {
      expect(await check.resolve({ config })).toMatchObject([{ name: 'tiny', trains: true, queuesOnChange: false, resolved: { preprocess: [{ use: 'own', size: 3 }], plugins: [join(dir, 'plugins')] } }]);
      await expect(check.resolve({ config, set: ['preprocess.0.size=10'] })).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringMatching(/^--set:1:\d+: .*size/) as string });
    });
  });

  it('is given up where a plugin never comes to an end', async () => {
    plugin('for (;;);');
    await expect(resolve(2)).rejects.toMatchObject({ code: 'CHECK_TIMEOUT', message: `Reading ${config} with its plugins did not end within 2 s.` });
  });

  it('is given up where a plugin ends the process, with what it said last', async () => {
    plugin("console.error('over and out'); process.exit(3);");
    await expect(resolve(60)).rejects.toMatchObject({ code: 'CHECK_CRASHED', message: "The config's plugins ended the process that they were tried out in: it ended with code 3. It wrote last: over and out" });
  });

  it.runIf(process.platform === 'linux')('is given up where it takes more memory than there is', async () => {
    plugin('');
    await expect(resolve(60, [], 1)).rejects.toMatchObject({ code: 'CHECK_MEMORY' });
  });

  it('is given up with the host', async () => {
    plugin('for (;;);');
    const checks = new Checks([], 60_000);
    const refused = expect(checks.within((check) => check.resolve({ config }))).rejects.toMatchObject({ code: 'CHECK_CRASHED' });
    await checks.dispose();
    await refused;
  });
});
