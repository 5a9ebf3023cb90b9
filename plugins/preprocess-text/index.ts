import { definePlugin } from 'graft';
import { TextOptions } from './options.ts';
import { preprocessText } from './preprocess.ts';

export default definePlugin({
  stage: 'preprocess',
  config: TextOptions,
  setup: ({ generation }) => ({ preprocess: (call) => preprocessText(call, generation.hash) }),
});
