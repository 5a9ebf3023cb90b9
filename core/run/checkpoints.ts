import { existsSync } from 'node:fs';
import { mkdir, readFile, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Checkpoint, Checkpoints, Graft } from '../contracts/index.ts';
import { reasonOf } from '../kernel/errors.ts';
import { saveGrafts, trainablesOf, type TrainableShapes } from './adapters.ts';
import { filesUnder, syncFolder, syncTree, writeJson } from './durable.ts';
import type { GraftOrigin } from './graft-origin.ts';

/** The file that makes a folder a checkpoint; written last. */
const MANIFEST = 'checkpoint.json';
/** How the name of a folder that is being written begins. */
export const WRITING = '.writing-';
const FORMAT = 1;
const DEFAULT_KEEP = 2;

/** What a checkpoint says of itself. */
interface Manifest {
  readonly format: typeof FORMAT;
  readonly step: number;
  readonly evalLoss?: number;
  readonly measure?: string;
  /** Bytes of events.jsonl that belong to the steps up to this one. */
  readonly eventBytes: number;
  /** Bytes of every other file in the folder, by path: what `latest` checks completeness against. */
  readonly files: Readonly<Record<string, number>>;
  readonly state: unknown;
  /** What the grafts' folders hold; not in checkpoints of older versions. */
  readonly trainables?: TrainableShapes;
}

/** A checkpoint as the run sees it. */
export interface RunCheckpoint extends Checkpoint {
  readonly evalLoss?: number;
  readonly eventBytes: number;
  /** Folder of the grafts' own folders. */
  readonly graftsDir: string;
  /** Unix milliseconds. */
  readonly createdAt: number;
  readonly trainables?: TrainableShapes;
}

/** The checkpoints of one run as they are on disk, `step-<n>/` each. */
export class CheckpointFolder {
  readonly dir: string;
  /** Evaluations up to this step were of other data or of other trainables, and say nothing about what is best. */
  ratedAfter = -1;
  /** Steps whose checkpoints stay: they alone hold what the run trained before it was swapped to other trainables. */
  kept: ReadonlySet<number> = new Set();

  /** @param dir absolute; need not exist */
  constructor(dir: string) {
    this.dir = dir;
  }

  folderOf(step: number): string {
    return join(this.dir, `step-${step}`);
  }

  /** The newest whole one; one that is not whole is passed over. */
  async latest(): Promise<RunCheckpoint | undefined> {
    return (await this.list()).at(-1);
  }

  /** The one of the lowest evaluation loss among those measured as the newest was, the earliest of equals. */
  async best(): Promise<RunCheckpoint | undefined> {
    const rated = (await this.list()).filter(({ evalLoss, step }) => evalLoss !== undefined && step > this.ratedAfter);
    const alike = rated.filter(({ measure }) => measure === rated.at(-1)!.measure);
    return alike.reduce<RunCheckpoint | undefined>((best, checkpoint) => (best === undefined || checkpoint.evalLoss! < best.evalLoss! ? checkpoint : best), undefined);
  }

