import { describe, expect, it } from 'vitest';
import type { RunEvent, TrainPlan } from '../../core/contracts/index.ts';
import type { History } from '../../core/run/history.ts';
import { drawChart, smoothed } from '../../core/run/reporters/chart.ts';
import { formatBytes, formatCount, formatDuration, formatLoss, formatRate, formatShare } from '../../core/run/reporters/format.ts';
import { renderReport } from '../../core/run/reporters/html.ts';
import { JsonReporter } from '../../core/run/reporters/json.ts';
import { PlainReporter } from '../../core/run/reporters/plain.ts';
import { TerminalReporter } from '../../core/run/reporters/terminal.ts';
import type { RunRecord } from '../../core/run/run-directory.ts';

const plan: TrainPlan = {
  trainableParameters: 12_288, totalParameters: 272_288, tokensPerEpoch: 4096, trainedTokensPerEpoch: 2048, epochs: 3, totalSteps: 60, maxMicroBatchTokens: 512,
  peakMemoryBytes: 300 * 2 ** 20, memory: { process: 250 * 2 ** 20, activations: 50 * 2 ** 20, 'frozen weights': 0 },
};
const step = (number: number, total: number, loss = 2): RunEvent => ({ type: 'step', step: number, totalSteps: total, epoch: number / 10, loss, learningRate: 2e-4, gradNorm: 0.5, tokens: 100, trainedTokens: 50, seconds: 0.5 });
const story: readonly RunEvent[] = [
  { type: 'run-started', run: 'lora-1', dir: '/runs/lora-1', name: 'lora', engine: 'portable (wasm)', reason: 'the only one' },
  { type: 'stage', stage: 'load', use: 'llama', state: 'started' },
  { type: 'progress', label: 'reading weights', done: 2 ** 20, total: 2 ** 21, unit: 'bytes' },
  { type: 'stage', stage: 'load', use: 'llama', state: 'done', seconds: 1.25 },
  { type: 'plan', plan },
  { type: 'evaluation', step: 0, loss: 3, perplexity: 20.0855, trainedTokens: 500, seconds: 0.2 },
  step(1, 2),
  step(2, 2, 1.5),
  { type: 'checkpoint', step: 2, dir: '/runs/lora-1/checkpoints/step-2', best: true },
  { type: 'log', level: 'warn', message: 'careful' },
  { type: 'generation', prompt: 'Once', text: ' upon\n\u001b[31ma time', stack: null },
  { type: 'generation', prompt: 'Once', text: ' there', stack: 'run' },
  { type: 'train-ended', step: 2, reason: 'completed', loss: 1.5, evalLoss: 1.4 },
];

describe('the JSON reporter', () => {
  it('writes every event as one line of JSON, and nothing else', () => {
    let text = '';
    const reporter = new JsonReporter((part) => { text += part; });
    story.forEach((event) => reporter.receive(event));
    expect(text.trimEnd().split('\n').map((line) => JSON.parse(line) as RunEvent)).toEqual(story);
  });
});

describe('the plain reporter', () => {
  it('tells the run in lines without colour or cursor movement', () => {
    let text = '';
    const reporter = new PlainReporter((part) => { text += part; });
    story.forEach((event) => reporter.receive(event));
    expect(text.split('\n')).toEqual([
      'lora on portable (wasm)',
      '  the only one',
      '  /runs/lora-1',
      'done load llama 1.3 s',
      'trains  12,288 of 272,288 parameters (4.5 %)',
      'data    4,096 tokens an epoch, 2,048 of them trained on',
      'steps   60 in 3 epochs, at most 512 tokens in one pass',
      'memory  about 300 MiB at its highest: process 250 MiB, activations 50.0 MiB',
      'eval step 0  loss 3.0000  perplexity 20.0855  500 tokens, 0.2 s',
      'step 1/2  epoch 0.10  loss 2.0000  lr 2.00e-4  200 tokens/s  0.5 s left',
      'step 2/2  epoch 0.20  loss 1.5000  lr 2.00e-4  200 tokens/s',
      'checkpoint of step 2, the best so far: /runs/lora-1/checkpoints/step-2',
      'warn careful',
      'base "Once" -> " upon\\n\\u001b[31ma time"',
      'tuned "Once" -> " there"',
      'Training is complete after step 2.',
      '',
    ]);
  });

  it('prints about fifty steps of a long run, the first and the last among them', () => {
    const lines: string[] = [];
    const reporter = new PlainReporter((line) => void lines.push(line));
    for (let number = 1; number <= 1007; number++) reporter.receive(step(number, 1007));
    expect(lines.length).toBe(52);
    expect(lines[0]).toMatch(/^step 1\/1007 /);
    expect(lines.at(-1)).toMatch(/^step 1007\/1007 /);
  });
});

