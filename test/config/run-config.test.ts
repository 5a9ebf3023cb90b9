import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { entriesOf, resolveConfigs } from '../../core/config/index.ts';
import type { RunConfig } from '../../core/config/index.ts';
import { checkOptions } from '../../core/config/options.ts';
import { GraftError } from '../../core/kernel/errors.ts';
import { folder, schemas, single } from './fixture.ts';

const text = `name: full
engine: { use: portable, threads: 2 }
seed: 7
plugins: [mine]
runs_dir: out
load: { use: llama, model: org/name, token: "\${T}" }
preprocess:
  - { use: instruct, data: train.jsonl, template: "a $\${b}" }
inject: [{ use: lora, r: 4 }, adapter]
train: { use: sft, learning_rate: 2e-4 }
serve: [openai]
`;

describe('a resolved config', () => {
  it('has everything that a run needs, defaults filled in', async () => {
    const config = await single(text, { env: { T: 't' } });
    const dir = resolve(config.file, '..');
    expect(config).toMatchObject({ name: 'full', engine: { use: 'portable', threads: 2 }, seed: 7, plugins: [`${dir}/mine`], runsDir: `${dir}/out`, baseDir: dir });
    expect(config.load).toEqual({ use: 'llama', options: { model: 'org/name', token: 't' }, path: ['load'] });
    expect(config.preprocess).toEqual([{ use: 'instruct', options: { data: `${dir}/train.jsonl`, template: 'a ${b}', separator: '' }, path: ['preprocess', 0] }]);
    expect(config.inject[1]).toEqual({ use: 'adapter', options: { activation: 'relu' }, path: ['inject', 1] });
    expect(config.train?.options).toEqual({ learning_rate: 2e-4, epochs: 1, schedule: { kind: 'linear', warmup_ratio: 0 } });
    expect(entriesOf(config).map(({ stage, entry }) => `${stage}:${entry.use}`)).toEqual(['load:llama', 'preprocess:instruct', 'inject:lora', 'inject:adapter', 'train:sft', 'serve:openai']);
  });

  it('has defaults of its own', async () => {
    const config = await single('load: llama\n');
    expect(config).toMatchObject({ name: 'run', engine: { use: 'auto', threads: 'auto' }, seed: 42, plugins: [], runsDir: resolve('runs'), preprocess: [], inject: [], train: undefined, serve: [] });
  });

  it('is named after its file when it has no name, fit for a folder', async () => {
    const dir = folder({ '_my run (2).yaml': 'load: llama\n' });
    expect((await resolveConfigs(join(dir, '_my run (2).yaml'), { schemas }))[0]?.name).toBe('run_my_run__2_');
  });

  it('resolves to itself again from the plain data in a run directory, wherever that is', async () => {
    const first = await single(text, { env: { T: 't' } });
    const elsewhere = folder({});
    writeFileSync(join(elsewhere, 'config.yaml'), stringify(first.resolved));
    const [second] = await resolveConfigs(join(elsewhere, 'config.yaml'), { schemas, env: { T: 't' } });
    const data = ({ file: _file, baseDir: _baseDir, source: _source, ...rest }: RunConfig): unknown => JSON.parse(JSON.stringify(rest));
    expect(second && data(second)).toEqual(data(first));
  });

  it('locates what was written, and for a default what it would have been written in', async () => {
    const config = await single(text, { env: { T: 't' } });
    const at = (...path: (string | number)[]): string => `${config.locate(path).line}:${config.locate(path).column}`;
    expect([at('seed'), at('inject', 0, 'r'), at('inject', 0, 'lora_alpha'), at('inject', 1), at('train', 'schedule', 'kind')]).toEqual(['3:7', '9:26', '9:10', '9:31', '10:8']);
  });
});

describe('an error of a plugin', () => {
  it('gets the place of the option that it is about', async () => {
    const config = await single('load: llama\ninject:\n  - { use: lora, target_modules: [q_proj, qproj] }\n');
    const entry = config.inject[0];
    if (entry === undefined) throw new Error('no entry');
    const error = new GraftError('TARGET_MODULES_NO_MATCH', '`qproj` matches no module.', { option: ['target_modules', 1], hint: 'Modules are q_proj and v_proj.' });
    const placed = config.fail(error, entry);
    expect(placed.code).toBe('TARGET_MODULES_NO_MATCH');
    expect(placed.cause).toBe(error);
    expect(placed.message).toBe(
      `${config.file}:3:43: \`qproj\` matches no module. Modules are q_proj and v_proj.\n  2 | inject:\n> 3 |   - { use: lora, target_modules: [q_proj, qproj] }\n    |                                           ^^^^^`,
    );
    expect(config.fail(new GraftError('X', 'Wrong.', { option: ['target_modules'] }), entry).diagnostics[0]).toMatchObject({ line: 3, column: 34 });
  });

  it('points at the plugin\'s name when the option has its default or none is named', async () => {
    const config = await single('load: llama\ninject: [lora, { use: adapter }]\n');
    const column = (index: number, option?: readonly string[]): number | undefined => {
      const entry = config.inject[index];
      return entry && config.fail(new GraftError('X', 'Wrong.', { option }), entry).diagnostics[0]?.column;
    };
    expect([column(0), column(0, ['r']), column(1), column(1, ['activation'])]).toEqual([10, 10, 23, 23]);
  });
});

describe('checkOptions', () => {
  it('fills in defaults and leaves what it was given alone', () => {
    const given = { r: 2 };
    const schema = schemas.schema('inject', 'lora');
    expect(schema && checkOptions(schema, given, 'the inject plugin `lora`')).toMatchObject({ r: 2, lora_alpha: 8 });
    expect(given).toEqual({ r: 2 });
  });
  it('tells every mistake in one message, with the first one\'s option', () => {
    const schema = schemas.schema('inject', 'lora');
    const check = (): unknown => schema && checkOptions(schema, { r: 0, lora_alfa: 1 }, 'the inject plugin `lora`', ['adapters', 0]);
    expect(check).toThrow('`lora_alfa` is not an option of the inject plugin `lora`. Did you mean `lora_alpha`? `r` must be at least 1, not 0.');
    expect(check).toThrow(expect.objectContaining({ code: 'UNKNOWN_KEY', option: ['adapters', 0, 'lora_alfa'] }));
  });
});
