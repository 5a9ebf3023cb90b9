import { definePlugin } from 'graft';
import { injectLora } from './lora.ts';
import { LoraOptions } from './options.ts';
import { recognizeLora } from './peft-config.ts';

export default definePlugin({
  stage: 'inject',
  config: LoraOptions,
  setup: () => ({ inject: injectLora, recognize: recognizeLora, options: LoraOptions }),
});
