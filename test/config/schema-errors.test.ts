import { Type } from 'typebox';
import type { TSchema } from 'typebox';
import { describe, expect, it } from 'vitest';
import type { SchemaSource } from '../../core/config/index.ts';
import { headlines, resolved, schemas, told } from './fixture.ts';

describe('a mistake is told with its place, the text and what to write instead', () => {
  it('an unknown option', async () => {
    expect(await told('load: llama\ninject:\n  - { use: lora, lora_alfa: 32 }\n')).toBe(
      [
        'run.yaml:3:18: `lora_alfa` is not an option of the inject plugin `lora`. Did you mean `lora_alpha`?',
        '  2 | inject:',
        '> 3 |   - { use: lora, lora_alfa: 32 }',
        '    |                  ^^^^^^^^^',
      ].join('\n'),
    );
  });

  it('all of them at once, in the order of the text', async () => {
    const text = [
      'sed: 1',
      'engine: natve',
      'seed: -1',
      'load: { use: lama }',
      'inject:',
      '  - use: lora',
      '    r: 0',
      '    lora_dropout: 1',
      '    target_modules: 7',
      '    bias: lora-only',
      '  - adapte',
      'train: { use: sft, epochs: many }',
      '',
    ].join('\n');
    expect(await headlines(text)).toEqual([
      'run.yaml:1:1: `sed` is not a key of a config. Did you mean `seed`?',
      'run.yaml:2:9: There is no engine `natve`. Did you mean `native`?',
      'run.yaml:3:7: `seed` must be at least 0, not -1.',
      'run.yaml:4:14: There is no load plugin `lama`. Did you mean `llama`?',
      'run.yaml:7:8: `r` must be at least 1, not 0.',
      'run.yaml:8:19: `lora_dropout` must be less than 1, not 1.',
      'run.yaml:9:21: `target_modules` must be `all-linear` or a list of strings, not 7.',
      'run.yaml:10:11: `bias` must be one of `none`, `all`, `lora_only`, not `lora-only`. Did you mean `lora_only`?',
      'run.yaml:11:5: There is no inject plugin `adapte`. Did you mean `adapter`?',
      'run.yaml:12:15: The train plugin `sft` needs the option `learning_rate`: Peak learning rate.',
      'run.yaml:12:28: `epochs` must be an integer, not `many`.',
    ]);
  });
});

describe('the keys of a config', () => {
  const one = async (line: string): Promise<string> => (await headlines(`load: llama\n${line}\n`)).join('\n');

  it('lists them when none is near', async () => {
    expect(await one('learning_rate: 1')).toBe(
      'run.yaml:2:1: `learning_rate` is not a key of a config. It has `name`, `extends`, `engine`, `seed`, `plugins`, `runs_dir`, `load`, `preprocess`, `inject`, `train`, `serve`, `queue` and `sweep`.',
    );
  });
  it('needs load', async () => {
    expect(await headlines('seed: 1\n')).toEqual(['run.yaml:1:1: A config needs the key `load`: The plugin that loads the model and its tokenizer.']);
  });
  it('refuses a mapping where a list belongs', async () => {
    expect(await one('inject: { use: lora }')).toBe('run.yaml:2:9: `inject` must be a list, not a mapping. Begin each item with `- `.');
  });
  it('refuses an entry that is not one', async () => {
    expect(await one('inject: [3]')).toBe(
      'run.yaml:2:10: An entry of `inject` is the name of a plugin, or a mapping with `use: <name>` and its options. There are `lora`, `adapter`, `merged` and `odd`.',
    );
  });
  it('refuses an entry that names no plugin', async () => {
    expect(await one('inject: [{ r: 8 }]')).toBe('run.yaml:2:10: This entry of `inject` must name its plugin: `use: <name>`. There are `lora`, `adapter`, `merged` and `odd`.');
    expect(await one('train: { use: 3 }')).toBe('run.yaml:2:15: This entry of `train` must name its plugin: `use: <name>`. There is `sft`.');
  });
  it('says when the name belongs to another stage', async () => {
    expect(await one('train: { use: lora }')).toBe('run.yaml:2:15: There is no train plugin `lora`. `lora` is a plugin of `inject`.');
  });
  it('lists the plugins when no name is near', async () => {
    expect(await one('train: grpo')).toBe('run.yaml:2:8: There is no train plugin `grpo`. There is `sft`.');
  });
  it('lists the engines when no name is near', async () => {
    expect(await one('engine: { use: cuda }')).toBe('run.yaml:2:16: There is no engine `cuda`. There are `auto`, `native` and `portable`.');
  });
  it('condenses the union of thread counts', async () => {
    expect(await one('engine: { threads: all }')).toBe('run.yaml:2:20: `engine.threads` must be `auto` or an integer, not `all`.');
    expect(await one('engine: { threads: 0 }')).toBe('run.yaml:2:20: `engine.threads` must be at least 1, not 0.');
  });
  it('says what a name may hold', async () => {
    expect(await one('name: my run')).toBe(
      'run.yaml:2:7: `name` must match `^[A-Za-z0-9][A-Za-z0-9._+=#-]*$`, and `my run` does not. Name of the run and of its folder: letters, digits and `._+=#-`. Default: the name of the config file.',
    );
  });
  it('says that nothing is written after a colon', async () => {
    expect(await one('seed:')).toBe('run.yaml:2:6: `seed` must be an integer, not empty. Nothing is written here.');
  });
});