  /** Every whole checkpoint, oldest first. */
  async list(): Promise<readonly RunCheckpoint[]> {
    const found = await Promise.all((await this.#steps()).map((step) => this.read(step)));
    return found.filter((checkpoint) => typeof checkpoint !== 'string');
  }

  /** A checkpoint, or why the folder is not one. */
  async read(step: number): Promise<RunCheckpoint | string> {
    const dir = this.folderOf(step);
    try {
      const manifest = JSON.parse(await readFile(join(dir, MANIFEST), 'utf8')) as Manifest;
      if (manifest.format !== FORMAT) return `it has format ${String(manifest.format)}, not ${FORMAT}`;
      const sizes = new Map(await filesUnder(dir));
      for (const [file, bytes] of Object.entries(manifest.files)) {
        if (sizes.get(file) !== bytes) return `${file} has ${sizes.get(file) ?? 'no'} bytes, not ${bytes}`;
      }
      return { step, dir, state: manifest.state, evalLoss: manifest.evalLoss, measure: manifest.measure, eventBytes: manifest.eventBytes, graftsDir: join(dir, 'grafts'), trainables: manifest.trainables, createdAt: (await stat(join(dir, MANIFEST))).mtimeMs };
    } catch (error) {
      return `its ${MANIFEST} cannot be read (${reasonOf(error)})`;
    }
  }

  /**
   * Removes what a killed process left: half-written folders, and checkpoints that lack a file.
   * @returns a sentence for each thing removed
   */
  async cleanUp(): Promise<readonly string[]> {
    const report: string[] = [];
    const remove = async (name: string, reason: string): Promise<void> => {
      await rm(join(this.dir, name), { recursive: true, force: true });
      report.push(`Removed ${name} from the run's checkpoints: ${reason}.`);
    };
    for (const name of await this.#entries()) if (name.startsWith(WRITING)) await remove(name, 'it was being written when the process ended');
    for (const step of await this.#steps()) {
      const checkpoint = await this.read(step);
      if (typeof checkpoint === 'string') await remove(`step-${step}`, checkpoint);
    }
    return report;
  }

  /** Removes all but the `keep` newest, the best and those of before a swap to other trainables. */
  async prune(keep: number): Promise<void> {
    const steps = await this.#steps();
    const best = (await this.best())?.step;
    for (const step of steps.slice(0, Math.max(0, steps.length - keep))) {
      if (step !== best && !this.kept.has(step)) await rm(this.folderOf(step), { recursive: true, force: true });
    }
  }

  async #steps(): Promise<number[]> {
    return (await this.#entries()).flatMap((name) => /^step-(\d+)$/.exec(name)?.[1] ?? []).map(Number).sort((a, b) => a - b);
  }

  async #entries(): Promise<readonly string[]> {
    return existsSync(this.dir) ? readdir(this.dir) : [];
  }
}

/**
 * Writes a run's checkpoints. One is written under another name in the same folder, its files and folders are synced to
 * disk, and then it is renamed: whatever is called `step-<n>` is whole.
 */
export class CheckpointWriter implements Checkpoints {
  readonly #folder: CheckpointFolder;
  readonly #grafts: readonly Graft[];
  readonly #syncEvents: () => number;
  readonly #origins: readonly GraftOrigin[];

  /**
   * @param grafts saved in every checkpoint, before the trainer's own files
   * @param syncEvents makes what was told so far durable, and says how many bytes that is
   * @param origins what each of the grafts was made by
   */
  constructor(folder: CheckpointFolder, grafts: readonly Graft[], syncEvents: () => number, origins: readonly GraftOrigin[] = []) {
    this.#folder = folder;
    this.#grafts = grafts;
    this.#syncEvents = syncEvents;
    this.#origins = origins;
  }

  async save(step: number, parts: Parameters<Checkpoints['save']>[1]): Promise<{ readonly dir: string; readonly best: boolean }> {
    const dir = this.#folder.folderOf(step);
    // Steps are reproducible: what is there is what would be written, and replacing it would leave a moment without either.
    if (typeof (await this.#folder.read(step)) === 'string') await this.#write(step, dir, parts);
    await this.#folder.prune(parts.keep ?? DEFAULT_KEEP);
    return { dir, best: (await this.best())?.step === step };
  }

  latest(): Promise<RunCheckpoint | undefined> {
    return this.#folder.latest();
  }

  best(): Promise<RunCheckpoint | undefined> {
    return this.#folder.best();
  }

  async #write(step: number, dir: string, parts: Parameters<Checkpoints['save']>[1]): Promise<void> {
    const aside = join(this.#folder.dir, `${WRITING}step-${step}-${process.pid}`);
    await rm(aside, { recursive: true, force: true });
    await mkdir(join(aside, 'grafts'), { recursive: true });
    try {
      await saveGrafts(this.#grafts, join(aside, 'grafts'), this.#origins);
      await parts.write(aside);
      const files = Object.fromEntries(await filesUnder(aside));
      const manifest: Manifest = { format: FORMAT, step, evalLoss: parts.evalLoss, measure: parts.measure, eventBytes: this.#syncEvents(), files, state: parts.state, trainables: trainablesOf(this.#grafts) };
      await writeJson(join(aside, MANIFEST), manifest);
      await syncTree(aside);
      await rm(dir, { recursive: true, force: true });
      await rename(aside, dir);
      await syncFolder(this.#folder.dir);
    } catch (error) {
      await rm(aside, { recursive: true, force: true });
      throw error;
    }
  }
}
