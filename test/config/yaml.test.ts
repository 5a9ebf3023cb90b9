import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ConfigError, resolveConfigs } from '../../core/config/index.ts';
import { codes, folder, headlines, schemas, single, told } from './fixture.ts';

describe('YAML that is wrong', () => {
  it('is told all at once, each mistake with its frame', async () => {
    expect(await told('load: llama\nname: "a\\q"\nseed: [1, 2\ntrain: "x\n')).toBe(
      [
        'run.yaml:2:9: Invalid escape sequence \\q.',
        '  1 | load: llama',
        '> 2 | name: "a\\q"',
        '    |         ^',
        '  3 | seed: [1, 2',
        '',
        'run.yaml:4:1: Flow sequence in block collection must be sufficiently indented and end with a ].',
        '  3 | seed: [1, 2',
        '> 4 | train: "x',
        '    | ^',
        '',
        'run.yaml:5:1: Missing closing "quote.',
        '  4 | train: "x',
        '> 5 |',
        '    | ^',
      ].join('\n'),
    );
  });

  it('tells tabs in the indentation', async () => {
    expect(await headlines('load:\n\tuse: llama\n')).toContain('run.yaml:2:1: Tabs are not allowed as indentation. Use spaces.');
  });

  it('tells duplicate keys together with what else is wrong', async () => {
    expect(await headlines('load: llama\nseed: 1\nseed: 2\nsede: 3\n')).toEqual([
      'run.yaml:3:1: The key `seed` is given twice; the first is on line 2. Keep one.',
      'run.yaml:4:1: `sede` is not a key of a config. Did you mean `seed`?',
    ]);
  });

  it('tells every mistake when there are a hundred, and counts the others', async () => {
    const text = `load: llama\n${Array.from({ length: 130 }, (_, index) => `x${index}: 1\n`).join('')}`;
    expect(await headlines(text)).toHaveLength(100);
    expect((await told(text)).split('\n').at(-1)).toBe('... and 30 more.');
  });

  it.each([
    ['<<: *base', 'YAML_MERGE_KEY', 'Merge keys (`<<`) are not part of YAML 1.2. Use `extends:` to build on another file, or an alias (`*name`) for a whole value.'],
    ['seed: *x', 'YAML_UNKNOWN_ALIAS', 'There is no anchor `&x` before this alias.'],
    ['plugins: &p [*p]', 'YAML_RECURSIVE_ALIAS', 'The alias `*p` stands inside the value that it refers to.'],
    ['seed: !!js/function 1', 'YAML_TAG_RESOLVE_FAILED', 'Unresolved tag: tag:yaml.org,2002:js/function. Tags are not used in configs.'],
    ['name: a: b', 'YAML_BLOCK_AS_IMPLICIT_KEY', 'Nested mappings are not allowed in compact mappings. Put the value in quotes when it holds `: `; else look at the indentation.'],
    ['name', 'YAML_MISSING_CHAR', 'Implicit map keys need to be followed by map values.'],
    ['? [a]\n: 1', 'YAML_KEY', 'A key must be text: `key: value`.'],
    ['__proto__: { seed: 1 }', 'YAML_KEY', '`__proto__` cannot be a key.'],
    ['---\nload: llama', 'YAML_MULTIPLE_DOCUMENTS', 'A second YAML document begins here; a config is one document. Put it into a file of its own.'],
  ])('refuses %j', async (line, code, message) => {
    const text = `load: &base { use: llama }\n${line}\n`;
    expect(await codes(text)).toContain(code);
    expect((await headlines(text)).map((each) => each.replace(/^run\.yaml:\d+:\d+: /, ''))).toContain(message);
  });

  it('refuses a file that asks for YAML 1.1', async () => {
    expect(await headlines('%YAML 1.1\n---\nload: llama\n')).toEqual(['run.yaml:1:1: Configs are YAML 1.2, and this one asks for YAML 1.1. Take the %YAML line out.']);
  });

  it.each([
    ['', 'This file is empty; a config is a mapping that begins with `load:`.'],
    ['# nothing yet\n', 'This file is empty; a config is a mapping that begins with `load:`.'],
    ['- load: llama\n', 'This file holds a list; a config is a mapping that begins with `load:`.'],
    ['llama\n', 'This file holds a single value; a config is a mapping that begins with `load:`.'],
  ])('refuses %j', async (text, message) => {
    expect((await headlines(text))[0]?.replace(/^run\.yaml:\d+:\d+: /, '')).toBe(message);
  });
});

