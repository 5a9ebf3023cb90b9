import { definePlugin } from 'graft';
import { loadLlama, loadLlamaTokenizer } from './load.ts';
import { LlamaOptions } from './options.ts';

export default definePlugin({
  stage: 'load',
  config: LlamaOptions,
  setup: () => ({ load: loadLlama, loadTokenizer: loadLlamaTokenizer }),
});