describe('every rule that a schema may have', () => {
  const rules = Type.Object({
    port: Type.Optional(Type.Integer({ multipleOf: 8 })),
    url: Type.Optional(Type.String({ format: 'uri', maxLength: 20 })),
    id: Type.Optional(Type.String({ minLength: 3 })),
    pair: Type.Optional(Type.Tuple([Type.Number(), Type.Number()])),
    map: Type.Optional(Type.Record(Type.String(), Type.Integer(), { minProperties: 1, maxProperties: 2, propertyNames: { pattern: '^[a-z]+$' } })),
    mode: Type.Optional(Type.Literal('fast')),
    either: Type.Optional(Type.Union([Type.Object({ a: Type.Integer() }), Type.Object({ b: Type.Integer() })])),
    nullable: Type.Optional(Type.Union([Type.Integer(), Type.Null()])),
    deep: Type.Optional(Type.Array(Type.Union([Type.Literal('x'), Type.Array(Type.Union([Type.Literal('y'), Type.Integer()]))]))),
    not: Type.Optional({ not: { type: 'string' } } as TSchema),
  });
  const source: SchemaSource = { schema: () => rules, names: () => ['llama'] };
  it.each([
    ['port: 12', '`port` must be a multiple of 8, not 12.'],
    ['url: nowhere', '`url` must be a valid uri, and `nowhere` is not.'],
    ['url: "https://example.org/a/b/c"', '`url` must have at most 20 characters.'],
    ['id: ab', '`id` must have at least 3 characters.'],
    ['pair: [1]', '`pair` must have at least 2 items.'],
    ['pair: [1, 2, 3]', '`pair` must have at most 2 items.'],
    ['map: {}', '`map` must have at least 1 key.'],
    ['map: { a: 1, b: 2, c: 3 }', '`map` must have at most 2 keys.'],
    ['map: { A: 1 }', '`A` cannot be a key of `map`.'],
    ['mode: fats', '`mode` must be `fast`, not `fats`. Did you mean `fast`?'],
    ['either: { c: 1 }', '`either` must be a mapping, and this one fits none of the forms that it may have.'],
    ['nullable: x', '`nullable` must be an integer or empty, not `x`.'],
    ['deep: [x, [y, 1, z]]', '`deep[1][2]` must be `y` or an integer, not `z`.'],
    ['deep: [3]', '`deep[0]` must be `x` or a list of strings or integers, not 3.'],
    ['not: a', '`not` must NOT be valid.'],
    [`id: ${'x'.repeat(80)}\n  mode: 3`, '`mode` must be `fast`, not 3.'],
  ])('%s', async (options, message) => {
    const lines = await headlines(`load:\n  use: llama\n  ${options}\n`, { schemas: source });
    expect(lines.map((line) => line.replace(/^run\.yaml:\d+:\d+: /, ''))).toEqual([message]);
  });
  it('allows empty where the schema does', async () => {
    expect((await resolved('load: { use: llama, nullable: }\n', { schemas: source }))[0]?.load.options).toEqual({ nullable: null });
  });
});

