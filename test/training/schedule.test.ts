import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { learningRateFactor, warmupStepsOf, type SchedulerType } from '../../core/training/schedule.ts';

interface Case {
  readonly kind: SchedulerType;
  readonly warmup: number;
  readonly total: number;
  readonly factors: readonly number[];
}

const { cases } = JSON.parse(readFileSync(new URL('fixtures/schedules.json', import.meta.url), 'utf8')) as { readonly cases: readonly Case[] };

describe('learning-rate schedules', () => {
  it.each(cases.map((each) => [`${each.kind}, ${each.warmup} of ${each.total} steps warm-up`, each] as const))("equal transformers' get_scheduler: %s", (_, { kind, warmup, total, factors }) => {
    const ours = factors.map((_factor, step) => learningRateFactor({ type: kind, warmupSteps: warmup, totalSteps: total }, step));
    ours.forEach((factor, step) => expect(factor).toBeCloseTo(factors[step]!, 14));
  });

  it('take warmup_steps, else warmup_ratio rounded up', () => {
    expect(warmupStepsOf({ warmup_steps: 7, warmup_ratio: 0 }, 100)).toBe(7);
    expect(warmupStepsOf({ warmup_steps: 0, warmup_ratio: 0.03 }, 101)).toBe(4);
    expect(warmupStepsOf({ warmup_steps: 0, warmup_ratio: 0 }, 101)).toBe(0);
  });
});
