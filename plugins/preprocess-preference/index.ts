import { definePlugin } from 'graft';
import { PreferenceOptions } from './options.ts';
import { preprocessPreference } from './preprocess.ts';

export default definePlugin({
  stage: 'preprocess',
  config: PreferenceOptions,
  setup: ({ generation }) => ({ preprocess: (call) => preprocessPreference(call, generation.hash) }),
});
