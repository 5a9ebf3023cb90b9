import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { graft } from '../support/command.ts';

const empty = mkdtempSync(join(tmpdir(), 'graft-doctor-'));
afterAll(() => rmSync(empty, { recursive: true }));

it('says what the machine is, what each engine can do or lacks, and which one auto takes', async () => {
  const { code, stdout, stderr } = await graft(['doctor'], { cwd: empty, env: { GRAFT_CACHE: join(empty, 'not', 'there', 'yet') } });
  expect([code, stderr]).toEqual([0, '']);
  expect(stdout).toContain(`Node ${process.versions.node} on ${process.platform}-${process.arch}`);
  expect(stdout).toMatch(/portable wasm simd, 1 thread: \d+\.\d GFLOPS in a 512 x 512 product/);
  expect(stdout).toMatch(/^ {2}tensorflow /m);
  expect(stdout).toMatch(/auto takes \w+ \(\w+: /);
  expect(stdout).toContain(`${join(empty, 'not', 'there', 'yet')}, `);
});

it('tells a native engine that was not built from one that does not load, and what to do about each', async () => {
  const absent = await graft(['doctor'], { cwd: empty, env: { GRAFT_ADDON: join(empty, 'nowhere.node') } });
  expect(absent.code).toBe(0);
  expect(absent.stdout).toContain(
    '  native no-native-library: not built on this machine; other engines on the processor are several times slower\n    Install a C++ compiler, make and Python 3, and run `npm run build:native`.\n',
  );
  expect(absent.stdout).toMatch(/auto takes \w+ \(.*native: no-native-library \(not built on this machine; other engines on the processor are several times slower\)/);
  const broken = join(empty, 'broken.node');
  writeFileSync(broken, 'of another machine');
  const { code, stdout } = await graft(['doctor'], { cwd: empty, env: { GRAFT_ADDON: broken } });
  expect(code).toBe(0);
  expect(stdout).toMatch(/^ {2}native broken: .*broken\.node/m);
  expect(stdout).toMatch(/auto takes (portable|tensorflow) \(/);
});

it('says the same to machines', async () => {
  const { code, stdout } = await graft(['doctor', '--json'], { cwd: empty });
  expect(code).toBe(0);
  const report = JSON.parse(stdout) as { engines: { name: string; probe: { state: string }; gflops?: number }[]; auto: { name: string; reason: string } };
  const portable = report.engines.find(({ name }) => name === 'portable')!;
  expect(portable.probe.state).toBe('available');
  expect(portable.gflops).toBeGreaterThan(0);
  expect(report.engines.map(({ name }) => name)).toContain(report.auto.name);
});
