import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { formatDotted, parseDotted } from '../../core/config/dotted.ts';
import { headlines, resolved, single, told } from './fixture.ts';

const text = 'load: llama\ninject:\n  - lora\n  - { use: adapter }\ntrain: { use: sft, learning_rate: 1e-3 }\n';

describe('--set', () => {
  it('overrides, adds and replaces; values are YAML', async () => {
    const config = await single(text, { set: ['train.learning_rate=2e-4', 'inject.0.r=4', 'inject.1={ use: adapter, adapter_size: 3 }', 'seed=7', 'load.model="true"', 'engine.threads=2'] });
    expect(config.train?.options['learning_rate']).toBe(2e-4);
    expect(config.inject[0]?.options['r']).toBe(4);
    expect(config.inject[1]?.options['adapter_size']).toBe(3);
    expect([config.seed, config.load.options['model'], config.engine]).toEqual([7, 'true', { use: 'auto', threads: 2 }]);
  });

  it('applies in order', async () => expect((await single(text, { set: ['seed=1', 'seed=2'] })).seed).toBe(2));

  it('adds a whole entry', async () => {
    expect((await single('load: llama\n', { set: ['train={use: sft, learning_rate: 1}', 'serve=[openai]'] })).serve[0]?.options).toEqual({ port: 8080 });
  });

  it('reaches a key with dots in it', async () => {
    expect((await single(text, { set: ['inject.0.rank_pattern.layers\\.0=4'] })).inject[0]?.options['rank_pattern']).toEqual({ 'layers.0': 4 });
  });

  it('points at itself when no schema knows the path', async () => {
    expect(await told(text, { set: ['train.learning_rat=1'] })).toBe(
      '--set:1:1: `learning_rat` is not an option of the train plugin `sft`. Did you mean `learning_rate`?\n> 1 | train.learning_rat=1\n    | ^^^^^^^^^^^^^^^^^^',
    );
  });

  it('points at its value when that is wrong', async () => {
    expect(await headlines(text, { set: ['inject.0.r=0', 'train.epochs=two'] })).toEqual(['--set:1:12: `r` must be at least 1, not 0.', '--set:1:14: `epochs` must be an integer, not `two`.']);
  });

  it.each([
    ['seed', '`--set seed` must read `--set path.to.option=value`, such as `--set train.learning_rate=1e-4`.'],
    ['=3', '`--set =3` must read `--set path.to.option=value`, such as `--set train.learning_rate=1e-4`.'],
    ['inject.2.r=3', '`inject` is a list of 2; `2` is not one of its indices (0 to 1).'],
    ['inject.use=lora', '`inject` is a list of 2; `use` is not one of its indices (0 to 1).'],
    ['train.learning_rate.x=1', '`train.learning_rate` is a single value; it has no `x` to set.'],
    ['extends=a.yaml', '`extends` shapes the file itself and cannot be set. Write a config that extends both.'],
    ['seed=[1', 'Flow sequence must end with a ].'],
    ['seed=', '`seed` must be an integer, not empty. Nothing is written here.'],
  ])('refuses %j', async (argument, message) => {
    expect((await headlines(text, { set: [argument] })).map((line) => line.replace(/^--set:1:\d+: /, ''))).toContain(message);
  });

  it('reads relative paths from the working directory, where they were typed', async () => {
    expect((await single(text, { set: ['load.model=./model'] })).load.options['model']).toBe(resolve('model'));
  });

  it('round-trips any path through its dotted form', () => {
    const steps = ['a', '0', 'layers.0.q', '', 'x.', '.y', 'ü'];
    for (const first of steps) for (const second of steps) expect(parseDotted(formatDotted([first, second]))).toEqual([first, second]);
  });

  it('changes nothing but what it names, wherever that is', async () => {
    const paths = ['seed', 'train.learning_rate', 'train.epochs', 'inject.0.r', 'inject.0.lora_alpha', 'inject.1.adapter_size', 'serve'];
    const [before] = await resolved(text);
    for (const path of paths) {
      const value = path === 'serve' ? '[openai]' : '3';
      const [after] = await resolved(text, { set: [`${path}=${value}`] });
      const top = parseDotted(path)[0] ?? '';
      const without = (config: typeof after): unknown => ({ ...config?.resolved, [top]: undefined, name: undefined });
      expect(without(after)).toEqual(without(before));
      expect(after?.resolved[top]).not.toEqual(before?.resolved[top]);
    }
  });
});
