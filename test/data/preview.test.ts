import { execFile, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import pc from 'picocolors';
import { afterAll, describe, expect, it } from 'vitest';
import { histogram, histogramLines } from '../../core/cli/preview/histogram.ts';
import { tokenText } from '../../core/cli/preview/token-text.ts';
import { CHATML, writeTinyTokenizer } from '../support/tokenizer.ts';

/** One for all: a new one would have Graft and its plugins built in it. */
const cache = mkdtempSync(join(tmpdir(), 'graft-preview-cache-'));
afterAll(() => rmSync(cache, { recursive: true }));

const graft = fileURLToPath(new URL('../../core/cli/graft.mjs', import.meta.url));

/** A folder with a model that has no weights at all, data, and a config. */
function folder(preprocess: string, load = 'llama, model: ./model', files: Readonly<Record<string, string>> = {}): string {
  const dir = mkdtempSync(join(tmpdir(), 'graft-preview-'));
  mkdirSync(join(dir, 'model'));
  writeTinyTokenizer(join(dir, 'model'), CHATML);
  writeFileSync(
    join(dir, 'model/config.json'),
    JSON.stringify({ architectures: ['LlamaForCausalLM'], model_type: 'llama', vocab_size: 266, hidden_size: 16, intermediate_size: 32, num_hidden_layers: 1, num_attention_heads: 2, num_key_value_heads: 1, max_position_embeddings: 64, rms_norm_eps: 1e-5, rope_theta: 10000, hidden_act: 'silu', bos_token_id: 0, eos_token_id: [1, 3], tie_word_embeddings: true }),
  );
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(dir, name, '..'), { recursive: true });
    writeFileSync(join(dir, name), text);
  }
  writeFileSync(join(dir, 'config.yaml'), `name: demo\nplugins: [./plugins]\nload: { use: ${load} }\npreprocess:\n  - { ${preprocess} }\n`);
  return dir;
}

/** Runs the command line as a person would, piped. */
function preview(dir: string, ...args: readonly string[]): Promise<{ readonly code: number; readonly out: string; readonly err: string }> {
  return new Promise((resolve) => {
    const env = { ...process.env, GRAFT_CACHE: cache, NO_COLOR: '1' };
    execFile(process.execPath, [graft, 'preview', join(dir, 'config.yaml'), ...args], { env, cwd: dir }, (error, out, err) => resolve({ code: typeof error?.code === 'number' ? error.code : 0, out, err }));
  });
}

const rows = [
  { messages: [{ role: 'user', content: 'A' }, { role: 'assistant', content: 'one' }] },
  { messages: [{ role: 'user', content: 'B' }, { role: 'assistant', content: 'a very long answer that goes on and on and on and on' }] },
  { prompt: 'x' },
];
const data = { 'data.jsonl': rows.map((row) => JSON.stringify(row)).join('\n') };

