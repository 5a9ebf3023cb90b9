import { cp, mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { OracleResult } from '../../core/run/oracles/port.ts';
import { failed } from '../../core/run/oracles/port.ts';
import { renderResult } from '../../core/run/oracles/report.ts';
import { runOracles } from '../../core/run/oracles/suite.ts';
import { readTensors, writeTensors } from '../../core/tensor/named-tensors.ts';
import { graft } from '../support/graft.ts';
import { describeOracles, STORIES } from '../support/oracle-suite.ts';
import { ORACLES, strategyHost } from '../support/strategies.ts';

describe('a folder of oracles', async () => {
  const host = await strategyHost();
  const run = async (dir: string): Promise<OracleResult[]> => {
    const results: OracleResult[] = [];
    for await (const result of runOracles(dir, STORIES, host)) results.push(result);
    return results;
  };

  /** A copy of the base with one method. */
  async function folderWith(method: string, name: string, edit: (config: Record<string, unknown>) => void): Promise<string> {
    const dir = await mkdtemp(join(tmpdir(), 'graft-oracles-test-'));
    await mkdir(join(dir, 'peft'));
    for (const file of ['base.safetensors', 'base_config.json', 'base_io.json']) await cp(join(ORACLES, 'peft', file), join(dir, 'peft', file));
    await cp(join(ORACLES, method), join(dir, 'peft', name), { recursive: true });
    const path = join(dir, 'peft', name, 'init', 'adapter_config.json');
    const config = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
    edit(config);
    await writeFile(path, JSON.stringify(config));
    return dir;
  }

  it('is recognized by its config, whatever its name', async () => {
    const dir = await folderWith('peft/lora', 'seq_bn', () => {});
    expect((await run(dir)).map((result) => [result.method, failed(result)])).toEqual([
      ['peft/base', false],
      ['peft/seq_bn', false],
    ]);
  });

  it('fails where a number differs', async () => {
    const dir = await folderWith('peft/lora', 'lora', (config) => (config['lora_alpha'] = 9));
    const [, lora] = await run(dir);
    expect(failed(lora!)).toBe(true);
    expect(renderResult(lora!)).toMatch(/^FAILED {2}peft\/lora +logits \S+ \(> 0\.00002\) /);
  });

  it('ends the command with 1 where a number differs, and with 0 where none does', async () => {
    const wrong = await graft(tmpdir(), ['oracles', await folderWith('peft/rslora', 'rslora', (config) => (config['use_rslora'] = false)), '--engine', 'portable']);
    expect(wrong).toMatchObject({ code: 1, stderr: '', stdout: expect.stringMatching(/1 agree, 1 do not, 0 not known yet, 0 skipped$/) });
    const right = await graft(tmpdir(), ['oracles', await folderWith('peft/rslora', 'rslora', () => {}), '--engine', 'portable', '--json']);
    expect(right).toMatchObject({ code: 0, stderr: '' });
    expect(right.stdout.split('\n').map((line) => (JSON.parse(line) as OracleResult).method)).toEqual(['peft/base', 'peft/rslora']);
  });

  it('lists a method that no plugin knows', async () => {
    const dir = await folderWith('peft/lora', 'made_up', (config) => (config['peft_type'] = 'MADE_UP'));
    const [, unknown] = await run(dir);
    expect(unknown).toEqual({ method: 'peft/made_up', state: 'unknown', reason: `no inject plugin knows what ${join(dir, 'peft', 'made_up', 'init')} holds.` });
    expect(renderResult(unknown!)).toMatch(/^unknown peft\/made_up +no inject plugin knows/);
  });

  it('fails where a method that is known is broken', async () => {
    const dir = await folderWith('peft/lora', 'lora', () => {});
    const weights = join(dir, 'peft', 'lora', 'init', 'adapter_model.safetensors');
    await writeFile(weights, (await readFile(weights)).subarray(0, 5000));
    const [, lora] = await run(dir);
    expect(lora).toMatchObject({ state: 'broken', reason: expect.stringContaining(weights) });
    expect(failed(lora!)).toBe(true);
  });

  it('fails where a tensor that ten steps trained is not the one saved under its name', async () => {
    const dir = await folderWith('peft/lora', 'lora', () => {});
    const path = join(dir, 'peft', 'lora', 'after10', 'adapter_model.safetensors');
    const tensors = new Map(await readTensors(path));
    const [first, second] = [...tensors.keys()].filter((name) => name.endsWith('q_proj.lora_A.weight')) as [string, string];
    await writeTensors(path, new Map([...tensors, [first, tensors.get(second)!], [second, tensors.get(first)!]]));
    const [, lora] = await run(dir);
    const check = lora!.state === 'checked' ? lora!.checks.find(({ name }) => name === 'after 10') : undefined;
    expect(check!.difference).toBeGreaterThan(0.05);
    expect(failed(lora!)).toBe(true);
  });

  it('may list a tied output layer among the merged weights, as PyTorch does', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'graft-oracles-test-'));
    await cp(join(ORACLES, 'other_shapes/tied'), dir, { recursive: true });
    const path = join(dir, 'peft', 'all_linear', 'merged_after10.safetensors');
    const tensors = await readTensors(path);
    await writeTensors(path, new Map([...tensors, ['lm_head.weight', tensors.get('model.embed_tokens.weight')!]]));
    const merged = (await run(dir)).find(({ method }) => method === 'peft/all_linear')!;
    expect(merged.state === 'checked' && merged.checks.map(({ name }) => name)).toContain('merged weights');
    expect(failed(merged), JSON.stringify(merged)).toBe(false);
  });

  it('must hold oracles', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'graft-oracles-test-'));
    await expect(run(dir)).rejects.toThrow(`${dir} holds no oracles: neither peft/base_io.json nor stories260k/.`);
  });
});

describeOracles('portable');
