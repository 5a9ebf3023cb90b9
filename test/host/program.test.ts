/** Core as one bundle: loaded in a process of its own, as the command line is. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';

const PROGRAM = new URL('../../core/host/program.mjs', import.meta.url).href;
const home = realpathSync(mkdtempSync(join(tmpdir(), 'graft-program-')));
symlinkSync(fileURLToPath(new URL('../../node_modules', import.meta.url)), join(home, 'node_modules'));
afterAll(() => rmSync(home, { recursive: true }));

let dir: string;
let tests = 0;
beforeEach(() => {
  dir = join(home, String(tests++));
  mkdirSync(join(dir, 'deep'), { recursive: true });
  writeFileSync(join(dir, 'main.ts'), "import { dep } from './deep/dep.ts';\nexport async function main(): Promise<string> {\n  const { late } = await import('./late.ts');\n  return [dep(), late].join(' ');\n}\n");
  writeFileSync(join(dir, 'deep/dep.ts'), "import { basename } from 'node:path';\ninterface Long {\n  a: string;\n}\nexport const dep = (): string => {\n  if (process.env['FAIL']) throw new Error('boom') as Error & Long;\n  return basename(import.meta.url) + basename(import.meta.dirname);\n};\n");
  writeFileSync(join(dir, 'late.ts'), "export const late: string = 'string';\n");
});

/** What the program's main function answers, or with which stack it fails. */
function run(env: NodeJS.ProcessEnv = {}): string {
  const script = `
    const { loadProgram } = await import(${JSON.stringify(PROGRAM)});
    const { main } = await loadProgram(new URL(${JSON.stringify(pathToFileURL(join(dir, 'main.ts')).href)}));
    await main().then(console.log, (error) => console.log(error.stack));`;
  return execFileSync(process.execPath, ['--input-type=module', '--eval', script], { encoding: 'utf8', env: { ...process.env, GRAFT_CACHE: join(dir, 'cache'), ...env } }).trim();
}

const bundles = (): readonly string[] => readdirSync(join(dir, 'cache/program')).map((name) => join(dir, 'cache/program', name));

describe('the program', () => {
  it('runs from TypeScript sources, each of which knows its own place, and is bundled once', () => {
    writeFileSync(join(dir, 'late.ts'), "import { Type } from 'typebox';\nexport const late: string = Type.String().type;\n");
    expect(run()).toBe('dep.tsdeep string');
    const made = bundles();
    // The package that is gathered in one lies beside the program, which every other program shares.
    expect(made).toHaveLength(2);
    const inodes = made.map((bundle) => statSync(bundle).ino);
    expect(run()).toBe('dep.tsdeep string');
    expect([bundles(), made.map((bundle) => statSync(bundle).ino)]).toEqual([made, inodes]);
  });

  it('is bundled anew after an edit, and where the bundle is damaged', () => {
    expect(run()).toBe('dep.tsdeep string');
    const late = readFileSync(join(dir, 'late.ts'), 'utf8');
    writeFileSync(join(dir, 'late.ts'), late.replace("'string'", "'number'"));
    expect(run()).toBe('dep.tsdeep number');
    const [bundle] = bundles();
    writeFileSync(bundle!, readFileSync(bundle!, 'utf8').replace("join(' ')", "join('!')").replace('join(" ")', 'join("!")'));
    expect(run()).toBe('dep.tsdeep number');
  });

  it('has stacks of its sources, from a new bundle and from one that was kept', () => {
    for (const stack of [run({ FAIL: '1' }), run({ FAIL: '1' })]) {
      expect(stack).toMatch(/^Error: boom\n/);
      expect(stack).toContain(`${join(dir, 'deep/dep.ts')}:6:`);
      expect(stack).toContain(`${join(dir, 'main.ts')}:4:`);
    }
  });

  it('runs where nothing can be kept', () => {
    writeFileSync(join(dir, 'cache'), 'a file where the folder would be');
    expect(run()).toBe('dep.tsdeep string');
  });
});