describe('graft preview', () => {
  it('shows tokens, what is trained on, what was cut and the counts, without a weight to load', async () => {
    const { code, out, err } = await preview(folder('use: instruct, data: data.jsonl, on_bad_row: skip', undefined, data), '-n', '2');
    expect(code).toBe(0);
    expect(out.slice(0, out.indexOf('example 2'))).toBe(
      [
        '[brackets] are trained on; the rest is read only, with | between tokens',
        '',
        'example 1 of 2  data.jsonl:1  25 tokens, 4 trained on  turn end trained on',
        '<|im_start|>|u|s|e|r|\\n',
        'A|<|im_end|>|\\n',
        '<|im_start|>|a|s|s|i|s|t|a|n|t|\\n',
        '[o][n][e][<|im_end|>]\\n',
        '',
        '',
      ].join('\n'),
    );
    expect(out).toMatch(/^example 2 of 2 {2}data\.jsonl:2 {2}64 tokens, \d+ trained on {2}\d+ of \d+ tokens cut off {2}turn end not trained on$/m);
    expect(out).toMatch(/^train {5}2 examples, \d+ tokens, \d+ trained on \(\d+\.\d %\)$/m);
    expect(out).toMatch(/^truncated 1 of 2 examples\nturn end {2}trained on in 1 of 2 examples\nbad rows {2}1\nlengths {3}in tokens\n/m);
    expect(err).toContain('warn 1 bad row was left out:');
    expect(err).toContain('data.jsonl:3: the field "messages" is missing (there is "prompt")');
    expect(err).toContain('warn 1 of 2 examples are longer than max_length 64 and were cut at their end');
  });

  it('gives all of it as JSON, of the examples held out when asked to', async () => {
    const dir = folder('use: instruct, data: data.jsonl, on_bad_row: skip, eval_split: 1', undefined, data);
    const [train, held] = [await preview(dir, '--json', '-n', '1'), await preview(dir, '--json', '--eval')];
    const [first, second] = [train, held].map(({ out }) => JSON.parse(out) as { side: string; counts: Record<string, number>; lengths: { count: number }[]; examples: { info: { line: number }; tokens: { id: number; text: string; trained: boolean }[] }[] });
    expect([first!.side, second!.side]).toEqual(['train', 'eval']);
    expect(new Set([first!.examples[0]!.info.line, second!.examples[0]!.info.line])).toEqual(new Set([1, 2]));
    for (const { counts, examples, lengths } of [first!, second!]) {
      const { tokens } = examples[0]!;
      expect(counts).toMatchObject({ examples: 1, sequences: 1, tokens: tokens.length, trainedTokens: tokens.filter((token) => token.trained).length, badRows: 1 });
      expect(lengths.map((bin) => bin.count)).toEqual([1]);
      expect(tokens[0]).toEqual({ id: 2, text: '<|im_start|>', trained: false });
    }
    expect(held.err).toMatch(/info Using 2 tokenised examples from the cache /);
  });

  it('shows pairs half by half, and counts them as pairs', async () => {
    const pairs = [{ prompt: 'a', chosen: 'b', rejected: 'c' }, { prompt: 'x', chosen: 'y'.repeat(99), rejected: 'z' }];
    const dir = folder('use: preference, data: pairs.jsonl', undefined, { 'pairs.jsonl': pairs.map((row) => JSON.stringify(row)).join('\n') });
    const { code, out } = await preview(dir, '-n', '1');
    expect(code).toBe(0);
    expect(out.slice(0, out.indexOf('lengths'))).toBe(
      [
        '[brackets] are trained on; the rest is read only, with | between tokens',
        '',
        'pair 1 of 2, chosen  pairs.jsonl:1  4 tokens, 2 trained on  turn end trained on',
        '<s>|a[b][</s>]',
        '',
        'pair 1 of 2, rejected  pairs.jsonl:1  4 tokens, 2 trained on  turn end trained on',
        '<s>|a[c][</s>]',
        '',
        'train     2 pairs, 76 tokens, 68 trained on (89.5 %)',
        'truncated 1 of 2 pairs',
        'turn end  trained on in both halves of 1 of 2 pairs',
        'bad rows  none',
        '',
      ].join('\n'),
    );
    const { counts, examples } = JSON.parse((await preview(dir, '--json')).out) as { counts: Record<string, number>; examples: { half: string }[] };
    expect(counts).toMatchObject({ examples: 4, pairs: 2, sequences: 2, truncatedExamples: 1, endOfTurnTrained: 1 });
    expect(examples.map(({ half }) => half)).toEqual(['chosen', 'rejected', 'chosen', 'rejected']);
  });

  it('ends quietly when its reader goes away', async () => {
    const answers = Array.from({ length: 2000 }, (_, index) => JSON.stringify({ prompt: `${index}`, completion: 'a long answer that fills the pipe' })).join('\n');
    const dir = folder('use: instruct, data: data.jsonl', undefined, { 'data.jsonl': answers });
    const { code, err } = await new Promise<{ code: number; err: string }>((resolve) => {
      const child = spawn(process.execPath, [graft, 'preview', join(dir, 'config.yaml'), '-n', '2000'], { env: { ...process.env, GRAFT_CACHE: cache }, stdio: ['ignore', 'pipe', 'pipe'] });
      let said = '';
      child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
      child.stdout.once('data', () => child.stdout.destroy());
      child.on('close', (exit) => resolve({ code: exit ?? -1, err: said }));
    });
    expect(err).toBe('');
    expect(code).toBe(0);
  });

  it('points at the option that is wrong, and exits with 2', async () => {
    const dir = folder('use: instruct, data: data.jsonl, template: alpacca', undefined, data);
    const wrong = await preview(dir);
    expect(wrong.code).toBe(2);
    expect(wrong.err).toContain('config.yaml:5:50: ');
    expect(wrong.err).toContain('There is no template alpacca. Did you mean alpaca?');
    const bad = await preview(folder('use: instruct, data: data.jsonl', undefined, data));
    expect(bad).toMatchObject({ code: 2, out: '' });
    expect(bad.err).toContain('data.jsonl:3: the field "messages" is missing');
    expect(bad.err).not.toMatch(/^\s+at /m);
    const none = await preview(folder('use: instruct, data: data.jsonl, on_bad_row: skip', undefined, data), '--eval');
    expect(none.err).toContain('holds no examples out for evaluation.');
    expect(await preview(dir, '-n', 'x')).toMatchObject({ code: 2 });
  });

  it('loads the whole model where the load plugin does nothing less', async () => {
    const plugin = {
      'plugins/load-whole/package.json': JSON.stringify({ name: 'load-whole', version: '1.0.0', type: 'module', main: './index.js', graft: { api: '^1.0.0', stage: 'load', name: 'whole', consumes: [], swap: 'live' } }),
      // As much of a model as data asks for, by a third party.
      'plugins/load-whole/index.js': `import { definePlugin, Type } from 'graft';
const tokenizer = {
  vocabSize: 65536, bosTokenId: undefined, eosTokenIds: [0], eosToken: '\\0', bosToken: undefined, hasChatTemplate: false, fingerprint: 'characters',
  encode: (text) => Int32Array.from(text, (character) => character.codePointAt(0)),
  decode: (ids) => String.fromCodePoint(...ids),
  token: (id) => String.fromCodePoint(id),
};
export default definePlugin({
  stage: 'load',
  config: Type.Object({}),
  setup: () => ({ load: async ({ engine, log }) => { log.warn('whole model on ' + engine.info.name); return { tokenizer, model: { config: { max_position_embeddings: 64 }, dispose: () => {} } }; } }),
});
`,
    };
    const dir = folder('use: instruct, data: data.jsonl', 'whole', { ...plugin, 'data.jsonl': JSON.stringify({ prompt: 'ab', completion: 'cd' }) });
    const { out, err } = await preview(dir);
    expect(out).toContain('a|b[c][d][\\u0000]\n');
    expect(err).toMatch(/whole model on (native|portable)/);
  });
});