describe('YAML that is an attack', () => {
  it('refuses an alias bomb', async () => {
    const levels = Array.from({ length: 9 }, (_, level) => `l${level + 1}: &l${level + 1} [${Array(9).fill(level === 0 ? 'x' : `*l${level}`).join(', ')}]`);
    expect(await headlines(`load: llama\n${levels.join('\n')}\n`)).toEqual(['run.yaml:7:9: With its aliases expanded this holds more than 100,000 values; a config may not.']);
  });

  it('refuses 65 levels and takes 64', async () => {
    const nested = (levels: number): string => `load: llama\nplugins: ${'['.repeat(levels)}${']'.repeat(levels)}\n`;
    expect(await headlines(nested(64))).toEqual(['run.yaml:2:73: This is nested more than 64 levels deep; a config may not be.']);
    expect(await codes(nested(63))).toEqual(['WRONG_TYPE']);
  });

  it('refuses half a million brackets without reading to their end', async () => {
    expect(await headlines('['.repeat(500_000))).toEqual(['run.yaml:1:65: This is nested more than 64 levels deep; a config may not be.']);
  });

  it('refuses depth made of aliases', async () => {
    const chain = Array.from({ length: 80 }, (_, index) => `a${index}: &a${index} [${index === 0 ? '' : `*a${index - 1}`}]`);
    expect(await headlines(`${chain.join('\n')}\n`)).toEqual(['run.yaml:65:11: With its aliases expanded this is nested more than 64 levels deep; a config may not be.']);
  });
});

describe('files that are no config', () => {
  const failure = async (path: string): Promise<unknown> => resolveConfigs(path, { schemas }).catch((error: unknown) => error);

  it('says that there is none', async () => {
    const dir = folder({});
    expect(await failure(join(dir, 'x.yaml'))).toMatchObject({ code: 'CONFIG_NOT_FOUND', message: `There is no file ${dir}/x.yaml.` });
  });
  it('says that it is a folder', async () => {
    const dir = folder({});
    mkdirSync(join(dir, 'x.yaml'));
    expect(await failure(join(dir, 'x.yaml'))).toMatchObject({ code: 'CONFIG_NOT_A_FILE', message: `${dir}/x.yaml is a folder; a config is a YAML file.` });
  });
  it('says that it is too large, and reads none of it', async () => {
    const dir = folder({ 'x.yaml': `load: llama\n#${' '.repeat(10 * 1024 * 1024)}` });
    expect(await failure(join(dir, 'x.yaml'))).toMatchObject({ code: 'CONFIG_TOO_LARGE', message: `${dir}/x.yaml is 10.0 MiB; a config may be at most 1 MiB.`, hint: 'Keep data in data files and name them here.' });
  });
  it('says that it is not UTF-8', async () => {
    const dir = folder({ 'x.yaml': Buffer.from('load: ll\xe4ma\n', 'latin1'), 'y.yaml': Buffer.from('\ufeffload: llama\n', 'utf16le') });
    expect(await failure(join(dir, 'x.yaml'))).toMatchObject({ code: 'CONFIG_NOT_UTF8', message: `${dir}/x.yaml is not UTF-8 text.`, hint: 'Save it as UTF-8.' });
    expect(await failure(join(dir, 'y.yaml'))).toMatchObject({ code: 'CONFIG_NOT_UTF8', message: `${dir}/y.yaml is not UTF-8 text but UTF-16.` });
  });
});

describe('YAML that is right', () => {
  it('reads numbers as YAML 1.2 does', async () => {
    expect((await single('load: llama\ntrain: { use: sft, learning_rate: 2e-4 }\n')).train?.options['learning_rate']).toBe(0.0002);
  });
  it('takes a byte order mark, Windows line ends, aliases and comments', async () => {
    const config = await single('\ufeffload: llama # a model\r\ninject:\r\n  - &one { use: lora, r: 4 }\r\n  - *one\r\n');
    expect(config.inject.map((entry) => entry.options['r'])).toEqual([4, 4]);
    expect(config.locate(['inject', 0, 'r'])).toMatchObject({ line: 3, column: 26 });
  });
  it('takes a key that looks like a number', async () => {
    expect((await single('load: llama\ninject: [{ use: lora, rank_pattern: { 0: 4 } }]\n')).inject[0]?.options['rank_pattern']).toEqual({ 0: 4 });
  });
});

describe('a code frame', () => {
  it('shows the part of a long line that matters', async () => {
    const text = `load: llama\nplugins: [${Array(60).fill('plugins').join(', ')}, 5, ${Array(60).fill('plugins').join(', ')}]\n`;
    const [, , shown, caret] = (await told(text)).split('\n');
    expect(shown).toMatch(/^> 2 \| \.\.\..*plugins, 5, plugins.*\.\.\.$/);
    expect(shown?.length).toBeLessThan(120);
    expect(shown?.[caret?.indexOf('^') ?? -1]).toBe('5');
  });
  it('keeps control characters from the terminal', async () => {
    const message = await told('load: llama\nname: \u001b[31mred\u202e\t!\n');
    expect(message).toContain('> 2 | name: ?[31mred? !');
  });
  it('is part of each diagnostic', async () => {
    const dir = folder({ 'x.yaml': 'load: llama\nsede: 1\n' });
    const error = await resolveConfigs(join(dir, 'x.yaml'), { schemas }).catch((caught: unknown) => caught);
    expect(ConfigError.is(error) && error.diagnostics).toEqual([
      { code: 'UNKNOWN_KEY', message: '`sede` is not a key of a config.', file: `${dir}/x.yaml`, line: 2, column: 1, frame: '  1 | load: llama\n> 2 | sede: 1\n    | ^^^^', suggestion: 'seed' },
    ]);
  });
});
