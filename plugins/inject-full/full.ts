import { didYouMean, GraftError, thawParameters, type Graft, type GraftableParameter, type InjectCall, type SavedTrainable } from 'graft';
import { loadFull, saveFull } from './files.ts';
import { namePattern } from './name-pattern.ts';
import type { FullOptions } from './options.ts';

/**
 * Trains the base's own weights, or those named: fine-tuning as it was before adapters, and pretraining.
 * Other stacks on the same model keep the base as it is.
 * @throws GraftError `PARAMETERS_NO_MATCH` where a name matches nothing
 */
export async function injectFull({ config, target }: InjectCall<FullOptions>): Promise<Graft> {
  const chosen = chooseParameters([...target.parameters.values()], config);
  const thawed = thawParameters(chosen);
  const trainables = thawed.list.map(({ parameter, variable }): SavedTrainable => ({ name: parameter.name, variable }));
  return {
    name: 'full',
    trainables,
    save: (dir) => saveFull(dir, trainables, target.baseModel),
    load: (dir) => loadFull(dir, trainables),
    merge: async () => thawed.merge(),
    remove: () => thawed.restore(),
  };
}

function chooseParameters(parameters: readonly GraftableParameter[], { parameters: wanted, exclude }: FullOptions): readonly GraftableParameter[] {
  const tests = (patterns: readonly string[], option: string): readonly ((name: string) => boolean)[] =>
    patterns.map((pattern, index) => {
      const test = namePattern(pattern, [option, index]);
      if (parameters.some((parameter) => test(parameter.name))) return test;
      throw new GraftError('PARAMETERS_NO_MATCH', `${option}: "${pattern}" matches no parameter of this model.${didYouMean(pattern, parameters.map((parameter) => parameter.name))}`, {
        option: [option, index],
        hint: `Parameters have names such as ${parameters[0]?.name ?? 'model.norm.weight'}.`,
      });
    });
  const included = wanted === 'all' ? [() => true] : tests(wanted, 'parameters');
  const excluded = tests(exclude, 'exclude');
  const chosen = parameters.filter(({ name }) => included.some((test) => test(name)) && !excluded.some((test) => test(name)));
  if (chosen.length > 0) return chosen;
  throw new GraftError('PARAMETERS_NO_MATCH', 'exclude leaves no parameter to train.', { option: ['exclude'] });
}
