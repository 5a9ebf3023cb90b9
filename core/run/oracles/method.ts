import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CausalLM, Graft, GraftableParameter } from '../../contracts/index.ts';
import { GraftError, reasonOf } from '../../kernel/errors.ts';
import { readJsonFile } from '../../tensor/json-file.ts';
import { readTensors } from '../../tensor/named-tensors.ts';
import { graftFromFolder, recognizeFolder, type Recognized } from '../recognize.ts';
import type { OracleBase } from './base.ts';
import { TOLERANCE, type Check, type OracleHost, type OracleResult } from './port.ts';
import { largestDifference, logitsOf, meanLossValue, referenceLogits } from './rows.ts';
import { METHOD_OPTIMIZER, trainSteps } from './train.ts';

/** A method's `io.json`. */
interface MethodIo {
  readonly logits: number[][][];
  readonly loss: number;
  readonly n_trainable?: number;
  readonly grad_norm?: number;
  readonly adamw_losses?: number[];
}

/** Holds one method's folder against the reference. Never throws: a failure is a result too. */
export async function checkMethod(method: string, dir: string, base: OracleBase, model: CausalLM, host: OracleHost): Promise<OracleResult> {
  const init = join(dir, 'init');
  let recognized: Recognized;
  try {
    recognized = await recognizeFolder(init, host.injectPlugins);
  } catch (error) {
    return { method, state: GraftError.is(error) && error.code === 'ADAPTER_UNKNOWN' ? 'unknown' : 'broken', reason: reasonOf(error) };
  }
  try {
    const io = (await readJsonFile(join(dir, 'io.json'))) as unknown as MethodIo | undefined;
    if (io === undefined) return { method, state: 'skipped', reason: 'it has no io.json' };
    const checks = await checkTraining(method, dir, io, recognized, base, model, host);
    return { method, state: 'checked', checks: [...checks, ...(await checkMerged(dir, recognized, base, host))] };
  } catch (error) {
    return { method, state: 'broken', reason: `${GraftError.is(error) ? `${error.code}: ` : ''}${reasonOf(error)}` };
  }
}

async function checkTraining(method: string, dir: string, io: MethodIo, recognized: Recognized, base: OracleBase, model: CausalLM, host: OracleHost): Promise<readonly Check[]> {
  const stack = `oracle ${method}`;
  const graft = await graftFromFolder(join(dir, 'init'), recognized, model, stack, host.call);
  try {
    const checks: Check[] = [
      { name: 'logits', difference: largestDifference(logitsOf(model, base.batch, { stack }), referenceLogits(io.logits, base.rows)), tolerance: TOLERANCE.logits },
      { name: 'loss', difference: Math.abs(meanLossValue(model, base.batch, { stack }) - io.loss), tolerance: TOLERANCE.loss },
    ];
    if (io.adamw_losses !== undefined) {
      const batches = io.adamw_losses.map(() => base.batch);
      const { losses, firstNorm } = trainSteps(model, stack, graft.trainables, batches, METHOD_OPTIMIZER);
      checks.push({ name: 'losses', difference: largestDifference(losses, io.adamw_losses), tolerance: TOLERANCE.losses });
      if (io.grad_norm !== undefined) checks.push({ name: 'grad norm', difference: Math.abs(firstNorm - io.grad_norm), tolerance: 1e-5 * Math.max(1, io.grad_norm) });
      if (existsSync(join(dir, 'after10'))) checks.push({ name: 'after 10', difference: await savedDifference(graft, join(dir, 'after10')), tolerance: TOLERANCE.tensors });
    }
    if (io.n_trainable !== undefined) {
      const trainable = graft.trainables.reduce((sum, { variable }) => sum + variable.size, 0);
      checks.push({ name: 'trainable', difference: Math.abs(trainable - io.n_trainable), tolerance: 0 });
    }
    return checks;
  } finally {
    graft.remove();
  }
}

/** PEFT writes a targeted lm_head's frozen weight beside its update; it is no part of the adapter. */
const FROZEN_COPY = '.base_layer.weight';

/**
 * Saves the graft and holds the file against the peer's: the root mean square of the tensor that differs most, infinite
 * where a name or a shape differs. Not the largest element's: where a gradient is nearly zero, Adam makes a whole step of
 * its rounding, and PyTorch's own float32 is then 7e-4 from its float64.
 */
async function savedDifference(graft: Graft, reference: string): Promise<number> {
  const ours = await mkdtemp(join(tmpdir(), 'graft-oracle-'));
  try {
    await graft.save(ours);
    let largest = 0;
    for (const file of (await readdir(reference)).filter((name) => name.endsWith('.safetensors'))) {
      const saved = await readTensors(join(ours, file));
      const theirs = new Map([...(await readTensors(join(reference, file)))].filter(([name]) => !name.endsWith(FROZEN_COPY)));
      if (theirs.size !== saved.size) return Number.POSITIVE_INFINITY;
      for (const [name, { shape, values }] of theirs) {
        const own = saved.get(name);
        if (own === undefined || own.shape.join() !== shape.join()) return Number.POSITIVE_INFINITY;
        largest = Math.max(largest, meanDifference(own.values, values));
      }
    }
    return largest;
  } finally {
    await rm(ours, { recursive: true, force: true });
  }
}

/** Root mean square; NaN counts as infinite. */
function meanDifference(a: Float32Array, b: Float32Array): number {
  const mean = Math.sqrt(a.reduce((sum, value, at) => sum + (value - b[at]!) ** 2, 0) / Math.max(1, a.length));
  return Number.isNaN(mean) ? Number.POSITIVE_INFINITY : mean;
}

/** A tied output layer's weight is the embedding: PyTorch lists it under both names. */
function weightOf(model: CausalLM, name: string): Pick<GraftableParameter, 'read'> | undefined {
  return model.parameters.get(name) ?? model.target('merged').sites.get(name.replace(/\.weight$/, ''))?.weight;
}

/** Merges `after10` into a base of its own: the weights must be the peer's, and the logits those before the merge. */
async function checkMerged(dir: string, recognized: Recognized, base: OracleBase, host: OracleHost): Promise<readonly Check[]> {
  const merged = join(dir, 'merged_after10.safetensors');
  if (!existsSync(merged)) return [];
  const model = await base.load();
  try {
    const graft = await graftFromFolder(join(dir, 'after10'), recognized, model, 'merged', host.call);
    const before = logitsOf(model, base.batch, { stack: 'merged' });
    if (graft.merge === undefined) throw new GraftError('MERGE_UNSUPPORTED', `${recognized.plugin.name} can't merge, but the peer did.`);
    await graft.merge();
    graft.remove();
    const after = logitsOf(model, base.batch, {});
    let weights = 0;
    for (const [name, { values }] of await readTensors(merged)) {
      const own = weightOf(model, name)?.read();
      weights = Math.max(weights, own === undefined ? Number.POSITIVE_INFINITY : largestDifference(own.dataSync(), values));
      own?.dispose();
    }
    return [
      { name: 'merged weights', difference: weights, tolerance: TOLERANCE.logits },
      { name: 'merged logits', difference: largestDifference(before, after), tolerance: TOLERANCE.logits },
    ];
  } finally {
    model.dispose();
  }
}
