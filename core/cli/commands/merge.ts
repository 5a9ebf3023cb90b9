import { existsSync } from 'node:fs';
import { mkdir, readdir, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { Command } from 'commander';
import { readPluginDirs, resolveConfigs } from '../../config/index.ts';
import type { CausalLM, Graft } from '../../contracts/index.ts';
import { GraftError } from '../../kernel/errors.ts';
import { mergeGrafts } from '../../run/merge.ts';
import { graftFromFolder, recognizeFolder } from '../../run/recognize.ts';
import { Session } from '../../run/session.ts';
import { openWorkbench } from '../../run/workbench.ts';
import { openHost, type Host } from '../../host/open-host.ts';

interface MergeOptions {
  readonly model?: string;
  readonly out: string;
  /** A run's own, or `auto` for a folder, where it is left out. */
  readonly engine?: string;
}

const STACK = 'merge';

/** Whatever the checkpoint stores, and stores again: a sum in a coarser type would round the adapter away. */
const MERGED_IN = 'f32';

/** `graft merge`: the base with the adapters in its weights, as a checkpoint that needs neither. */
export function mergeCommand(): Command {
  return new Command('merge')
    .description('fold adapters into the weights and write a checkpoint')
    .argument('<dir>', 'a run directory, or a folder with one saved adapter')
    .requiredOption('--out <dir>', 'folder to write the Hugging Face checkpoint into: new or empty')
    .option('--model <base>', "the base: a folder or a Hub id; needed for an adapter's folder, and for a run in place of its own")
    .option('--engine <name>', "which engine computes; without it the run's own, or auto")
    .addHelpText('after', '\nLoRA and full fine-tuning can be merged; bottleneck adapters are not linear and are refused.')
    .action(merge);
}

async function merge(dir: string, options: MergeOptions): Promise<void> {
  const from = resolve(dir);
  const out = resolve(options.out);
  if (!existsSync(from)) throw new GraftError('MERGE_SOURCE', `${from} does not exist.`);
  await checkOut(out);
  const config = join(from, 'config.yaml');
  const isRun = existsSync(config);
  if (!isRun && options.model === undefined) throw new GraftError('USAGE', `${from} is an adapter's folder: say which base it stands on with --model.`);
  const host = await openHost({ pluginDirs: isRun ? await readPluginDirs(config) : [] });
  try {
    const difference = isRun ? await mergeRun(from, config, out, options, host) : await mergeFolder(from, options.model!, out, options.engine, host);
    process.stdout.write(`${out}: merged; logits differ by at most ${difference.toExponential(1)} from those of base and adapters.\n`);
  } finally {
    await host.dispose();
  }
}

async function checkOut(out: string): Promise<void> {
  const found = await stat(out).catch(() => undefined);
  const fault = found === undefined ? undefined : !found.isDirectory() ? 'is a file' : (await readdir(out)).length > 0 ? 'is not empty' : undefined;
  if (fault !== undefined) throw new GraftError('MERGE_OUT', `${out} ${fault}.`, { hint: 'Name a new folder with --out.' });
}

async function mergeRun(run: string, file: string, out: string, { model, engine }: MergeOptions, host: Host): Promise<number> {
  const adapters = join(run, 'adapters');
  if (!existsSync(adapters)) {
    throw new GraftError('MERGE_SOURCE', `${run} has no adapters/: the run has not finished.`, { hint: 'Go on with it by `graft resume`, or merge a folder of one of its checkpoints with --model.' });
  }
  const set = [...(engine === undefined ? [] : [`engine=${engine}`]), `load.dtype=${MERGED_IN}`, ...(model === undefined ? [] : [`load.model=${resolveModel(model)}`])];
  const [config] = await resolveConfigs(file, { schemas: host.kernel, set });
  const session = await Session.open(config!, { ...host, signal: new AbortController().signal, emit: () => {} });
  try {
    const { grafts } = await session.inject(STACK, { from: adapters });
    return await mergeAndSave(session.model, grafts, out);
  } finally {
    await session.dispose();
  }
}

async function mergeFolder(adapter: string, base: string, out: string, engine: string | undefined, host: Host): Promise<number> {
  const bench = await openWorkbench({ ...host, signal: new AbortController().signal }, { engine });
  try {
    const recognized = await recognizeFolder(adapter, bench.injectPlugins);
    const { model } = await bench.load(resolveModel(base), { dtype: MERGED_IN });
    try {
      return await mergeAndSave(model, [await graftFromFolder(adapter, recognized, model, STACK, bench.call)], out);
    } finally {
      model.dispose();
    }
  } finally {
    await bench.dispose();
  }
}

async function mergeAndSave(model: CausalLM, grafts: readonly Graft[], out: string): Promise<number> {
  const difference = await mergeGrafts(model, STACK, grafts);
  await mkdir(out, { recursive: true });
  await model.save(out);
  return difference;
}

/** A folder becomes absolute; a Hub id stays as it is. */
function resolveModel(model: string): string {
  return existsSync(model) ? resolve(model) : model;
}
