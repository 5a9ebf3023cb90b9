import { definePlugin, planTraining, runTraining, type Objective, type TrainCall } from 'graft';
import { dpo } from './dpo.ts';
import { checkDpoOptions, dpoOptions, type DpoOptions } from './options.ts';

export default definePlugin({
  stage: 'train',
  config: dpoOptions,
  setup: () => ({
    plan: (call) => planTraining(call, objectiveOf(call)),
    train: (call) => runTraining(call, objectiveOf(call)),
  }),
});

function objectiveOf({ model, config }: Pick<TrainCall<DpoOptions>, 'model' | 'config'>): Objective {
  checkDpoOptions(config);
  return dpo(model, config);
}
