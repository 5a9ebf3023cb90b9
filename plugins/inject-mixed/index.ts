import { definePlugin, token, type InjectHook } from 'graft';
import { Mixed } from './mixed.ts';
import { MixedOptions } from './options.ts';

export default definePlugin({
  stage: 'inject',
  config: MixedOptions,
  needs: { lora: token<InjectHook>('inject:lora'), adapter: token<InjectHook>('inject:adapter') },
  setup: ({ needs }) => new Mixed(needs),
});
