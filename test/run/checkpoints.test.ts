import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, readdir, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Graft } from '../../core/contracts/index.ts';
import { CheckpointFolder, CheckpointWriter } from '../../core/run/checkpoints.ts';

/** A graft whose file says which save it was. */
function countingGraft(name: string): Graft {
  let saves = 0;
  return {
    name,
    trainables: [],
    save: async (dir) => {
      await writeFile(join(dir, 'weights.txt'), `save ${++saves}`);
      return ['weights.txt'];
    },
    load: async () => undefined,
    remove: () => undefined,
  };
}

describe('the checkpoints of a run', () => {
  let dir: string;
  let folder: CheckpointFolder;
  let writer: CheckpointWriter;
  const save = (step: number, evalLoss?: number, keep?: number) => writer.save(step, { state: { step }, evalLoss, keep, write: (aside) => writeFile(join(aside, 'trainer.bin'), `step ${step}`) });
  const present = async () => (await readdir(dir)).sort();

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'graft-checkpoints-'));
    folder = new CheckpointFolder(dir);
    writer = new CheckpointWriter(folder, [countingGraft('lora'), countingGraft('my adapter')], () => 1234);
  });
  afterEach(() => rm(dir, { recursive: true, force: true }));

  it('hold the grafts, the trainer\'s files, its state and the length of the events', async () => {
    const { dir: saved } = await save(7);
    const checkpoint = (await folder.latest())!;
    expect(checkpoint).toMatchObject({ step: 7, dir: saved, state: { step: 7 }, eventBytes: 1234, graftsDir: join(saved, 'grafts') });
    expect(await readFile(join(saved, 'grafts/0-lora/weights.txt'), 'utf8')).toBe('save 1');
    expect(await readFile(join(saved, 'grafts/1-my-adapter/weights.txt'), 'utf8')).toBe('save 1');
    expect(await readFile(join(saved, 'trainer.bin'), 'utf8')).toBe('step 7');
  });

  it('are the newest few and the best one', async () => {
    expect(await save(1, 3.0, 2)).toMatchObject({ best: true });
    expect(await save(2, 2.0, 2)).toMatchObject({ best: true });
    expect(await save(3, 2.5, 2)).toMatchObject({ best: false });
    await save(4, 2.6, 2);
    await save(10, 2.7, 2);
    expect(await present()).toEqual(['step-10', 'step-2', 'step-4']);
    expect((await folder.best())?.step).toBe(2);
    expect((await folder.latest())?.step).toBe(10);
  });

  it('stay as they were when one is saved twice for a step', async () => {
    const { dir: saved } = await save(5, 1.0);
    expect(await save(5, 1.0)).toEqual({ dir: saved, best: true });
    expect(await readFile(join(saved, 'grafts/0-lora/weights.txt'), 'utf8')).toBe('save 1');
  });

  it('leave nothing behind when writing fails', async () => {
    await save(1);
    const failing = writer.save(2, { state: {}, write: () => Promise.reject(new Error('disk full')) });
    await expect(failing).rejects.toThrow('disk full');
    expect(await present()).toEqual(['step-1']);
  });

  it('are passed over and then removed, with a report, where a file is cut short or missing', async () => {
    await save(1);
    await save(2);
    await truncate(join(dir, 'step-2/trainer.bin'), 3);
    expect((await folder.latest())?.step).toBe(1);
    await mkdir(join(dir, 'step-3'));
    await mkdir(join(dir, '.writing-step-4-99999/grafts'), { recursive: true });
    expect(await folder.cleanUp()).toEqual([
      "Removed .writing-step-4-99999 from the run's checkpoints: it was being written when the process ended.",
      "Removed step-2 from the run's checkpoints: trainer.bin has 3 bytes, not 6.",
      expect.stringMatching(/^Removed step-3 from the run's checkpoints: its checkpoint\.json cannot be read \(ENOENT/),
    ]);
    expect(await present()).toEqual(['step-1']);
  });

  it('are none where there is no folder', async () => {
    const none = new CheckpointFolder(join(dir, 'absent'));
    expect(await none.latest()).toBeUndefined();
    expect(await none.best()).toBeUndefined();
    expect(await none.cleanUp()).toEqual([]);
    expect(existsSync(none.dir)).toBe(false);
  });
});
