import { homedir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Type } from 'typebox';
import { resolveConfigs } from '../../core/config/index.ts';
import { sharableOptions } from '../../core/config/strings.ts';
import { folder, headlines, schemas, single, told } from './fixture.ts';

describe('${NAME}', () => {
  it('is the variable where the schema allows it, and stays a name in what is written to disk', async () => {
    const config = await single('load: { use: llama, token: "Bearer ${TOKEN}${TAIL}" }\n', { env: { TOKEN: 'secret', TAIL: '' } });
    expect(config.load.options['token']).toBe('Bearer secret');
    expect(JSON.stringify(config.resolved)).not.toContain('secret');
    expect(config.resolved['load']).toEqual({ use: 'llama', token: 'Bearer ${TOKEN}${TAIL}' });
  });

  it('is an error elsewhere, at its very place', async () => {
    expect(await told('load: { use: llama, model: "models/${NAME}" }\n', { env: { NAME: 'x' } })).toBe(
      'run.yaml:1:36: `${NAME}` is not filled in here: this option does not read environment variables. Write `$${NAME}` for the text itself.\n' +
        '> 1 | load: { use: llama, model: "models/${NAME}" }\n    |                                    ^^^^^^^',
    );
  });

  it('is an error when the variable is missing or is no name', async () => {
    expect(await headlines('load: { use: llama, token: "${HF_TOKEN}" }\nserve: [{ use: openai, api_key: "${a b}${" }]\n')).toEqual([
      'run.yaml:1:29: The environment variable `HF_TOKEN` is not set. Set it before starting graft. Write `$${HF_TOKEN}` for the text itself.',
      'run.yaml:2:34: `${a b}` is not the name of an environment variable in braces, such as `${HOME}`. Write `$${a b}` for the text itself.',
      'run.yaml:2:40: `${` is not the name of an environment variable in braces, such as `${HOME}`. Write `$${` for the text itself.',
    ]);
  });

  it('is escaped by doubling the dollar, everywhere', async () => {
    const config = await single('load: { use: llama, model: "a$${B}c", token: "$${B}" }\n', { env: { B: 'b' } });
    expect(config.load.options).toEqual({ model: 'a${B}c', token: '${B}' });
  });

  it('does not fill in twice', async () => {
    expect((await single('load: { use: llama, token: "${A}" }\n', { env: { A: '${B}', B: 'b' } })).load.options['token']).toBe('${B}');
  });
});

describe('a relative path', () => {
  it('is relative to the file that wrote it', async () => {
    const dir = folder({
      'run.yaml': 'extends: shared/base.yaml\nload: { use: llama, model: ./model }\n',
      'shared/base.yaml': 'load: llama\nruns_dir: out\npreprocess:\n  - { use: instruct, data: data/train.jsonl }\n  - { use: text, files: [a.txt, ../b.txt, /c.txt, ~/d.txt] }\n',
    });
    const [config] = await resolveConfigs(join(dir, 'run.yaml'), { schemas });
    expect(config?.load.options['model']).toBe(`${dir}/model`);
    expect(config?.runsDir).toBe(`${dir}/shared/out`);
    expect(config?.preprocess[0]?.options['data']).toBe(`${dir}/shared/data/train.jsonl`);
    expect(config?.preprocess[1]?.options['files']).toEqual([`${dir}/shared/a.txt`, `${dir}/b.txt`, '/c.txt', join(homedir(), 'd.txt')]);
    expect(config?.baseDir).toBe(dir);
  });

  it('is left alone where it may be something else, and where the schema says that it never is one', async () => {
    const config = await single('load: { use: llama, model: org/name }\npreprocess: [{ use: instruct, data: /x, separator: ./, template: .hidden }]\n');
    expect(config.load.options['model']).toBe('org/name');
    expect(config.preprocess[0]?.options).toEqual({ data: '/x', separator: './', template: '.hidden' });
  });
});

describe('options that may leave this machine', () => {
  const schema = Type.Object({
    r: Type.Integer(),
    names: Type.Union([Type.Array(Type.String()), Type.String()]),
    token: Type.Optional(Type.String({ graftEnv: true })),
    data: Type.Optional(Type.Array(Type.String({ graftPath: true }))),
    pattern: Type.Optional(Type.String({ graftPath: false })),
    nested: Type.Optional(Type.Object({ key: Type.String({ graftEnv: true }), alpha: Type.Number() })),
    other: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
  });

  it('are all but secrets and paths, wherever they stand, and the names of those are told', () => {
    const own = { r: 4, names: ['q_proj', 'v_proj'], pattern: '/a/' };
    const options = { ...own, token: 'secret', data: ['rows.jsonl'], nested: { key: 'secret', alpha: 2 }, other: { file: '/home/me/x', files: ['a', '/home/me/y'], rank: 3 } };
    expect(sharableOptions(options, schema)).toEqual({ options: { ...own, nested: { alpha: 2 }, other: { rank: 3 } }, withheld: ['token', 'data', 'nested.key', 'other.file', 'other.files'] });
    expect(sharableOptions(own, schema)).toEqual({ options: own, withheld: [] });
  });

  it.each(['/self_attn\\.(q|v)_proj/', '/a\\/b/', 'q_proj', 'org/name', '.hidden', ''])('have what is no path: %s', (names) => {
    expect(sharableOptions({ r: 4, names }, schema)).toEqual({ options: { r: 4, names }, withheld: [] });
  });

  it.each(['/home/me/names', '/home/me/names/', '/', '../../etc/passwd', './names', '~/names', '..'])('have no path where the schema does not say that one may stand there: %s', (names) => {
    expect(sharableOptions({ r: 4, names }, schema)).toEqual({ options: { r: 4 }, withheld: ['names'] });
    expect(sharableOptions({ r: 4, names: ['q_proj', names] }, schema)).toEqual({ options: { r: 4 }, withheld: ['names'] });
  });

  it('have a default, which is the same everywhere', () => {
    const own = Type.Object({ key: Type.String({ graftEnv: true, default: 'none' }), words: Type.String({ graftPath: true, default: 'words.txt' }) });
    expect(sharableOptions({ key: 'none', words: '/home/me/words.txt' }, own)).toEqual({ options: { key: 'none' }, withheld: ['words'] });
  });

  it('are none at all where no schema says which of them are secrets', () => {
    expect(sharableOptions({ r: 4, token: 'secret' }, undefined)).toEqual({ options: {}, withheld: ['r', 'token'] });
  });
});
