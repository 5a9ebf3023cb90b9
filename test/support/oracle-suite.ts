/** The reference implementations' numbers, held against ours on whatever engine the tests run. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { failed, type OracleResult } from '../../core/run/oracles/port.ts';
import { runOracles } from '../../core/run/oracles/suite.ts';
import { ORACLES, strategyHost } from './strategies.ts';

export const STORIES = join(ORACLES, '../../../shared/models/stories260k');

const KNOWN = [
  'peft/base',
  'peft/lora',
  'peft/lora_mts',
  'peft/lora_patterns',
  'peft/rslora',
  'peft/merge/mixed_batch',
  'adapterhub/double_seq_bn',
  'adapterhub/par_bn',
  'adapterhub/scaled_par_bn',
  'adapterhub/seq_bn',
  'adapterhub/union_seq_bn_lora',
];

/** @param engine is part of the name */
export function describeOracles(engine: string): void {
  describe(`the reference implementations, on engine ${engine},`, async () => {
    const host = await strategyHost();
    const results = new Map<string, OracleResult>();
    for await (const result of runOracles(ORACLES, STORIES, host)) results.set(result.method, result);

    it('are held against the engine that is meant', () => expect(host.call.engine.info.name).toBe(engine));

    it.each(KNOWN)('compute what we do: %s', (method) => {
      const result = results.get(method);
      expect(result).toMatchObject({ state: 'checked' });
      expect(failed(result!), JSON.stringify(result)).toBe(false);
    });

    it.each(['biased', 'tied'])('compute what we do on a base of another shape: %s', async (shape) => {
      const others: OracleResult[] = [];
      for await (const result of runOracles(join(ORACLES, 'other_shapes', shape), STORIES, host)) others.push(result);
      expect(others.length).toBeGreaterThan(7);
      expect(others.filter(({ state }) => state !== 'checked')).toEqual([]);
      expect(others.filter(failed)).toEqual([]);
    });

    it('are followed through ten steps of AdamW, and in the names and shapes of what is saved', () => {
      for (const method of KNOWN.filter((name) => name !== 'peft/base' && !name.includes('merge/'))) {
        const result = results.get(method)!;
        expect(result.state === 'checked' && result.checks.map(({ name }) => name), method).toEqual(expect.arrayContaining(['logits', 'loss', 'losses', 'after 10', 'trainable']));
      }
    });

    it('merge a LoRA into the same weights', () => {
      const result = results.get('peft/lora')!;
      expect(result.state === 'checked' && result.checks.map(({ name }) => name)).toEqual(expect.arrayContaining(['merged weights', 'merged logits']));
    });

    it('have methods that no plugin claims: these are listed with the reason, and are no failure', () => {
      const unknown = [...results.values()].filter(({ state }) => state === 'unknown');
      for (const result of unknown) expect(result).toMatchObject({ reason: expect.stringMatching(/\.$|no plugin/) });
      expect(unknown.some(failed)).toBe(false);
    });

    describe.skipIf(!existsSync(STORIES))('on real weights (../shared/models/stories260k)', () => {
      it.each(['stories260k/greedy', 'stories260k/lora_sft'])('compute what we do: %s', (method) => {
        const result = results.get(method);
        expect(result).toMatchObject({ state: 'checked' });
        expect(failed(result!), JSON.stringify(result)).toBe(false);
      });
    });
  });
}
