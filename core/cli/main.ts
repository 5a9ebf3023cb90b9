import { Command, CommanderError } from 'commander';
import pc from 'picocolors';
import packageJson from '../../package.json' with { type: 'json' };
import { GraftError } from '../kernel/errors.ts';
import { EXIT } from './exit.ts';

interface CommandEntry {
  readonly summary: string;
  /** Loaded only when asked for: `graft --help` need not load a tensor library. */
  readonly load: () => Promise<Command>;
}

const COMMANDS: Readonly<Record<string, CommandEntry>> = {
  run: { summary: 'fine-tune as a config says', load: async () => (await import('./commands/run.ts')).runCommand() },
  resume: { summary: 'go on with a run that was stopped or killed', load: async () => (await import('./commands/resume.ts')).resumeCommand() },
  validate: { summary: 'check configs; report every mistake with its place', load: async () => (await import('./commands/validate.ts')).validateCommand() },
  preview: { summary: 'show examples token by token, and what is trained on', load: async () => (await import('./commands/preview.ts')).previewCommand() },
  plan: { summary: 'say what a run will train, how long and in how much memory', load: async () => (await import('./commands/plan.ts')).planCommand() },
  generate: { summary: 'continue a prompt with a model or a run', load: async () => (await import('./commands/generate.ts')).generateCommand() },
  serve: { summary: 'answer OpenAI-compatible requests', load: async () => (await import('./commands/serve.ts')).serveCommand() },
  daemon: { summary: 'queue and run experiments, for as long as it is left running', load: async () => (await import('./commands/daemon.ts')).daemonCommand() },
  submit: { summary: 'queue runs in the daemon', load: async () => (await import('./commands/submit.ts')).submitCommand() },
  ps: { summary: 'list the jobs of the daemon, and the models that it serves', load: async () => (await import('./commands/jobs.ts')).psCommand() },
  configs: { summary: 'list the configs that the daemon watches', load: async () => (await import('./commands/configs.ts')).configsCommand() },
  logs: { summary: 'show what a job has told', load: async () => (await import('./commands/jobs.ts')).logsCommand() },
  cancel: { summary: 'end jobs', load: async () => (await import('./commands/jobs.ts')).cancelCommand() },
  pause: { summary: 'checkpoint jobs and give back what they take', load: async () => (await import('./commands/jobs.ts')).pauseCommand() },
  swap: { summary: 'go on with a job under another config or by newer plugin code', load: async () => (await import('./commands/swap.ts')).swapCommand() },
  retry: { summary: 'try jobs that failed or were cancelled again', load: async () => (await import('./commands/jobs.ts')).retryCommand() },
  rm: { summary: 'forget jobs', load: async () => (await import('./commands/jobs.ts')).rmCommand() },
  keys: { summary: 'make, list and end API keys of the daemon', load: async () => (await import('./commands/keys.ts')).keysCommand() },
  merge: { summary: 'fold adapters into the weights and write a checkpoint', load: async () => (await import('./commands/merge.ts')).mergeCommand() },
  plugins: { summary: 'list, explain and scaffold plugins', load: async () => (await import('./commands/plugins.ts')).pluginsCommand() },
  doctor: { summary: 'say what this machine can do and what it lacks', load: async () => (await import('./commands/doctor.ts')).doctorCommand() },
  engine: { summary: 'install, list and remove what an engine computes with', load: async () => (await import('./commands/engine.ts')).engineCommand() },
  oracles: { summary: 'hold the strategies against reference numbers', load: async () => (await import('./commands/oracles.ts')).oraclesCommand() },
  quickstart: { summary: 'LoRA, Adapter and both together on a small model, in a minute or two', load: async () => (await import('./commands/quickstart.ts')).quickstartCommand() },
};

/** Builds the program with the asked command in full and the others as a line of help each. */
async function program(asked: string | undefined): Promise<Command> {
  const root = new Command('graft')
    .description('A plugin host for fine-tuning language models.')
    .version(packageJson.version, '-V, --version')
    .showHelpAfterError('(run with --help for usage)')
    .configureHelp({ showGlobalOptions: true })
    .exitOverride();
  for (const [name, entry] of Object.entries(COMMANDS)) {
    const command = name === asked ? await entry.load() : new Command(name).description(entry.summary);
    root.addCommand(exitOverrideAll(command));
  }
  return root;
}

function exitOverrideAll(command: Command): Command {
  command.exitOverride();
  command.commands.forEach(exitOverrideAll);
  return command;
}

/** Prints a user's mistake as sentences; anything else is our bug and keeps its stack. */
function report(error: unknown): number {
  if (GraftError.is(error)) {
    process.stderr.write(`${pc.red('error')} ${error.message}\n`);
    if (error.hint !== undefined) process.stderr.write(`${error.hint}\n`);
    return EXIT.usage;
  }
  process.stderr.write(`${pc.red('internal error')} ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  return EXIT.failed;
}

/**
 * Runs one command line and sets the process's exit code.
 * @param args what follows `graft`
 */
export async function main(args: readonly string[]): Promise<void> {
  const asked = args.find((argument) => !argument.startsWith('-'));
  try {
    const root = await program(asked === 'help' ? args[args.indexOf('help') + 1] : asked);
    await root.parseAsync([...args], { from: 'user' });
    process.exitCode ??= EXIT.ok;
  } catch (error) {
    process.exitCode = error instanceof CommanderError ? (error.exitCode === 0 ? EXIT.ok : EXIT.usage) : report(error);
  }
}
