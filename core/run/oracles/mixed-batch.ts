import { join } from 'node:path';
import type { CausalLM, Graft } from '../../contracts/index.ts';
import { reasonOf } from '../../kernel/errors.ts';
import { readJsonFile } from '../../tensor/json-file.ts';
import { graftFromFolder, recognizeFolder } from '../recognize.ts';
import type { OracleBase } from './base.ts';
import { TOLERANCE, type OracleHost, type OracleResult } from './port.ts';
import { largestDifference, logitsOf, referenceLogits } from './rows.ts';

/** `mixed_batch.json`: each row of one batch through an adapter of its own, saved in the folder of that name beside it. */
export async function checkMixedBatch(method: string, file: string, dir: string, base: OracleBase, model: CausalLM, host: OracleHost): Promise<OracleResult> {
  const grafts: Graft[] = [];
  try {
    const io = (await readJsonFile(file)) as { adapter_names: string[]; logits: number[][][] };
    for (const name of new Set(io.adapter_names)) {
      const folder = join(dir, name);
      grafts.push(await graftFromFolder(folder, await recognizeFolder(folder, host.injectPlugins), model, `oracle mixed ${name}`, host.call));
    }
    const ours = logitsOf(model, base.batch, { stack: io.adapter_names.map((name) => `oracle mixed ${name}`) });
    return { method, state: 'checked', checks: [{ name: 'logits', difference: largestDifference(ours, referenceLogits(io.logits, base.rows)), tolerance: TOLERANCE.logits }] };
  } catch (error) {
    return { method, state: 'broken', reason: reasonOf(error) };
  } finally {
    for (const graft of grafts.reverse()) graft.remove();
  }
}
