import { didYouMean, GraftError, type GraftableParameter, type GraftTarget } from 'graft';
import type { LoraOptions } from './options.ts';

/** The parameters of the base that `bias` and `modules_to_save` have trained in full, in the model's order. */
export function trainedBaseParameters(target: GraftTarget, options: Pick<LoraOptions, 'bias' | 'modules_to_save'>, targeted: readonly string[]): readonly GraftableParameter[] {
  const chosen = new Set([...biases(target, options.bias, targeted), ...savedModules(target, options.modules_to_save ?? [])]);
  return [...target.parameters.values()].filter((parameter) => chosen.has(parameter));
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
function savedModules(target: GraftTarget, names: readonly string[]): readonly GraftableParameter[] {
  const parameters = [...target.parameters.values()];
  return names.flatMap((name, index) => {
    const found = parameters.filter((parameter) => modulesOf(parameter.name).some((module) => module.endsWith(name)));
    if (found.length > 0) return found;
    const tied = name.endsWith('lm_head') && target.config.tie_word_embeddings;
    throw new GraftError(
      'MODULES_TO_SAVE_NO_MATCH',
      tied
        ? `modules_to_save: "${name}" has no weight of its own in this model: it shares that of the input embedding (tie_word_embeddings).`
        : `modules_to_save: "${name}" matches no module of this model.${didYouMean(name, [...new Set(parameters.map((parameter) => modulesOf(parameter.name).at(-1)!))])}`,
      { option: ['modules_to_save', index], hint: tied ? 'Save embed_tokens, which trains both.' : undefined },
    );
  });
}

/** `model.norm.weight` -> `model`, `model.norm`. */
function modulesOf(parameter: string): readonly string[] {
  const segments = parameter.split('.').slice(0, -1);
  return segments.map((_, index) => segments.slice(0, index + 1).join('.'));
}
