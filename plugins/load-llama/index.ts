import { definePlugin } from 'graft';
import { loadLlama, loadLlamaTokenizer } from './load.ts';
import { LlamaOptions } from './options.ts';

export default definePlugin({
  stage: 'load',
  config: LlamaOptions,
  setup: ({ generation }) => ({ load: (call) => loadLlama(call, generation.hash), loadTokenizer: (call) => loadLlamaTokenizer(call, generation.hash) }),
});