describe('the options of a plugin', () => {
  const lora = async (options: string): Promise<string> => (await headlines(`load: llama\ninject:\n  - { use: lora, ${options} }\n`)).join('\n');
  const at = 'run.yaml:3:';

  it('points at the item of a list', async () => expect(await lora('target_modules: [q_proj, 3]')).toBe(`${at}43: \`target_modules[1]\` must be a string, not 3.`));
  it('shows the branch of a union that was meant', async () => expect(await lora('target_modules: []')).toBe(`${at}34: \`target_modules\` must have at least 1 item.`));
  it('refuses an empty string', async () => expect(await lora('target_modules: [""]')).toBe(`${at}35: \`target_modules[0]\` must not be empty.`));
  it('suggests a word of a union', async () => expect(await lora('target_modules: all_linear')).toBe(`${at}34: \`target_modules\` must be \`all-linear\` or a list of strings, not \`all_linear\`. Did you mean \`all-linear\`?`));
  it('knows the members of a discriminated union', async () => {
    expect(await lora('init: { kind: normal, sdt: 1 }')).toBe(`${at}18: \`init\` needs the option \`std\`.\n${at}40: \`sdt\` is not an option of \`init\`. Did you mean \`std\`?`);
    expect(await lora('init: { kind: none }')).toBe(`${at}24: \`init\` must be a mapping, and this one fits none of the forms that it may have: \`kind: normal\` or \`kind: uniform\`.`);
  });
  it('hints at YAML 1.1 booleans', async () => {
    expect(await lora('use_rslora: yes')).toBe(`${at}30: \`use_rslora\` must be \`true\` or \`false\`, not \`yes\`. YAML 1.2 reads \`yes\` as a string here; write \`true\`.`);
    expect(await lora('use_rslora: Off')).toBe(`${at}30: \`use_rslora\` must be \`true\` or \`false\`, not \`Off\`. YAML 1.2 reads \`Off\` as a string here; write \`false\`.`);
  });
  it('hints at numbers in quotes and with separators', async () => {
    expect(await lora('r: "16"')).toBe(`${at}21: \`r\` must be an integer, not \`16\`. In quotes it is a string; write 16 without them.`);
    expect(await lora('lora_alpha: 1_000')).toBe(`${at}30: \`lora_alpha\` must be a number, not \`1_000\`. Write 1000.`);
  });
  it('refuses infinity and what is not a number', async () => {
    expect(await lora('lora_alpha: .inf')).toBe(`${at}30: \`lora_alpha\` must be a finite number, not Infinity.`);
    expect(await lora('lora_alpha: .nan')).toBe(`${at}30: \`lora_alpha\` must be a finite number, not NaN.`);
  });
  it('refuses a fraction where a whole number belongs', async () => expect(await lora('r: 1.5')).toBe(`${at}21: \`r\` must be an integer, not 1.5.`));
  it('names the key of a mapping of any keys', async () => expect(await lora('rank_pattern: { "layers.0": 0 }')).toBe(`${at}46: \`rank_pattern.layers.0\` must be at least 1, not 0.`));
  it('finds repeats and too many items', async () => {
    expect(await lora('layers: [1, 2, 1]')).toBe(`${at}26: \`layers\` lists the same value twice, at 0 and 2.`);
    expect(await lora('layers: [1, 2, 3, 4]')).toBe(`${at}26: \`layers\` must have at most 3 items.`);
  });
  it('closes a nested mapping that its author left open', async () => {
    expect(await headlines('load: llama\ntrain: { use: sft, learning_rate: 1, schedule: { warmup: 1 } }\n')).toEqual(['run.yaml:2:50: `warmup` is not an option of `schedule`. It has `kind` and `warmup_ratio`.']);
  });
  it('closes an intersection as a whole', async () => {
    expect(await headlines('load: llama\ninject: [{ use: merged, left: 1, right: 2, rigth: 3 }]\n')).toEqual(['run.yaml:2:44: `rigth` is not an option of the inject plugin `merged`. Did you mean `right`?']);
  });
  it('suggests a word of an enum', async () => {
    expect(await headlines('load: llama\ninject: [{ use: adapter, activation: rleu }]\n')).toEqual(['run.yaml:2:38: `activation` must be `relu` or `gelu`, not `rleu`. Did you mean `relu`?']);
  });
  it('says when it is the plugin that is wrong', async () => {
    expect(await headlines('load: llama\ninject: [odd]\n')).toEqual([
      'run.yaml:2:10: The inject plugin `odd` cannot be used: its schema is not a valid JSON schema: schema/type must be equal to one of the allowed values, schema/type must be array, schema/type must match a schema in anyOf.',
    ]);
  });
  it('says why a plugin that is there cannot be used', async () => {
    const reason = 'index.ts:3:1: Expected ";"';
    const broken = { ...schemas, schema: () => undefined, explain: () => ({ apiVersion: '1.0.0', rejected: [], slots: [{ id: 'load:llama', state: 'failed', reason }] }) } as unknown as typeof schemas;
    expect(await headlines('load: llama\n', { schemas: broken })).toEqual([`run.yaml:1:7: The load plugin \`llama\` is there but cannot be used: ${reason}. \`graft plugins explain\` says more.`]);
  });
  it('accepts what is right', async () => {
    const [config] = await resolved('load: llama\ninject: [{ use: lora, init: { kind: uniform, bound: 1 }, layers: [1, 2], rank_pattern: { a: 2 } }]\n');
    expect(config?.inject[0]?.options).toEqual({ r: 8, lora_alpha: 8, lora_dropout: 0, target_modules: 'all-linear', bias: 'none', use_rslora: false, rank_pattern: { a: 2 }, layers: [1, 2], init: { kind: 'uniform', bound: 1 } });
  });
});