describe('tokenText', () => {
  const tokens = [
    { id: 1, text: '<s>', trained: false },
    { id: 2, text: 'Q:\n', trained: false },
    { id: 3, text: ' a', trained: true },
    { id: 4, text: '\n\n', trained: true },
    { id: 5, text: '\u001b[31m\u202e\t', trained: true },
  ];

  it('brackets what is trained on without colours, and shows line ends and control characters', () => {
    expect(tokenText(tokens, pc.createColors(false))).toBe('<s>|Q:\\n\n[ a][\\n\n\\n]\n[\\u001b[31m\\u202e\\t]');
  });

  it('colours what is trained on, and never across a line end', () => {
    const text = tokenText(tokens, pc.createColors(true));
    expect(text).toContain('\u001b[32m a\u001b[39m');
    expect(text).toContain('\u001b[2m<s>\u001b[22m');
    for (const line of text.split('\n')) expect((line.match(/\u001b\[32m/g) ?? []).length).toBe((line.match(/\u001b\[39m/g) ?? []).length);
  });
});

describe('histogram', () => {
  it('counts every length once, in ranges of one width from the shortest to the longest', () => {
    const lengths = Array.from({ length: 97 }, (_, index) => 4 + ((index * 37) % 61));
    const bins = histogram(lengths);
    expect(bins.reduce((sum, bin) => sum + bin.count, 0)).toBe(97);
    expect([bins[0]!.from, bins.at(-1)!.to]).toEqual([4, 64]);
    for (const [index, bin] of bins.slice(1).entries()) expect(bin.from).toBe(bins[index]!.to + 1);
    expect(bins.length).toBeLessThanOrEqual(10);
  });

  it('takes one length, and none', () => {
    expect(histogram([7, 7])).toEqual([{ from: 7, to: 7, count: 2 }]);
    expect(histogram([])).toEqual([]);
    expect(histogramLines([{ from: 1, to: 9, count: 8 }, { from: 10, to: 18, count: 0 }, { from: 19, to: 27, count: 1 }], 8)).toEqual([' 1 to  9  ########  8', '10 to 18            0', '19 to 27  #         1']);
  });
});
