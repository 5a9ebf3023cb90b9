/** What a run tells, as an event of OpenAI's. */
import type { StoredEvent } from '../run-store.ts';

export interface EventObject {
  readonly id: string;
  readonly object: 'fine_tuning.job.event';
  /** Unix seconds. */
  readonly created_at: number;
  readonly level: 'info' | 'warn' | 'error';
  readonly message: string;
  readonly type: 'message' | 'metrics';
  readonly data: Readonly<Record<string, unknown>>;
}

/** The types of a run's events that are worth telling. */
export const TOLD_EVENTS = ['run-started', 'step', 'evaluation', 'checkpoint', 'log', 'train-ended', 'run-ended'] as const;

/** Of an event of a type that is told. */
export function eventObject({ number, at, event }: StoredEvent): EventObject {
  const own = { id: `ftevent-${number}`, object: 'fine_tuning.job.event', created_at: Math.floor(at / 1000), level: 'info', type: 'message', data: {} } as const;
  switch (event.type) {
    case 'run-started':
      return { ...own, message: `The run has started on the engine ${event.engine}.` };
    case 'step':
      return {
        ...own,
        type: 'metrics',
        message: `Step ${event.step}/${event.totalSteps}: training loss=${event.loss.toFixed(4)}`,
        data: { ...event.metrics, step: event.step, total_steps: event.totalSteps, train_loss: event.loss, learning_rate: event.learningRate, grad_norm: event.gradNorm, tokens: event.tokens, seconds: event.seconds },
      };
    case 'evaluation':
      return { ...own, type: 'metrics', message: `Step ${event.step}: validation loss=${event.loss.toFixed(4)}`, data: { ...Object.fromEntries(Object.entries(event.metrics ?? {}).map(([name, value]) => [`valid_${name}`, value])), step: event.step, valid_loss: event.loss } };
    case 'checkpoint':
      return { ...own, message: `Checkpoint created at step ${event.step}`, data: { step: event.step } };
    case 'log':
      return { ...own, level: event.level, message: event.message };
    case 'train-ended':
      return { ...own, message: `The training has ended after step ${event.step}: ${event.reason}.`, data: { step: event.step } };
    case 'run-ended':
      return { ...own, level: event.status === 'failed' ? 'error' : 'info', message: event.status === 'succeeded' ? 'The job has successfully completed' : `The run has ${event.status}.${event.reason === undefined ? '' : ` ${event.reason}`}` };
    default:
      return { ...own, message: event.type };
  }
}
