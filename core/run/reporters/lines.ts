import { relative } from 'node:path';
import type pc from 'picocolors';
import type { RunEvent } from '../../contracts/index.ts';
import { formatCount, formatDuration, formatLoss, formatRate } from './format.ts';
import { planRows } from './plan-text.ts';

type Colors = ReturnType<typeof pc.createColors>;
type Step = Extract<RunEvent, { type: 'step' }>;

/** What an event comes to in lasting lines of text; steps and progress have none of their own. */
export function linesOf(event: RunEvent, colors: Colors): readonly string[] {
  switch (event.type) {
    case 'run-started':
      return [`${colors.bold(event.name)} on ${event.engine}`, colors.dim(`  ${event.reason}`), colors.dim(`  ${shown(event.dir)}`)];
    case 'stage':
      return event.state === 'done' ? [`${colors.green('done')} ${event.stage} ${event.use}${event.detail === undefined ? '' : `: ${event.detail}`}${event.seconds === undefined ? '' : colors.dim(` ${formatDuration(event.seconds)}`)}`] : [];
    case 'plan':
      return planRows(event.plan).map(([name, text]) => `${colors.dim(name.padEnd(7))} ${text}`);
    case 'evaluation':
      return [`${colors.cyan('eval')} step ${event.step}  loss ${formatLoss(event.loss)}${event.perplexity === undefined ? '' : `  perplexity ${formatLoss(event.perplexity)}`}${metricsText(event)}${colors.dim(`  ${formatCount(event.trainedTokens)} tokens, ${formatDuration(event.seconds)}`)}`];
    case 'checkpoint':
      return [colors.dim(`checkpoint of step ${event.step}${event.best ? ', the best so far' : ''}: ${shown(event.dir)}`)];
    case 'log':
      return [`${event.level === 'error' ? colors.red('error') : event.level === 'warn' ? colors.yellow('warn') : colors.dim('info')} ${event.message}`];
    case 'generation':
      return [`${colors.magenta(event.stack === null ? 'base' : 'tuned')} ${quoted(event.prompt)} ${colors.dim('->')} ${quoted(event.text)}`];
    case 'swapped':
      return [`${colors.magenta('swapped')} after step ${event.step}: ${swapText(event)}`];
    case 'train-ended':
      return [`Training ${event.reason === 'completed' ? 'is complete' : event.reason === 'early-stopping' ? 'stopped early: the evaluation loss no longer falls' : 'was stopped'} after step ${event.step}.`];
    default:
      return [];
  }
}

/** `train.learning_rate 0.005 -> 0.001, inject:lora 1a2b3c4d5e6f -> 6f5e4d3c2b1a` */
export function swapText({ options, plugins, data }: Extract<RunEvent, { type: 'swapped' }>): string {
  const text = (value: unknown): string => (value === undefined ? 'nothing' : JSON.stringify(value));
  const changes = [...options.map(({ option, from, to }) => `${option} ${text(from)} -> ${text(to)}`), ...plugins.map(({ plugin, from, to }) => `${plugin} ${(from ?? 'nothing').slice(0, 12)} -> ${(to ?? 'nothing').slice(0, 12)}`)];
  return `${changes.length === 0 ? 'nothing else' : changes.join(', ')}${data === 'other-data' ? '; the data begins anew' : ''}`;
}

/** `step 12/30  epoch 1.20  loss 2.3451  lr 1.80e-4  1,234 tokens/s  8 s left` */
export function stepText(step: Step, tokensPerSecond: number, secondsLeft: number): string {
  return [
    `step ${step.step}/${step.totalSteps}`,
    `epoch ${step.epoch.toFixed(2)}`,
    `loss ${formatLoss(step.loss)}`,
    `lr ${formatRate(step.learningRate)}`,
    `${formatCount(tokensPerSecond)} tokens/s`,
    ...(step.step < step.totalSteps ? [`${formatDuration(secondsLeft)} left`] : []),
  ].join('  ') + metricsText(step);
}

/** `  rewards/margins 0.1234` for each metric. */
function metricsText({ metrics = {} }: Pick<Step, 'metrics'>): string {
  return Object.entries(metrics).map(([name, value]) => `  ${name} ${formatLoss(value)}`).join('');
}

/** Speed over the last steps, and the time that the rest will take at it. */
export class Pace {
  readonly #recent: { readonly tokens: number; readonly seconds: number }[] = [];

  add({ tokens, seconds }: Pick<Step, 'tokens' | 'seconds'>): void {
    this.#recent.push({ tokens, seconds });
    if (this.#recent.length > 20) this.#recent.shift();
  }

  get tokensPerSecond(): number {
    const seconds = this.#seconds();
    return seconds === 0 ? 0 : this.#recent.reduce((sum, step) => sum + step.tokens, 0) / seconds;
  }

  secondsLeft(steps: number): number {
    return this.#recent.length === 0 ? 0 : (steps * this.#seconds()) / this.#recent.length;
  }

  #seconds(): number {
    return this.#recent.reduce((sum, step) => sum + step.seconds, 0);
  }
}

function shown(path: string): string {
  const short = relative(process.cwd(), path);
  return short.startsWith('..') || short === '' ? path : short;
}

/** On one line, at most 100 characters, control characters made visible: a model may say anything. */
function quoted(text: string): string {
  const flat = JSON.stringify(text).replaceAll(/[\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
  return flat.length <= 100 ? flat : `${flat.slice(0, 97)}..."`;
}
