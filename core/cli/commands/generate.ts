import { text as readAll } from 'node:stream/consumers';
import { Command } from 'commander';
import { bounded, setOption } from '../arguments.ts';
import { GraftError } from '../../kernel/errors.ts';
import { EXIT } from '../exit.ts';
import { interruption } from '../interruption.ts';
import { openTarget } from '../target.ts';

interface GenerateOptions {
  readonly prompt?: string;
  readonly adapter?: string;
  readonly base?: boolean;
  readonly chat?: boolean;
  readonly system?: string;
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topP: number;
  readonly seed: number;
  readonly engine?: string;
  readonly set: readonly string[];
}

/** `graft generate`: continue a prompt with a model or a run. */
export function generateCommand(): Command {
  return new Command('generate')
    .description('continue a prompt with a model or a run')
    .argument('<target>', 'a run directory, a config (its newest run), a Hugging Face folder, or a Hub id')
    .option('-p, --prompt <text>', 'what to go on from; standard input when left out')
    .option('--chat', "the prompt is a user's message: framed by the model's chat template, or as in instruction tuning where it has none")
    .option('--system <text>', 'a system message before it; implies --chat')
    .option('--adapter <dir>', "a saved adapter in place of the run's")
    .option('--base', 'the base alone, without adapters')
    .option('--max-tokens <n>', 'tokens to generate at most', bounded('a whole number from 1', (n) => Number.isInteger(n) && n >= 1), 128)
    .option('--temperature <t>', '0: the likeliest token each time; higher is more varied', bounded('a number from 0 to 2', (t) => t >= 0 && t <= 2), 0)
    .option('--top-p <p>', 'sample from the likeliest tokens that make up this share', bounded('a number above 0, up to 1', (p) => p > 0 && p <= 1), 1)
    .option('--seed <n>', 'of sampling', bounded('a whole number from 0', (n) => Number.isInteger(n) && n >= 0), 42)
    .option('--engine <name>', 'which engine computes')
    .addOption(setOption('an option of the config'))
    .action(run);
}

async function run(path: string, options: GenerateOptions): Promise<void> {
  const prompt = options.prompt ?? (await promptFromInput());
  if (options.base === true && options.adapter !== undefined) throw new GraftError('USAGE', '--base and --adapter ask for different things: leave one out.');
  const { Detokenizer, encodeChat, generate } = await import('../../index.ts');
  const interrupted = interruption(() => process.stdout.write('\n'));
  const target = await openTarget({ path, adapter: options.adapter, set: options.set, engine: options.engine });
  try {
    const { model, tokenizer } = target.base;
    const chat = options.chat === true || options.system !== undefined;
    const messages = [...(options.system === undefined ? [] : [{ role: 'system', content: options.system }]), { role: 'user', content: prompt }];
    const inputIds = chat ? encodeChat(tokenizer, messages) : tokenizer.encode(prompt);
    const room = model.config.max_position_embeddings - inputIds.length;
    if (inputIds.length === 0) throw new GraftError('PROMPT_EMPTY', 'The prompt has no tokens.', { hint: 'Give one with -p.' });
    if (room < 1) throw new GraftError('PROMPT_TOO_LONG', `The prompt has ${inputIds.length} tokens, and the model reads at most ${model.config.max_position_embeddings}.`);
    const injected = options.base === true ? undefined : await target.adapted?.build('generate');
    const text = new Detokenizer(tokenizer, chat ? [] : inputIds);
    const { temperature, topP, seed } = options;
    const tokens = generate(model, {
      inputIds,
      maxTokens: Math.min(options.maxTokens, room),
      temperature,
      topP,
      seed,
      stopTokenIds: tokenizer.eosTokenIds,
      stack: injected?.stack,
      signal: interrupted.signal,
    });
    for await (const { id } of tokens) if (!tokenizer.eosTokenIds.includes(id)) process.stdout.write(text.push(id));
    process.stdout.write(`${text.flush()}\n`);
    await injected?.dispose();
  } catch (error) {
    if (!interrupted.signal.aborted) throw error;
    process.exitCode = EXIT.interrupted;
  } finally {
    interrupted.dispose();
    await target.dispose();
  }
}

async function promptFromInput(): Promise<string> {
  if (process.stdin.isTTY) throw new GraftError('USAGE', 'There is no prompt.', { hint: 'Give one with -p "...", or on standard input.' });
  return (await readAll(process.stdin)).replace(/\n$/, '');
}
