/** The command that every new user runs first, as a process of its own. */
import { existsSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { graft } from '../support/command.ts';
import { sharedDir } from '../support/model.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const shared = sharedDir();

interface Strategy {
  readonly name: string;
  readonly before: number;
  readonly after: number;
}

/** The rows of the table of strategies. */
function strategiesIn(output: string): Strategy[] {
  return [...output.matchAll(/^(LoRA|Adapter|LoRA \+ Adapter)\s+[\d,]+\s+[\d.]+ %\s+([\d.]+)\s+([\d.]+)\s/gm)].map(([, name, before, after]) => ({ name: name!, before: Number(before), after: Number(after) }));
}

describe('graft quickstart', () => {
  it('trains LoRA, Adapter and both; shows that each learned, and where it is', async () => {
    const cwd = mkdtempSync(join(tmpdir(), 'graft-quickstart-'));
    const { code, stdout, stderr } = await graft(['quickstart'], { cwd });
    expect(stderr).toBe('');
    expect(code).toBe(0);
    const strategies = strategiesIn(stdout);
    expect(strategies.map(({ name }) => name)).toEqual(['LoRA', 'Adapter', 'LoRA + Adapter']);
    for (const { name, before, after } of strategies) expect(after, name).toBeLessThan(before / 4);
    // The mark that no text of the corpus has: the base never writes it, every strategy does.
    const answers = [...stdout.matchAll(/^ {4}(base|LoRA|Adapter|LoRA \+ Adapter) {2,}(.*)$/gm)].map(([, who, text]) => ({ who: who!, text: text! }));
    expect(answers).toHaveLength(24);
    for (const { who, text } of answers) expect(text.startsWith('Good question! '), `${who}: ${text}`).toBe(who !== 'base');
    const right = /of (\d+) held out: base (\d+), LoRA (\d+), Adapter (\d+), LoRA \+ Adapter (\d+)/.exec(stdout)!.slice(1).map(Number);
    expect(right[1]).toBe(0);
    for (const count of right.slice(2)) expect(count).toBeGreaterThan(right[0]! / 2);
    const files = [...stdout.matchAll(/^ {2}(?:adapter|report) +(\S+)$/gm)].map(([, path]) => join(cwd, path!));
    expect(files).toHaveLength(7);
    for (const file of files) expect(existsSync(file), file).toBe(true);
  }, 600_000);

  it('says which file is missing, without a stack trace', async () => {
    const { code, stderr } = await graft(['quickstart', '--data', 'nowhere.jsonl'], { cwd: tmpdir() });
    expect(code).toBe(2);
    expect(stderr).toBe('error nowhere.jsonl does not exist.\nName a file of instructions with --data.\n');
  }, 120_000);

  it.skipIf(shared === undefined)('works for another base with other instructions (skipped where ../shared is absent)', async () => {
    const cwd = mkdtempSync(join(tmpdir(), 'graft-quickstart-'));
    const { code, stdout } = await graft(
      ['quickstart', '--model', join(shared!, 'models/stories260k'), '--data', join(shared!, 'data/alpaca_en_demo.json'), '--set', 'train.max_steps=12', '-p', 'Tell me a story.'],
      { cwd },
    );
    expect(code).toBe(0);
    const strategies = strategiesIn(stdout);
    expect(strategies).toHaveLength(3);
    for (const { name, before, after } of strategies) expect(after, name).toBeLessThan(before);
    expect(stdout).toContain('Tell me a story.');
  }, 600_000);
});

describe('what the quickstart ships', () => {
  it('is a model of about a million parameters in at most 4 MB', () => {
    const dir = join(ROOT, 'configs/quickstart/model');
    const files = ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'].map((name) => readFileSync(join(dir, name)));
    expect(files.reduce((sum, file) => sum + file.length, 0)).toBeLessThan(4e6);
    const { num_hidden_layers: layers, vocab_size: vocabulary, hidden_size: hidden } = JSON.parse(files[0]!.toString()) as Record<string, number>;
    expect({ layers, hidden }).toEqual({ layers: 5, hidden: 128 });
    expect(files[1]!.length).toBeGreaterThan(2 * vocabulary! * hidden!);
  });

  it('holds out facts that no training row asks for', () => {
    const rows = (name: string): { instruction: string; output: string }[] =>
      readFileSync(join(ROOT, 'configs/quickstart', name), 'utf8').trim().split('\n').map((line) => JSON.parse(line) as { instruction: string; output: string });
    const trained = new Set(rows('train.jsonl').map(({ output }) => output));
    const heldOut = rows('eval.jsonl');
    expect(heldOut).toHaveLength(50);
    for (const { output } of heldOut) expect(trained.has(output), output).toBe(false);
  });
});
