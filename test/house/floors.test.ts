import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { contractViolations, cycles, packageViolations, pluginViolations, roomViolations } from './floors.ts';
import { readHouse } from './house.ts';
import type { House } from './house.ts';
import { markViolations, pluginShapeViolations, sizeViolations, topViolations } from './shape.ts';

const house = readHouse(fileURLToPath(new URL('../..', import.meta.url)));

describe('the house', () => {
  it('is read: every room has files', () => {
    const rooms = new Set(house.files.filter((file) => file.path.startsWith('core/')).map((file) => file.path.split('/')[1]));
    expect([...rooms]).toEqual(expect.arrayContaining(['cli', 'config', 'contracts', 'kernel', 'run', 'tensor']));
  });
  it('has imports between rooms that only point down', () => expect(roomViolations(house)).toEqual([]));
  it('has contracts that hold no code', () => expect(contractViolations(house)).toEqual([]));
  it('has plugins that stand on graft, their own files and packages', () => expect(pluginViolations(house)).toEqual([]));
  it('declares every package that it runs on', () => expect(packageViolations(house)).toEqual([]));
  it('has no files that need each other in a circle', () => expect(cycles(house)).toEqual([]));
  it('keeps files readable and the kernel small', () => expect(sizeViolations(house)).toEqual([]));
  it('gives every plugin the same rooms', () => expect(pluginShapeViolations(house)).toEqual([]));
  it('has no notes to self in place of issues', () => expect(markViolations(house)).toEqual([]));
  it('has at the top what the plan says', () => expect(topViolations(house)).toEqual([]));
});

