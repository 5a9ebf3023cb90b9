import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Logger, RunEvent } from '../../core/contracts/index.ts';
import { EventLog, Events } from '../../core/run/events.ts';
import { readHistory, resultOf } from '../../core/run/history.ts';

function recordingLogger(): Logger & { readonly warnings: string[] } {
  const warnings: string[] = [];
  const logger: Logger & { readonly warnings: string[] } = { warnings, debug: () => undefined, info: () => undefined, warn: (message) => void warnings.push(message), error: () => undefined, child: () => logger };
  return logger;
}

const note = (message: string): RunEvent => ({ type: 'log', level: 'info', message });
const step = (number: number, loss: number): RunEvent => ({ type: 'step', step: number, totalSteps: 4, epoch: number / 4, loss, learningRate: 1e-3, gradNorm: 1, tokens: 100, trainedTokens: 50, seconds: 0.5 });

describe('events', () => {
  it('go on to the others when a subscriber fails, which is reported once and dropped', () => {
    const log = recordingLogger();
    const events = new Events(log);
    const told: string[] = [];
    let calls = 0;
    events.subscribe({ name: 'broken', receive: () => { calls++; throw new Error('no disk'); } });
    events.subscribe({ name: 'sound', receive: (event) => void told.push(event.type) });
    events.emit(note('a'));
    events.emit(note('b'));
    expect(told).toEqual(['log', 'log']);
    expect(calls).toBe(1);
    expect(log.warnings).toEqual(["The run's subscriber broken failed and is told nothing more: no disk"]);
  });

  it('reach a subscriber until it unsubscribes', () => {
    const events = new Events(recordingLogger());
    const told: RunEvent[] = [];
    const unsubscribe = events.subscribe({ name: 'one', receive: (event) => void told.push(event) });
    events.emit(note('a'));
    void unsubscribe();
    events.emit(note('b'));
    expect(told).toEqual([note('a')]);
  });
});

describe('events.jsonl', () => {
  let dir: string;
  let path: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'graft-events-'));
    path = join(dir, 'events.jsonl');
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  it('keeps what belongs to a checkpoint and cuts off what came after', () => {
    const first = new EventLog(path);
    first.receive(step(1, 3));
    const kept = first.sync();
    first.receive(step(2, 2));
    first.close();
    const second = new EventLog(path, kept);
    second.receive(step(2, 1.5));
    second.close();
    expect(readHistory(path).steps.map(({ step: number, loss }) => [number, loss])).toEqual([[1, 3], [2, 1.5]]);
  });

  it('begins anew where there is no checkpoint', () => {
    writeFileSync(path, `${JSON.stringify(step(1, 9))}\n`);
    new EventLog(path).close();
    expect(readFileSync(path, 'utf8')).toBe('');
  });

  it('counts bytes, not characters', () => {
    const log = new EventLog(path);
    log.receive(note('ünïcödé ✓'));
    expect(log.sync()).toBe(readFileSync(path).length);
    log.close();
  });

  it('does not record progress, which is for the moment', () => {
    const log = new EventLog(path);
    log.receive({ type: 'progress', label: 'reading', done: 1, total: 2, unit: 'rows' });
    expect(log.sync()).toBe(0);
    log.close();
  });

  it('is read though its last line is unfinished, and sums up to a result', () => {
    const log = new EventLog(path);
    log.receive({ type: 'evaluation', step: 0, loss: 5, perplexity: 148.4, trainedTokens: 10, seconds: 0.1 });
    log.receive(step(1, 3));
    log.receive(step(2, 2));
    log.receive({ type: 'train-ended', step: 2, reason: 'completed', loss: 2, evalLoss: 1.9 });
    log.close();
    writeFileSync(path, `${readFileSync(path, 'utf8')}{"type":"step","st`);
    expect(resultOf(readHistory(path))).toEqual({ steps: 2, reason: 'completed', loss: 2, evalLossBefore: 5, evalLoss: 1.9, seconds: 1, tokensPerSecond: 200 });
  });

  it('has no result before the training has ended', () => {
    expect(resultOf(readHistory(path))).toBeUndefined();
  });
});
