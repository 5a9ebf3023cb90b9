import { didYouMean, GraftError, type GraftableParameter, type GraftTarget } from 'graft';
import type { LoraOptions } from './options.ts';

/** The parameters of the base that `bias` and `modules_to_save` have trained in full, in the model's order. */
export function trainedBaseParameters(target: GraftTarget, options: Pick<LoraOptions, 'bias' | 'modules_to_save' | 'ensure_weight_tying'>, targeted: readonly string[]): readonly GraftableParameter[] {
  const chosen = new Set([...biases(target, options.bias, targeted), ...savedModules(target, options)].map(({ name }) => name));
  return [...target.parameters.values()].filter(({ name }) => chosen.has(name));
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

/** As PEFT: every module whose path ends in one of the names, with all that is in it; `norm` means input_layernorm too. */
function savedModules(target: GraftTarget, { modules_to_save: names = [], ensure_weight_tying: tie }: Pick<LoraOptions, 'modules_to_save' | 'ensure_weight_tying'>): readonly GraftableParameter[] {
  const parameters = [...target.parameters.values()];
  return names.flatMap((name, index) => {
    const found = parameters.filter((parameter) => modulesOf(parameter.name).some((module) => module.endsWith(name)));
    const tied = tiedEmbedding(target);
    const isEmbedding = tied !== undefined && found.some((parameter) => parameter.name === tied.name);
    if (tied !== undefined && (isEmbedding || LM_HEAD.endsWith(name))) {
      if (tie) return [...found, tied];
      throw new GraftError('WEIGHTS_TIED', `modules_to_save: "${name}" is one weight in this model with ${isEmbedding ? LM_HEAD : tied.name} (tie_word_embeddings).`, {
        option: ['modules_to_save', index],
        hint: 'Set ensure_weight_tying: true to train both as one.',
      });
    }
    if (found.length > 0) return found;
    const modules = parameters.map((parameter) => modulesOf(parameter.name).at(-1)!);
    throw new GraftError('MODULES_TO_SAVE_NO_MATCH', `modules_to_save: "${name}" matches no module of this model.${didYouMean(name, modules)}`, { option: ['modules_to_save', index] });
  });
}

const LM_HEAD = 'lm_head';

/** The input embedding, where it is the output's weight too. */
export function tiedEmbedding({ config, parameters }: GraftTarget): GraftableParameter | undefined {
  if (!config.tie_word_embeddings || parameters.has(`${LM_HEAD}.weight`)) return undefined;
  return [...parameters.values()].find((parameter) => parameter.name.endsWith('embed_tokens.weight'));
}

/** `model.norm.weight` -> `model`, `model.norm`. */
function modulesOf(parameter: string): readonly string[] {
  const segments = parameter.split('.').slice(0, -1);
  return segments.map((_, index) => segments.slice(0, index + 1).join('.'));
}
