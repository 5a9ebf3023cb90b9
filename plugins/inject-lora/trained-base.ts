import { didYouMean, GraftError, type GraftableParameter, type GraftTarget } from 'graft';
import type { LoraOptions } from './options.ts';

const HEAD = 'lm_head';

/** What of the base is trained in full. */
export interface TrainedBase {
  /** In the model's order. */
  readonly parameters: readonly GraftableParameter[];
  /**
   * What becomes of a tie between input embedding and lm_head: it stays (or there is none), or it ends and the output's
   * weight is trained on its own, or is left what it was.
   */
  readonly head: 'as it is' | 'trained' | 'left';
}

/**
 * The parameters of the base that `bias` and `modules_to_save` have trained in full.
 * @throws GraftError `BIAS_NO_MATCH` or `MODULES_TO_SAVE_NO_MATCH`
 */
export function trainedBase(target: GraftTarget, options: LoraOptions, targeted: readonly string[]): TrainedBase {
  const names = options.modules_to_save ?? [];
  const embedding = tiedEmbedding(target);
  const chosen = new Set([...biases(target, options.bias, targeted), ...names.flatMap((name, index) => savedModule(target, name, index))].map(({ name }) => name));
  const headIsNamed = names.some((name) => HEAD.endsWith(name));
  if (embedding !== undefined && headIsNamed && options.ensure_weight_tying) chosen.add(embedding.name);
  const parameters = [...target.parameters.values()].filter(({ name }) => chosen.has(name));
  if (embedding === undefined || options.ensure_weight_tying) return { parameters, head: 'as it is' };
  return { parameters, head: headIsNamed ? 'trained' : chosen.has(embedding.name) ? 'left' : 'as it is' };
}

/** The input embedding, where it is the output's weight too. */
export function tiedEmbedding({ config, parameters, sites }: GraftTarget): GraftableParameter | undefined {
  return config.tie_word_embeddings ? parameters.get(sites.get(HEAD)?.weight?.name ?? '') : undefined;
}

function biases(target: GraftTarget, bias: LoraOptions['bias'], targeted: readonly string[]): readonly GraftableParameter[] {
  if (bias === 'none') return [];
  const all = [...target.parameters.values()].filter((parameter) => parameter.name.endsWith('.bias'));
  const chosen = bias === 'all' ? all : all.filter((parameter) => targeted.includes(parameter.name.slice(0, -'.bias'.length)));
  if (chosen.length === 0) {
    throw new GraftError('BIAS_NO_MATCH', `bias: ${bias} asks to train biases, but ${bias === 'all' ? 'this model has none' : 'none of the targeted modules has one'}.`, {
      option: ['bias'],
      hint: 'Use bias: none.',
    });
  }
  return chosen;
}

/** As PEFT: every module whose path ends in the name, with all that is in it; `norm` means input_layernorm too. */
function savedModule(target: GraftTarget, name: string, index: number): readonly GraftableParameter[] {
  const parameters = [...target.parameters.values()];
  const found = parameters.filter((parameter) => modulesOf(parameter.name).some((module) => module.endsWith(name)));
  if (found.length > 0 || (HEAD.endsWith(name) && target.sites.has(HEAD))) return found;
  const modules = parameters.map((parameter) => modulesOf(parameter.name).at(-1)!);
  throw new GraftError('MODULES_TO_SAVE_NO_MATCH', `modules_to_save: "${name}" matches no module of this model.${didYouMean(name, modules)}`, { option: ['modules_to_save', index] });
}

/** `model.norm.weight` -> `model`, `model.norm`. */
function modulesOf(parameter: string): readonly string[] {
  const segments = parameter.split('.').slice(0, -1);
  return segments.map((_, index) => segments.slice(0, index + 1).join('.'));
}
