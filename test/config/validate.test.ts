import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters } from 'node:util';
import { describe, expect, it, vi } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { validateCommand } from '../../core/cli/commands/validate.ts';
import { folder } from './fixture.ts';

interface Outcome {
  readonly out: string;
  readonly err: string;
  readonly exit: typeof process.exitCode;
}

/** Runs `graft validate` in this process, over the plugins as they are. */
async function validate(...args: readonly string[]): Promise<Outcome> {
  const text = { out: '', err: '' };
  vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => ((text.out += String(chunk)), true));
  vi.spyOn(process.stderr, 'write').mockImplementation((chunk) => ((text.err += String(chunk)), true));
  const before = process.exitCode;
  process.exitCode = undefined;
  try {
    await validateCommand().exitOverride().parseAsync([...args], { from: 'user' });
    return { out: stripVTControlCharacters(text.out), err: stripVTControlCharacters(text.err), exit: process.exitCode };
  } finally {
    process.exitCode = before;
    vi.restoreAllMocks();
  }
}

const text = 'load: { use: llama, model: ./model }\ninject: [lora, { use: adapter }]\ntrain: { use: sft, epochs: 1 }\n';

describe('graft validate', () => {
  it('says what each config resolves to', async () => {
    const dir = folder({ 'a.yaml': text, 'b.yaml': `${text}name: b\nsweep: { train.learning_rate: [1e-4, 2e-4] }\n` });
    const { out, err, exit } = await validate(join(dir, 'a.yaml'), join(dir, 'b.yaml'), '--set', 'seed=7', '--set', 'engine=portable');
    const stages = 'load llama, inject lora + adapter, train sft, engine portable, seed 7';
    expect(out).toBe(`${dir}/a.yaml: OK\n  a: ${stages}\n${dir}/b.yaml: OK, 2 combinations\n  b-learning_rate=0.0001: ${stages}\n  b-learning_rate=0.0002: ${stages}\n`);
    expect([err, exit]).toEqual(['', undefined]);
  });

  it('tells the mistakes of every config, counts them, and exits with 2', async () => {
    const dir = folder({ 'a.yaml': text.replace('lora', 'lore'), 'b.yaml': 'load: "\n', 'c.yaml': text });
    const { out, err, exit } = await validate(join(dir, 'a.yaml'), join(dir, 'b.yaml'), join(dir, 'none.yaml'), join(dir, 'c.yaml'));
    expect(out).toBe(`${dir}/c.yaml: OK\n  c: load llama, inject lora + adapter, train sft, engine auto, seed 42\n`);
    expect(err).toContain(`${dir}/a.yaml:2:10: There is no inject plugin \`lore\`. Did you mean \`lora\`?\n`);
    expect(err).toContain(`${dir}/b.yaml:2:1: Missing closing "quote.\n`);
    expect(err).toContain(`error There is no file ${dir}/none.yaml.\n`);
    expect(err.match(/^1 error$/gm)).toHaveLength(2);
    expect(exit).toBe(2);
  });

  it('prints what each combination resolves to, as YAML', async () => {
    const dir = folder({ 'a.yaml': `${text}sweep: { seed: [1, 2] }\n` });
    const { out } = await validate('--print', join(dir, 'a.yaml'));
    const documents = parseAllDocuments(out).map((document) => parse(String(document)) as Record<string, unknown>);
    expect(documents.map(({ name, seed }) => [name, seed])).toEqual([['a-seed=1', 1], ['a-seed=2', 2]]);
    expect(documents[0]).toMatchObject({ load: { use: 'llama', model: `${dir}/model` }, inject: [{ use: 'lora' }, { use: 'adapter' }] });
  });

  it('checks the options of a plugin in a folder that the config names', async () => {
    const dir = folder({
      'a.yaml': 'plugins: [mine]\nload: { use: llama, model: x }\ninject: [{ use: bias, learning_rat: 1 }]\n',
      'mine/inject-bias/package.json': '{"name":"bias","version":"1.0.0","type":"module","main":"./index.ts","graft":{"api":"^1.0.0","stage":"inject","name":"bias","consumes":[],"swap":"live"}}',
      'mine/inject-bias/index.ts': "import { definePlugin, Type } from 'graft';\nexport default definePlugin({ stage: 'inject', config: Type.Object({ learning_rate: Type.Number() }), setup: () => ({ inject: async () => { throw new Error('not run'); } }) });\n",
    });
    const { err } = await validate(join(dir, 'a.yaml'));
    expect(err).toContain(`${dir}/a.yaml:3:23: \`learning_rat\` is not an option of the inject plugin \`bias\`. Did you mean \`learning_rate\`?\n`);
  });

  it('needs a config', async () => {
    await expect(validate()).rejects.toMatchObject({ code: 'USAGE', message: 'Name a config to check: graft validate configs/lora.yaml' });
  });

  it('finds nothing wrong with the configs that Graft comes with', async () => {
    const configs = fileURLToPath(new URL('../../configs', import.meta.url));
    const files = readdirSync(configs).filter((name) => name.endsWith('.yaml'));
    expect(files).toEqual(expect.arrayContaining(['adapter.yaml', 'lora.yaml', 'mixed.yaml', 'pretrain.yaml']));
    const { err, exit } = await validate(...files.map((name) => join(configs, name)));
    expect([err, exit]).toEqual(['', undefined]);
  });
});
