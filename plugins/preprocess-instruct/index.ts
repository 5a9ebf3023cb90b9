import { definePlugin } from 'graft';
import { InstructOptions } from './options.ts';
import { preprocessInstruct } from './preprocess.ts';

export default definePlugin({
  stage: 'preprocess',
  config: InstructOptions,
  setup: ({ generation }) => ({ preprocess: (call) => preprocessInstruct(call, generation.hash) }),
});
