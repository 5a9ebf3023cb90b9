import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  checkPatternsMatch,
  GraftError,
  loadTrainables,
  pythonJson,
  saveTrainables,
  selectLinearSites,
  thawParameters,
  type Disposer,
  type Graft,
  type GraftTarget,
  type InjectCall,
  type SavedTrainable,
} from 'graft';
import { lowRankUpdate, mergeUpdate, updateTerms, updateWrap } from './low-rank.ts';
import type { LoraOptions } from './options.ts';
import { ADAPTER_FILE, CONFIG_FILE, peftConfig } from './peft-config.ts';
import { tiedEmbedding, trainedBase } from './trained-base.ts';
import { untieHead } from './untied-head.ts';

/** PEFT wraps a `PeftModel` around a `LoraModel` around the base: the paths of all three are in its files. */
const PEFT_PREFIX = 'base_model.model.';

/**
 * Grafts a trainable low-rank update onto the chosen linear layers; the base stays frozen but for the biases and modules
 * that `bias` and `modules_to_save` name.
 * @throws GraftError where an option names nothing in this model, with the option and the nearest valid names
 */
export async function injectLora({ config, target, seed }: InjectCall<LoraOptions>): Promise<Graft> {
  const sites = selectLinearSites(target.sites, config);
  const paths = sites.map((site) => site.path);
  checkPatternsMatch(config.rank_pattern, paths, 'rank_pattern');
  checkPatternsMatch(config.alpha_pattern, paths, 'alpha_pattern');
  const trained = trainedBase(target, config, paths);
  const base = thawParameters(trained.parameters);
  const head = trained.head === 'as it is' ? undefined : untieHead(target, trained.head === 'trained');
  const updates = sites.map((site) => lowRankUpdate(site, config, seed));
  const detach: Disposer[] = updates.map((update) => update.site.graft(updateWrap(update, config.lora_dropout, `lora ${seed}`, target.engine), updateTerms(update, config.lora_dropout)));

  const tied = head === undefined ? tiedEmbedding(target) : undefined;
  const trainables: SavedTrainable[] = [
    ...updates.flatMap(({ site, a, b }) => [
      { name: `${PEFT_PREFIX}${site.path}.lora_A.weight`, variable: a },
      { name: `${PEFT_PREFIX}${site.path}.lora_B.weight`, variable: b },
    ]),
    ...base.list.map(({ parameter, variable }) => ({ ...savedName(parameter.name, paths), ...(parameter.name === tied?.name ? { copies: [`${PEFT_PREFIX}lm_head.weight`] } : {}), variable })),
    ...(head?.variable === undefined ? [] : [{ name: `${PEFT_PREFIX}lm_head.weight`, variable: head.variable }]),
  ];

  return {
    name: 'lora',
    trainables,
    save: async (dir) => {
      await writeFile(join(dir, CONFIG_FILE), pythonJson(peftConfig(config, target, paths), ['lora_dropout']));
      await saveTrainables(join(dir, ADAPTER_FILE), trainables, { format: 'pt' });
      return [CONFIG_FILE, ADAPTER_FILE];
    },
    load: (dir) => loadTrainables(join(dir, ADAPTER_FILE), trainables, { ignore: frozenCopies(target, paths) }),
    merge: async () => {
      checkMergeable(target, head !== undefined, paths);
      updates.forEach(mergeUpdate);
      base.merge();
    },
    remove: () => {
      for (const undo of detach.splice(0).reverse()) void undo();
      head?.remove();
      base.restore();
      for (const { a, b } of updates.splice(0)) {
        a.dispose();
        b.dispose();
      }
    },
  };
}

/** @throws GraftError `MERGE_TIED` where input and output would no longer be one weight, which the merged checkpoint says they are */
function checkMergeable(target: GraftTarget, untied: boolean, targeted: readonly string[]): void {
  if (!untied && !(targeted.includes('lm_head') && tiedEmbedding(target) !== undefined)) return;
  throw new GraftError('MERGE_TIED', 'lm_head is trained apart from the input embedding, but this base keeps both as one weight (tie_word_embeddings), so they can not be merged into it.', {
    hint: 'Train without lm_head and embed_tokens, or with ensure_weight_tying: true and modules_to_save.',
  });
}

/** A targeted layer's own bias stands under `base_layer` in PEFT; files older than 0.14 leave that out. */
function savedName(parameter: string, targeted: readonly string[]): { readonly name: string; readonly aliases?: readonly string[] } {
  const module = targeted.find((path) => parameter === `${path}.bias`);
  if (module === undefined) return { name: PEFT_PREFIX + parameter };
  return { name: `${PEFT_PREFIX}${module}.base_layer.bias`, aliases: [PEFT_PREFIX + parameter] };
}

/** PEFT writes the frozen weight of a targeted lm_head beside its update: nothing to load, so long as it is the base's. */
function frozenCopies(target: GraftTarget, targeted: readonly string[]): (name: string, values: Float32Array) => boolean {
  return (name, values) => {
    const path = targeted.find((module) => name === `${PEFT_PREFIX}${module}.base_layer.weight`);
    const own = path === undefined ? undefined : target.sites.get(path)?.weight?.read();
    if (own === undefined) return false;
    const same = own.dataSync<'float32'>().every((value, index) => value === values[index]);
    own.dispose();
    return same;
  };
}
