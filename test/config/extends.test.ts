import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readPluginDirs, resolveConfigs } from '../../core/config/index.ts';
import { folder, headlines, schemas, single, told } from './fixture.ts';

const base = 'load: { use: llama, model: org/name }\nseed: 1\ninject: [lora, adapter]\ntrain: { use: sft, learning_rate: 1e-3, epochs: 3 }\n';

describe('extends', () => {
  it('merges mappings, replaces values and lists', async () => {
    const config = await single('extends: base.yaml\nseed: 2\ninject: [{ use: lora, r: 4 }]\ntrain: { learning_rate: 5e-4 }\n', { files: { 'base.yaml': base } });
    expect(config.seed).toBe(2);
    expect(config.load.options).toEqual({ model: 'org/name' });
    expect(config.inject.map(({ use, options }) => [use, options['r']])).toEqual([['lora', 4]]);
    expect(config.train?.options).toMatchObject({ learning_rate: 5e-4, epochs: 3 });
  });

  it('lets the later of several win, and the file itself over all', async () => {
    const files = { 'a.yaml': 'load: llama\nseed: 1\nname: a\n', 'b.yaml': 'seed: 2\nname: b\nruns_dir: /b\n' };
    const config = await single('extends: [a.yaml, b.yaml]\nname: c\n', { files });
    expect([config.name, config.seed, config.runsDir]).toEqual(['c', 2, '/b']);
  });

  it('replaces an entry whole when it names another plugin', async () => {
    const other = { ...schemas, schema: (stage: never, name: string) => schemas.schema(stage, name === 'gguf' ? 'llama' : name) } as typeof schemas;
    const config = await single('extends: base.yaml\nload: { use: gguf, token: x }\n', { files: { 'base.yaml': base }, schemas: other });
    expect(config.load).toMatchObject({ use: 'gguf', options: { token: 'x' } });
    expect(config.load.options).not.toHaveProperty('model');
  });

  it('keeps the options when the same plugin is named bare', async () => {
    expect((await single('extends: base.yaml\ntrain: sft\n', { files: { 'base.yaml': base } })).train?.options['epochs']).toBe(3);
  });

  it('takes away what is left empty', async () => {
    expect((await single('extends: base.yaml\ntrain:\n', { files: { 'base.yaml': base } })).train).toBeUndefined();
  });

  it('points at the file that a mistake was written in, the run\'s own first', async () => {
    const files = { 'shared/base.yaml': 'load: llama\ntrain: { use: sft, learning_rate: 0, epoch: 1 }\n' };
    expect(await headlines('extends: shared/base.yaml\nsede: 1\ntrain: { epochs: 0 }\n', { files })).toEqual([
      'run.yaml:2:1: `sede` is not a key of a config. Did you mean `seed`?',
      'run.yaml:3:18: `epochs` must be at least 1, not 0.',
      'shared/base.yaml:2:35: `learning_rate` must be more than 0, not 0.',
      'shared/base.yaml:2:38: `epoch` is not an option of the train plugin `sft`. Did you mean `epochs`?',
    ]);
  });

  it('tells the mistakes of all files when one cannot be parsed', async () => {
    expect(await headlines('extends: [a.yaml, b.yaml]\nload: llama\n', { files: { 'a.yaml': 'seed: "\n', 'b.yaml': 'seed: "\n' } })).toEqual([
      'a.yaml:2:1: Missing closing "quote.',
      'b.yaml:2:1: Missing closing "quote.',
    ]);
  });

  it('names the whole circle', async () => {
    expect(await told('extends: a.yaml\n', { files: { 'a.yaml': 'extends: b.yaml\n', 'b.yaml': 'load: llama\nextends: [a.yaml]\n' } })).toContain(
      'b.yaml:2:11: These configs extend each other in a circle: a.yaml -> b.yaml -> a.yaml.\n  1 | load: llama\n> 2 | extends: [a.yaml]\n    |           ^^^^^^',
    );
    expect(await headlines('load: llama\nextends: run.yaml\n')).toEqual(['run.yaml:2:10: These configs extend each other in a circle: run.yaml -> run.yaml.']);
  });

  it('sees through a link that closes the circle', async () => {
    const dir = folder({ 'run.yaml': 'load: llama\nextends: link.yaml\n' });
    symlinkSync(join(dir, 'run.yaml'), join(dir, 'link.yaml'));
    await expect(resolveConfigs(join(dir, 'run.yaml'), { schemas })).rejects.toThrow(`These configs extend each other in a circle: ${dir}/run.yaml -> ${dir}/run.yaml.`);
  });

  it('lets two files extend the same third', async () => {
    const files = { 'a.yaml': 'extends: c.yaml\nseed: 7\n', 'b.yaml': 'extends: c.yaml\n', 'c.yaml': 'load: llama\nseed: 5\n' };
    expect((await single('extends: [b.yaml, a.yaml]\n', { files })).seed).toBe(7);
  });

  it('points at the name of a file that is not there', async () => {
    expect(await headlines('load: llama\nextends: [base.yaml]\n')).toEqual(['run.yaml:2:11: There is no file base.yaml.']);
    expect(await headlines('load: llama\nextends: { file: base.yaml }\n')).toEqual(['run.yaml:2:10: `extends` must be the path of a config, or a list of paths.']);
  });

  it('refuses a chain of more files than anyone would write', async () => {
    const files = Object.fromEntries(Array.from({ length: 80 }, (_, index) => [`c${index}.yaml`, `extends: c${index + 1}.yaml\n`]));
    expect(await headlines('extends: c0.yaml\nload: llama\n', { files })).toEqual(['c62.yaml:1:10: A config may stand on at most 64 files.']);
  });
});

describe('readPluginDirs', () => {
  it('finds the folders before anything else is checked, relative to the file that names them', async () => {
    const dir = folder({ 'run.yaml': 'extends: shared/base.yaml\nload: nobody\nsede: 1\n', 'shared/base.yaml': 'plugins: [mine, ./ours, /abs, "${MORE}", 3]\n' });
    expect(await readPluginDirs(join(dir, 'run.yaml'), { env: { MORE: '/more' } })).toEqual([`${dir}/shared/mine`, `${dir}/shared/ours`, '/abs', '/more']);
  });
  it('follows --set', async () => {
    const dir = folder({ 'run.yaml': 'load: x\n' });
    expect(await readPluginDirs(join(dir, 'run.yaml'), { set: ['plugins=[/a]'] })).toEqual(['/a']);
  });
});
