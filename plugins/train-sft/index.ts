import { definePlugin, planTraining, runTraining } from 'graft';
import { sft, sftOptions } from './sft.ts';

export default definePlugin({
  stage: 'train',
  config: sftOptions,
  setup: () => ({
    plan: (call) => planTraining(call, sft(call.model)),
    train: (call) => runTraining(call, sft(call.model)),
  }),
});
