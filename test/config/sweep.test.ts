import { describe, expect, it } from 'vitest';
import { headlines, resolved, single } from './fixture.ts';

const text = 'name: s\nload: llama\ninject: [lora, { use: lora, r: 2 }]\ntrain: { use: sft, learning_rate: 1e-3 }\n';

describe('sweep', () => {
  it('makes a config of each combination, the last path fastest', async () => {
    const configs = await resolved(`${text}sweep:\n  train.learning_rate: [1e-4, 2e-4]\n  inject.0.r: [4, 8, 16]\n`);
    expect(configs.map((config) => [config.name, config.train?.options['learning_rate'], config.inject[0]?.options['r'], config.inject[1]?.options['r']])).toEqual([
      ['s-learning_rate=0.0001-r=4', 1e-4, 4, 2],
      ['s-learning_rate=0.0001-r=8', 1e-4, 8, 2],
      ['s-learning_rate=0.0001-r=16', 1e-4, 16, 2],
      ['s-learning_rate=0.0002-r=4', 2e-4, 4, 2],
      ['s-learning_rate=0.0002-r=8', 2e-4, 8, 2],
      ['s-learning_rate=0.0002-r=16', 2e-4, 16, 2],
    ]);
  });

  it('names paths that end alike by as much as tells them apart, and values that are no names by their place', async () => {
    const configs = await resolved(`${text}sweep:\n  inject.0.r: [4]\n  inject.1.r: [8]\n  inject.0.target_modules: [[q_proj, v_proj], [.*x], all-linear]\n`);
    expect(configs.map((config) => config.name)).toEqual(['s-0.r=4-1.r=8-target_modules=q_proj+v_proj', 's-0.r=4-1.r=8-target_modules=#2', 's-0.r=4-1.r=8-target_modules=all-linear']);
  });

  it('sweeps whole entries', async () => {
    const configs = await resolved(`${text}sweep: { inject: [[lora], [adapter], []] }\n`);
    expect(configs.map((config) => config.inject.map((entry) => entry.use))).toEqual([['lora'], ['adapter'], []]);
    expect(configs.map((config) => config.name)).toEqual(['s-inject=lora', 's-inject=adapter', 's-inject=#3']);
  });

  it('numbers the combinations when their names would be too long for a folder', async () => {
    const long = Array.from({ length: 4 }, (_, index) => `inject.0.rank_pattern.${'k'.repeat(30)}${index}: [1, 2]`);
    expect((await resolved(`${text}sweep:\n  ${long.join('\n  ')}\n`)).map((config) => config.name).slice(0, 3)).toEqual(['s-#1', 's-#2', 's-#3']);
  });

  it('is the product of its lists, whatever their lengths', async () => {
    for (const [first, second, third] of [[1, 1, 1], [2, 3, 4], [5, 1, 2]] as const) {
      const list = (count: number): string => `[${Array.from({ length: count }, (_, index) => index + 1).join(', ')}]`;
      const configs = await resolved(`${text}sweep: { seed: ${list(first)}, train.epochs: ${list(second)}, inject.0.r: ${list(third)} }\n`);
      expect(new Set(configs.map((config) => JSON.stringify([config.seed, config.train?.options['epochs'], config.inject[0]?.options['r']]))).size).toBe(first * second * third);
      expect(new Set(configs.map((config) => config.name)).size).toBe(first * second * third);
    }
  });

  it('tells a mistake once, however many combinations have it', async () => {
    expect(await headlines(`${text}sede: 1\nsweep: { seed: [1, 2, -3], train.epochs: [1, x] }\n`)).toEqual([
      'run.yaml:5:1: `sede` is not a key of a config. Did you mean `seed`?',
      'run.yaml:6:23: `seed` must be at least 0, not -3.',
      'run.yaml:6:46: `epochs` must be an integer, not `x`.',
    ]);
  });

  it.each([
    ['[1]', '`sweep` must map paths to lists of values, such as `train.learning_rate: [1e-4, 2e-4]`.'],
    ['{ seed: 3 }', '`sweep` needs a list of at least one value for `seed`.'],
    ['{ seed: [] }', '`sweep` needs a list of at least one value for `seed`.'],
    ['{ name: [a] }', '`name` cannot be swept.'],
    ['{ seed: [1, 2, 1] }', '`sweep` lists the value 1 twice for `seed`.'],
    ['{ inject: [[lora]], inject.0.r: [1] }', '`inject.0.r` overlaps another path of this sweep, and one would undo the other.'],
    ['{ inject.5.r: [1] }', '`inject` is a list of 2; `5` is not one of its indices (0 to 1).'],
    ['{ train.lerning_rate: [1] }', '`lerning_rate` is not an option of the train plugin `sft`. Did you mean `learning_rate`?'],
    [`{ seed: [${Array.from({ length: 40 }, (_, index) => index).join(', ')}], train.epochs: [${Array.from({ length: 40 }, (_, index) => index + 1).join(', ')}] }`, 'This sweep has 1,600 combinations; at most 1,000 run at once.'],
  ])('refuses %s', async (sweep, message) => {
    expect((await headlines(`${text}sweep: ${sweep}\n`)).map((line) => line.replace(/^run\.yaml:\d+:\d+: /, ''))).toEqual([message]);
  });

  it('refuses a --set that it would undo', async () => {
    const swept = `${text}sweep: { seed: [1, 2] }\n`;
    expect(await headlines(swept, { set: ['seed=3'] })).toEqual(['run.yaml:5:10: `--set seed=...` fixes what this sweeps. Leave one of them out; `--set sweep={}` leaves out the sweep.']);
    expect((await single(swept, { set: ['seed=3', 'sweep={}'] })).seed).toBe(3);
  });
});
