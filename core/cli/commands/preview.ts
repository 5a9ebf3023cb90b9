import { Command, InvalidArgumentError } from 'commander';
import pc from 'picocolors';
import { setOption } from '../arguments.ts';
import { readPluginDirs, resolveConfigs } from '../../config/index.ts';
import { GraftError } from '../../kernel/errors.ts';
import { EXIT } from '../exit.ts';
import { openHost } from '../../host/open-host.ts';
import { interruption } from '../interruption.ts';
import { teller } from '../teller.ts';

interface PreviewOptions {
  readonly number: number;
  readonly eval?: boolean;
  readonly json?: boolean;
  readonly color: boolean;
  readonly set: readonly string[];
}

/** `graft preview`: what a config's data becomes, token by token, before anything is trained on it. */
export function previewCommand(): Command {
  return new Command('preview')
    .description('show examples token by token, and what is trained on')
    .argument('<config>', 'config file; of a sweep, its first combination')
    .option('-n, --number <count>', 'examples or pairs to show', count, 3)
    .option('--eval', 'examples to evaluate on instead of those to train on')
    .option('--json', 'everything as one line of JSON')
    .option('--no-color', 'brackets around what is trained on instead of colours, as when piped')
    .addOption(setOption('an option, such as preprocess.0.max_length=512'))
    .addHelpText('after', '\nReads the tokenizer and the data, and no weights. Exits with 0, with 2 on a mistake in the config or the data, 130 when stopped.')
    .action(preview);
}

async function preview(file: string, options: PreviewOptions): Promise<void> {
  const host = await openHost({ pluginDirs: await readPluginDirs(file, { set: options.set }) });
  const interrupted = interruption(() => undefined);
  const said = await teller();
  try {
    const [{ prepareData }, { previewOf, previewText }] = await Promise.all([import('../preview/prepare.ts'), import('../preview/view.ts')]);
    const [config, ...others] = await resolveConfigs(file, { schemas: host.kernel, set: options.set });
    if (config === undefined) throw new GraftError('USAGE', `${file} describes no run.`);
    if (others.length > 0) said.emit({ type: 'log', level: 'info', message: `${file} is a sweep of ${others.length + 1} runs; this is the data of the first, ${config.name}.` });
    const prepared = await prepareData(config, { kernel: host.kernel, log: host.log, cacheDir: host.cacheDir, signal: interrupted.signal, emit: said.emit });
    const side = options.eval === true ? 'eval' : 'train';
    if (side === 'eval' && prepared.dataset.eval.length === 0) {
      throw new GraftError('NO_EVAL', `${file} holds no examples out for evaluation.`, { hint: 'Set eval_split or eval_data on a preprocess entry.' });
    }
    said.end();
    // A reader that went away (`graft preview | head`) has seen enough.
    process.stdout.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
    });
    const shown = previewOf(config, prepared, side, options.number);
    process.stdout.write(options.json === true ? `${JSON.stringify(shown)}\n` : previewText(shown, pc.createColors(options.color && pc.isColorSupported && (process.stdout.isTTY || 'FORCE_COLOR' in process.env))));
  } catch (error) {
    if (!interrupted.signal.aborted || GraftError.is(error)) throw error;
    process.exitCode = EXIT.interrupted;
  } finally {
    said.end();
    interrupted.dispose();
    await host.dispose();
  }
}

function count(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0) throw new InvalidArgumentError('It is a whole number from 0.');
  return value;
}
