import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, watch, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RunEvent } from '../../core/contracts/index.ts';
import { readRunRecord } from '../../core/run/run-directory.ts';
import { readHistory } from '../../core/run/history.ts';
import { graft, type Ended } from '../support/graft.ts';
import { writeTinyRun } from '../support/tiny-run.ts';

/** Runs the command line for programs, and kills it without warning when `dies` says so. */
async function run(args: readonly string[], dies: (event: RunEvent, kill: () => void) => void = () => undefined): Promise<Ended & { readonly events: readonly RunEvent[] }> {
  const events: RunEvent[] = [];
  const ended = await graft(tmpdir(), [...args, '--json', '--samples', '0'], (line, send) => {
    const event = JSON.parse(line) as RunEvent;
    events.push(event);
    dies(event, () => send('SIGKILL'));
  });
  return { ...ended, events };
}

const atStep = (step: number) => (event: RunEvent, kill: () => void) => {
  if (event.type === 'step' && event.step === step) kill();
};

/** Kills in the first moments in which a checkpoint is on disk under its temporary name. */
const whileWriting = (checkpoints: string) => {
  let watching = false;
  return (event: RunEvent, kill: () => void) => {
    if (event.type !== 'step' || watching) return;
    watching = true;
    mkdirSync(checkpoints, { recursive: true });
    watch(checkpoints, (_, name) => {
      if (name?.startsWith('.writing-') === true) kill();
    }).unref();
  };
};

describe('a run that is killed and resumed', () => {
  let base: string;
  const dirs = { whole: '', killed: '' };
  const runDir = (which: 'whole' | 'killed') => join(base, which, 'runs', readdirSync(join(base, which, 'runs'))[0]!);
  const course = (dir: string) => {
    const { steps, evaluations } = readHistory(join(dir, 'events.jsonl'));
    return {
      steps: steps.map(({ step, loss, gradNorm, learningRate, tokens }) => ({ step, loss, gradNorm, learningRate, tokens })),
      evaluations: evaluations.map(({ step, loss }) => ({ step, loss })),
    };
  };

  beforeAll(() => {
    base = mkdtempSync(join(tmpdir(), 'graft-resume-'));
    // The same folder names below two parents, so that nothing but the parent differs.
    for (const which of ['whole', 'killed'] as const) {
      mkdirSync(join(base, which));
      dirs[which] = writeTinyRun(join(base, which));
    }
  });
  afterAll(() => rmSync(base, { recursive: true, force: true }));

  it('has the losses, evaluations and adapters that it would have had, bit for bit', { timeout: 300_000 }, async () => {
    const whole = await run(['run', dirs.whole]);
    expect(whole.stderr).toBe('');
    expect(whole).toMatchObject({ code: 0, signal: null });
    const expected = course(runDir('whole'));
    expect(expected.steps.map(({ step }) => step)).toEqual(Array.from({ length: 16 }, (_, i) => i + 1));
    expect(new Set(expected.steps.map(({ loss }) => loss)).size).toBe(16);
    expect(expected.evaluations.map(({ step }) => step)).toEqual([0, 4, 8, 12, 16]);

    // Before the first checkpoint (it comes with step 3).
    expect(await run(['run', dirs.killed], atStep(2))).toMatchObject({ signal: 'SIGKILL' });
    const dir = runDir('killed');
    const from: number[] = [];
    const resume = async (dies?: Parameters<typeof run>[1]): ReturnType<typeof run> => {
      const ended = await run(['resume', dir], dies);
      const resumed = (await readRunRecord(dir)).resumed.at(-1)!;
      from.push(resumed.step);
      return ended;
    };
    // Between checkpoints, with the checkpoint of its own step not yet begun or half written, and while one is being written.
    expect(await resume(atStep(5))).toMatchObject({ signal: 'SIGKILL' });
    expect(await resume(atStep(9))).toMatchObject({ signal: 'SIGKILL' });
    expect(await resume(whileWriting(join(dir, 'checkpoints')))).toMatchObject({ signal: 'SIGKILL' });
    mkdirSync(join(dir, 'checkpoints/.writing-step-99-1'));
    writeFileSync(join(dir, 'checkpoints/.writing-step-99-1/trainer.safetensors'), 'half');
    const last = await resume();
    expect(last).toMatchObject({ code: 0, signal: null });
    expect(last.events).toContainEqual({ type: 'log', level: 'warn', message: "Removed .writing-step-99-1 from the run's checkpoints: it was being written when the process ended." });

    expect(from[0]).toBe(0);
    expect(from[1]).toBe(3);
    expect([...from].sort((a, b) => a - b)).toEqual(from);
    expect(course(dir)).toEqual(expected);
    for (const file of ['adapter_model.safetensors', 'adapter_config.json']) {
      expect(readFileSync(join(dir, 'adapters/0-lora', file)).toString('latin1').replaceAll(join(base, 'killed'), '')).toBe(
        readFileSync(join(runDir('whole'), 'adapters/0-lora', file)).toString('latin1').replaceAll(join(base, 'whole'), ''),
      );
    }
    const record = await readRunRecord(dir);
    expect(record).toMatchObject({ status: 'succeeded', adapters: ['adapters/0-lora'], result: { steps: 16, reason: 'completed' } });
    expect(readdirSync(join(dir, 'checkpoints')).filter((name) => name.startsWith('.'))).toEqual([]);
    expect(existsSync(join(dir, 'report.html'))).toBe(true);
  });

  it('cannot be resumed once it has finished, nor with another config', { timeout: 120_000 }, async () => {
    const dir = runDir('whole');
    const again = await graft(tmpdir(), ['resume', dir]);
    expect(again.code).toBe(2);
    expect(again.stderr).toBe(`error The run in ${dir} has finished: there is nothing to resume.\nStart a new one with \`graft run\`.\n`);
    const other = await graft(tmpdir(), ['run', '--resume', dir, '--set', 'train.learning_rate=1']);
    expect(other.code).toBe(2);
    expect(other.stderr).toContain(`error The run in ${dir} began with another config, and goes on only with the same one.`);
  });
});
