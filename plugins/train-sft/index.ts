import { definePlugin } from 'graft';
import { sftOptions } from './options.ts';
import { plan } from './plan.ts';
import { train } from './trainer.ts';

export default definePlugin({
  stage: 'train',
  config: sftOptions,
  setup: () => ({ plan, train }),
});
