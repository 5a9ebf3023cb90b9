import { describe, expect, it } from 'vitest';
import { GraftError } from '../../core/index.ts';
import { settings } from '../support/training.ts';

function refusal(act: () => unknown): { readonly code: string; readonly message: string; readonly option: unknown; readonly hint: unknown } {
  try {
    act();
  } catch (error) {
    if (error instanceof GraftError) return { code: error.code, message: error.message, option: error.option, hint: error.hint };
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('options of a training', () => {
  it('evaluate and save each epoch unless they say how many steps', () => {
    expect(settings()).toMatchObject({ evaluate: { every: 'epoch' }, save: { every: 'epoch' } });
    expect(settings({ eval_steps: 5, save_steps: 10 })).toMatchObject({ evaluate: { every: 5 }, save: { every: 10 } });
    expect(settings({ eval_strategy: 'no', save_strategy: 'no' })).toMatchObject({ evaluate: undefined, save: undefined });
  });

  it.each([
    ['batch_tokens', { batch_size: 2, batch_tokens: 100 }, 'train sft: batch_size and batch_tokens both say how large a step is.'],
    ['warmup_ratio', { warmup_steps: 2, warmup_ratio: 0.1 }, 'train sft: warmup_steps and warmup_ratio both say how long the warm-up is.'],
    ['lr_scheduler_type', { lr_scheduler_type: 'constant', warmup_steps: 2 }, 'train sft: the constant schedule has no warm-up.'],
    ['eval_strategy', { eval_strategy: 'steps' }, 'train sft: eval_strategy is steps, and eval_steps does not say how many.'],
    ['save_steps', { save_strategy: 'epoch', save_steps: 3 }, 'train sft: save_steps has no effect while save_strategy is epoch.'],
    ['eval_steps', { eval_strategy: 'no', eval_steps: 3 }, 'train sft: eval_steps has no effect while eval_strategy is no.'],
    ['early_stopping_patience', { early_stopping_patience: 2, eval_strategy: 'no' }, 'train sft: early stopping needs evaluations, and eval_strategy is no.'],
    ['early_stopping_threshold', { early_stopping_threshold: 0.1 }, 'train sft: early_stopping_threshold has no effect without early_stopping_patience.'],
    ['load_best_model_at_end', { load_best_model_at_end: true, save_strategy: 'no' }, 'train sft: the best checkpoint needs evaluations and checkpoints.'],
  ] as const)('are refused where %s contradicts another', (option, given, message) => {
    expect(refusal(() => settings(given))).toMatchObject({ code: 'OPTIONS_CONFLICT', message, option: [option], hint: expect.any(String) });
  });
});