describe('the guards', () => {
  const made: string[] = [];
  afterEach(() => made.splice(0).forEach((dir) => rmSync(dir, { recursive: true })));

  /** A small house with these files. */
  function build(files: Readonly<Record<string, string>>): House {
    const root = mkdtempSync(join(tmpdir(), 'house-'));
    made.push(root);
    for (const [path, text] of Object.entries({ 'package.json': '{"dependencies":{"yaml":"1","semver":"1"},"devDependencies":{"vitest":"1"}}', ...files })) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), text);
    }
    return readHouse(root);
  }

  it('name an import that points up, in whatever form it is written', () => {
    const found = roomViolations(
      build({
        'core/kernel/slot.ts': "import type { A } from '../contracts/a.ts';\nexport { run } from '../run/run.ts';\n",
        'core/config/parse.ts': "type T = import('../tensor/tape.ts').Tape;\n",
        'core/tensor/tape.ts': "const later = () => import('../config/parse.ts');\n",
        'core/run/run.ts': "import { x } from '../cli/main.ts';\nimport { y } from '../config/parse.ts';\n",
        'core/contracts/a.ts': "import type { K } from '../kernel/slot.ts';\n",
      }),
    );
    expect(found).toEqual([
      "core/config/parse.ts:1 imports '../tensor/tape.ts'; core/config may import kernel, contracts",
      "core/contracts/a.ts:1 imports '../kernel/slot.ts'; core/contracts may import no other room",
      "core/kernel/slot.ts:2 imports '../run/run.ts'; core/kernel may import contracts",
      "core/run/run.ts:1 imports '../cli/main.ts'; core/run may import config, tensor, data, kernel, contracts",
      "core/tensor/tape.ts:1 imports '../config/parse.ts'; core/tensor may import kernel, contracts",
    ]);
  });

  it('keep tensors, YAML and HTTP out of the kernel', () => {
    const found = roomViolations(build({ 'core/kernel/a.ts': "import { parse } from 'yaml';\nimport semver from 'semver';\nimport 'node:http';\nimport type { Tensor } from '@tensorflow/tfjs-core';\n" }));
    expect(found).toEqual([
      "core/kernel/a.ts:1 imports 'yaml'; the kernel knows no tensors, YAML or HTTP",
      "core/kernel/a.ts:3 imports 'node:http'; the kernel knows no tensors, YAML or HTTP",
      "core/kernel/a.ts:4 imports '@tensorflow/tfjs-core'; the kernel knows no tensors, YAML or HTTP",
    ]);
  });

  it('name a room that the plan does not have', () => {
    expect(roomViolations(build({ 'core/utils/a.ts': '' }))).toEqual(['core/utils/a.ts: core/utils is not a room of the house (contracts, kernel, config, tensor, data, training, run, serving, host, cli)']);
  });

  it('find code among the contracts', () => {
    const text = "import type { A } from './b.ts';\nexport type * from './b.ts';\nexport interface B { a: A }\nexport const c = 1;\n";
    expect(contractViolations(build({ 'core/contracts/a.ts': text }))).toEqual(['core/contracts/a.ts:4 is code; core/contracts holds types only']);
  });

  it('name what a plugin may not import', () => {
    const found = pluginViolations(
      build({
        'plugins/inject-a/index.ts': "import 'graft';\nimport './a.ts';\nimport 'node:fs';\nimport 'yaml';\nimport 'own';\nimport 'left-pad';\nimport '../inject-b/b.ts';\nimport '../../core/tensor/rng.ts';\nimport 'vitest';\n",
        'plugins/inject-a/a.test.ts': "import 'vitest';\nimport '../../test/support/engine.ts';\nimport '../inject-b/b.ts';\n",
        'plugins/inject-a/package.json': '{"dependencies":{"own":"1"}}',
      }),
    );
    expect(found).toEqual([
      "plugins/inject-a/a.test.ts:3 imports '../inject-b/b.ts'; a plugin imports 'graft', its own files and packages",
      "plugins/inject-a/index.ts:6 imports 'left-pad', which no package.json declares",
      "plugins/inject-a/index.ts:7 imports '../inject-b/b.ts'; a plugin imports 'graft', its own files and packages",
      "plugins/inject-a/index.ts:8 imports '../../core/tensor/rng.ts'; a plugin imports 'graft', its own files and packages",
      "plugins/inject-a/index.ts:9 imports 'vitest', which no package.json declares",
    ]);
  });

  it('name a package that core runs on without declaring it', () => {
    expect(packageViolations(build({ 'core/run/a.ts': "import 'yaml/util';\nimport 'vitest';\n" }))).toEqual(["core/run/a.ts:2 imports 'vitest', which is not among the dependencies of package.json"]);
  });

  it('name a circle of files, and let types make one', () => {
    const found = cycles(build({ 'core/run/a.ts': "import './b.ts';\n", 'core/run/b.ts': "import './c.ts';\n", 'core/run/c.ts': "import './a.ts';\nimport type { D } from './d.ts';\n", 'core/run/d.ts': "import './c.ts';\n" }));
    expect(found).toEqual(['core/run/a.ts -> core/run/b.ts -> core/run/c.ts -> core/run/a.ts']);
  });

  it('count lines, more strictly in the kernel', () => {
    const lines = (count: number): string => 'x;\n'.repeat(count);
    const files = Object.fromEntries([250, 250, 250, 250, 201, 251].map((count, index) => [`core/kernel/${index}.ts`, lines(count)]));
    expect(sizeViolations(build({ ...files, 'core/run/a.ts': lines(400), 'core/run/b.ts': lines(401) }))).toEqual([
      'core/kernel/5.ts has 251 lines; at most 250',
      'core/run/b.ts has 401 lines; at most 400',
      'core/kernel has 1452 lines; at most 1200',
    ]);
  });

  it('name what a plugin folder lacks', () => {
    const found = pluginShapeViolations(build({ 'plugins/inject-a/index.ts': '', 'plugins/inject-a/package.json': '{"graft":{"name":"a"}}', 'plugins/inject-b/package.json': '{}' }));
    expect(found).toEqual([
      'plugins/inject-a has no README.md',
      'plugins/inject-a has no test',
      'plugins/inject-a/package.json: "graft" has no "api"',
      'plugins/inject-a/package.json: "graft" must have one of "stage" and "provides"',
      'plugins/inject-b has no index.ts',
      'plugins/inject-b has no README.md',
      'plugins/inject-b has no test',
      'plugins/inject-b/package.json has no "graft" key',
    ]);
  });

  it('name notes to self and strangers at the top', () => {
    const odd = build({ 'core/run/a.ts': `const a = 1;\n// ${'TO' + 'DO'} later\n`, 'utils/x': '', LICENSE: '', 'README.md': '', 'package-lock.json': '', 'tsconfig.json': '', 'plugins/x/y': '', 'test/x': '', 'configs/x': '' });
    expect(markViolations(odd)).toEqual([`core/run/a.ts:2 says ${'TO' + 'DO'}; open an issue and say its number in words`]);
    expect(topViolations(odd)).toEqual(['utils does not belong at the top; there is LICENSE, README.md, configs, core, package-lock.json, package.json, plugins, test, tsconfig.json']);
  });
});
