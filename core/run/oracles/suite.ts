/** All oracles of a folder, in its layout: peft/, adapterhub/, peft/merge/, stories260k/. */
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { GraftError } from '../../kernel/errors.ts';
import { openBase, type OracleBase } from './base.ts';
import { checkMethod } from './method.ts';
import { checkMixedBatch } from './mixed-batch.ts';
import { TOLERANCE, type OracleHost, type OracleResult } from './port.ts';
import { largestDifference, logitsOf, meanLossValue, referenceLogits } from './rows.ts';
import { checkStories } from './stories.ts';
import type { CausalLM } from '../../contracts/index.ts';

/**
 * Runs every oracle in a folder and yields each result as it is there.
 * @param modelDir of stories260k
 * @throws GraftError `ORACLES_EMPTY` where the folder holds none
 */
export async function* runOracles(dir: string, modelDir: string, host: OracleHost): AsyncGenerator<OracleResult> {
  const base = await openBase(dir, host);
  const stories = join(dir, 'stories260k');
  if (base === undefined && !existsSync(stories)) {
    throw new GraftError('ORACLES_EMPTY', `${dir} holds no oracles: neither peft/base_io.json nor stories260k/.`, { hint: 'Give the folder that has peft/ and adapterhub/ in it.' });
  }
  if (base !== undefined) yield* runOnBase(dir, base, host);
  if (existsSync(stories)) yield* checkStories(stories, modelDir, host);
}

async function* runOnBase(dir: string, base: OracleBase, host: OracleHost): AsyncGenerator<OracleResult> {
  const model = await base.load();
  try {
    yield checkBase(base, model);
    for (const peer of ['peft', 'adapterhub']) {
      for (const folder of await foldersOf(join(dir, peer))) {
        const method = join(peer, folder);
        if (existsSync(join(dir, method, 'init'))) yield await checkMethod(method, join(dir, method), base, model, host);
        else yield* checkCompositions(method, join(dir, method), base, model, host);
      }
    }
  } finally {
    model.dispose();
  }
}

function checkBase(base: OracleBase, model: CausalLM): OracleResult {
  const { base_logits: logits, base_loss: loss } = base.expected;
  return {
    method: 'peft/base',
    state: 'checked',
    checks: [
      { name: 'logits', difference: largestDifference(logitsOf(model, base.batch, {}), referenceLogits(logits, base.rows)), tolerance: TOLERANCE.logits },
      { name: 'loss', difference: Math.abs(meanLossValue(model, base.batch, {}) - loss), tolerance: TOLERANCE.loss },
    ],
  };
}

/** A folder of several adapters and what becomes of them together. */
async function* checkCompositions(method: string, dir: string, base: OracleBase, model: CausalLM, host: OracleHost): AsyncGenerator<OracleResult> {
  for (const file of (await readdir(dir)).filter((name) => name.endsWith('.json')).sort()) {
    const name = join(method, basename(file, '.json'));
    if (file === 'mixed_batch.json') yield await checkMixedBatch(name, join(dir, file), dir, base, model, host);
    else yield { method: name, state: 'unknown', reason: 'no plugin composes adapters in this way' };
  }
}

async function foldersOf(dir: string): Promise<readonly string[]> {
  if (!existsSync(dir)) return [];
  const entries = await readdir(dir, { withFileTypes: true });
  return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name).sort();
}