describe('the terminal reporter', () => {
  const visible = (text: string): string => text.replaceAll(/\u001b\[[0-9;]*[A-Za-z]/g, '');

  it('draws how far the run is below the lines that stay, never wider than the terminal', () => {
    for (const columns of [30, 60, 120]) {
      const writes: string[] = [];
      const reporter = new TerminalReporter({ columns, write: (text) => writes.push(text) });
      for (const event of story) if (event.type === 'step' || event.type === 'progress') reporter.receive(event);
      for (const text of writes) {
        expect(text.startsWith('\r\u001b[2K')).toBe(true);
        expect(visible(text).trimStart().length).toBeLessThanOrEqual(columns);
        expect(text).not.toContain('\n');
      }
    }
  });

  it('shows the bar, the percentage, loss, learning rate, speed and the time left', () => {
    const writes: string[] = [];
    const reporter = new TerminalReporter({ columns: 120, write: (text) => writes.push(text) });
    reporter.receive(step(1, 4));
    expect(visible(writes[0]!)).toBe(`\r${'━'.repeat(8)}${'─'.repeat(22)}  25 %  step 1/4  epoch 0.10  loss 2.0000  lr 2.00e-4  200 tokens/s  1.5 s left`);
    reporter.receive({ type: 'progress', label: 'reading weights', done: 2 ** 20, total: 2 ** 21, unit: 'bytes' });
    expect(visible(writes[1]!)).toContain(' 50 %  reading weights  1.0 MiB of 2.0 MiB');
  });

  it('keeps the live line below what is printed meanwhile, and lets it stand at the end', () => {
    const writes: string[] = [];
    const reporter = new TerminalReporter({ columns: 100, write: (text) => writes.push(text) });
    reporter.receive(step(1, 2));
    reporter.receive({ type: 'log', level: 'info', message: 'noted' });
    expect(visible(writes.at(-1)!)).toMatch(/^\rinfo noted\n.*step 1\/2/);
    reporter.receive({ type: 'train-ended', step: 1, reason: 'cancelled', loss: 2 });
    expect(writes.at(-2)).toBe('\n');
    expect(visible(writes.at(-1)!)).toBe('\rTraining was stopped after step 1.\n');
  });
});

describe('the HTML report', () => {
  const record: RunRecord = {
    format: 1, id: 'lora-20260101-000000-abcdef', name: 'lora', status: 'succeeded', startedAt: '2026-01-01T00:00:00.000Z', endedAt: '2026-01-01T00:01:00.000Z',
    resumed: [{ at: '2026-01-01T00:00:30.000Z', step: 1 }], seed: 42, configFile: '/lora.yaml', engine: { name: 'portable', detail: 'wasm', device: 'cpu', threads: 1, reason: 'the only one' },
    generations: { 'inject:lora': { version: '0.1.0', hash: 'a'.repeat(64) } }, plan, memory: { estimatedPeakBytes: 300 * 2 ** 20, measuredPeakBytes: 250 * 2 ** 20 },
    result: { steps: 2, reason: 'completed', loss: 1.5, evalLossBefore: 3, evalLoss: 1.4, seconds: 1, tokensPerSecond: 200 }, adapters: ['adapters/0-lora'],
  };
  const at = <E extends RunEvent>(event: E): E & { readonly time: string } => ({ ...event, time: '' });
  const of = <T extends RunEvent['type']>(type: T) => story.filter((event): event is Extract<RunEvent, { type: T }> => event.type === type).map(at);
  const history: History = { steps: of('step'), evaluations: of('evaluation'), checkpoints: of('checkpoint'), generations: of('generation'), logs: of('log'), swaps: of('swapped'), ended: of('train-ended')[0] } as History;
  const page = renderReport(record, history, 'name: lora\nload: <script>alert(1)</script>\n');

  it('holds the numbers, the config, the engine, the generations, the memory and the samples', () => {
    for (const text of ['lora-20260101-000000-abcdef', 'succeeded', '3.0000 → 1.4000', '12,288 (4.5 %)', '200 tokens/s', 'portable: wasm', 'the only one', 'inject:lora', 'aaaaaaaaaaaa', '250 MiB at its highest; 300 MiB were estimated (+20 %)', 'adapters/0-lora', 'from step 1', 'careful', ' there']) expect(page).toContain(text);
  });

  it('needs nothing from outside, runs nothing, and shows what was in the data as text', () => {
    expect(page).not.toMatch(/<script|<link|<img|https?:|url\(|@import|javascript:/);
    expect(page).toContain('&lt;script&gt;alert(1)&lt;/script&gt;');
    expect(page).not.toContain('\u001b');
  });

  it('describes every curve in words, under an id of its own', () => {
    const ids = [...page.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id);
    expect(new Set(ids).size).toBe(ids.length);
    expect(page.match(/<svg /g)).toHaveLength(5);
    expect(page).toContain('<desc id="training-loss-desc">each step: 2.0000 at step 1, 1.5000 at step 2, lowest 1.5000, highest 2.0000. smoothed: 2.0000 at step 1, 1.6667 at step 2, lowest 1.6667, highest 2.0000.</desc>');
  });

  it('is a page before the first step too', () => {
    const empty = renderReport({ ...record, status: 'running', plan: undefined, result: undefined, memory: undefined }, { steps: [], evaluations: [], checkpoints: [], generations: [], logs: [], swaps: [], ended: undefined }, '');
    expect(empty).toContain('running');
    expect(empty).not.toMatch(/NaN|undefined|Infinity/);
  });
});

describe('a chart', () => {
  const series = (points: readonly (readonly [number, number])[]) => [{ label: 'x', tone: 'a' as const, points }];

  it('passes over values that are not finite, and is left out where there is none', () => {
    expect(drawChart({ title: 'Loss', format: String, series: series([[1, Number.NaN]]) })).toBe('');
    expect(drawChart({ title: 'Loss', format: String, series: series([[1, 2], [2, Number.NaN], [3, 4]]) })).not.toContain('NaN');
  });

  it('has round ticks, for one point and for equal values too', () => {
    const ticksOf = (points: readonly (readonly [number, number])[]) => [...drawChart({ title: 'Loss', format: String, series: series(points) }).matchAll(/text-anchor="end">([^<]+)</g)].map(([, tick]) => tick);
    expect(ticksOf([[0, 0.13], [10, 0.97]])).toEqual(['0', '0.2', '0.4', '0.6', '0.8', '1']);
    expect(ticksOf([[5, 2]])).toEqual(['2', '2.05']);
    expect(ticksOf([[0, 0], [1, 0]]).length).toBeGreaterThan(1);
  });

  it('is drawn with as many points as it has columns, however long the run', () => {
    const points = Array.from({ length: 50_000 }, (_, i) => [i + 1, Math.sin(i)] as const);
    expect(drawChart({ title: 'Loss', format: String, series: series(points) }).length).toBeLessThan(20_000);
  });

  it('smooths without being pulled to the first value', () => {
    expect(smoothed([[1, 4], [2, 4], [3, 4]])).toEqual([[1, 4], [2, 4], [3, 4]]);
    expect(smoothed([[1, 0], [2, 1]], 0.5)[1]![1]).toBeCloseTo(2 / 3);
  });
});

describe('numbers for people', () => {
  it('are short and say their unit', () => {
    expect([0, 512, 1536, 300 * 2 ** 20, 1.5 * 2 ** 30].map(formatBytes)).toEqual(['0 B', '512 B', '1.5 KiB', '300 MiB', '1.5 GiB']);
    expect([0.04, 9.94, 59.6, 125, 3840].map(formatDuration)).toEqual(['0.0 s', '9.9 s', '1 min 00 s', '2 min 05 s', '1 h 04 min']);
    expect([2.34567, 0.0123456, 0, Number.NaN].map(formatLoss)).toEqual(['2.3457', '0.01235', '0.0000', 'NaN']);
    expect([formatRate(2e-4), formatRate(0), formatCount(1234567), formatShare(1, 300), formatShare(0, 0)]).toEqual(['2.00e-4', '0', '1,234,567', '0.33 %', '0.0 %']);
  });
});
