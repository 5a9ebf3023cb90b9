import { Command, InvalidArgumentError } from 'commander';
import pc from 'picocolors';
import { setOption } from '../arguments.ts';
import { checkOptions } from '../../config/options.ts';
import type { Entry } from '../../config/index.ts';
import { GraftError } from '../../kernel/errors.ts';
import { Batcher } from '../../serving/batcher.ts';
import { HotServedModels } from '../../serving/served-models.ts';
import { HotServer, type ServersHost } from '../../serving/servers.ts';
import { placed } from '../../run/session.ts';
import { interruption } from '../interruption.ts';
import { stderrLogger } from '../../host/stderr-log.ts';
import { openTarget, type Target } from '../target.ts';

interface ServeOptions {
  readonly adapter?: string;
  readonly port?: number;
  readonly host?: string;
  readonly watch?: boolean;
  readonly engine?: string;
  readonly set: readonly string[];
}

/** What answers where no config says otherwise. */
const DEFAULT_SERVER = 'openai';

/** `graft serve`: answer requests with a run or a model, and take up edited plugins while doing so. */
export function serveCommand(): Command {
  return new Command('serve')
    .description('answer OpenAI-compatible requests')
    .argument('<target>', 'a run directory, a config (its newest run), a Hugging Face folder, or a Hub id')
    .option('--adapter <dir>', "a saved adapter in place of the run's")
    .option('--port <n>', "in place of the config's; 0: any that is free", port)
    .option('--host <address>', "in place of the config's; another than this machine's own needs an api_key in the config")
    .option('--watch', 'take up edited plugins: new requests see the change, those in flight finish as they began')
    .option('--engine <name>', 'which engine computes')
    .addOption(setOption('an option of the config'))
    .addHelpText('after', '\nModels are named after the base and after the run. Ctrl-C stops listening and finishes what is in flight; twice stops at once.')
    .action(run);
}

async function run(path: string, options: ServeOptions): Promise<void> {
  const target = await openTarget({ path, adapter: options.adapter, set: options.set, engine: options.engine, watch: options.watch, log: stderrLogger(options.watch === true ? 'info' : 'warn') });
  try {
    const { host, base, baseId, baseGenerations, adapted } = target;
    const batcher = new Batcher(base.model);
    const models = new HotServedModels({ base, baseId, baseGenerations, batcher, log: host.log });
    const unfollow = options.watch === true ? models.follow(host.kernel) : undefined;
    const servers: HotServer[] = [];
    try {
      if (adapted !== undefined) {
        models.add(adapted);
        await models.load(adapted.id);
      }
      for (const entry of entriesOf(target, options)) servers.push(await HotServer.start(serversHost(target, models), entry, announce));
      say(`models    ${models.list().map(({ id }) => id).join(', ')}${target.adapters === undefined ? '' : pc.dim(` (adapters from ${target.adapters})`)}`);
      if (options.watch === true) say('watching  the plugins; edits take effect at once');
      await stopped();
    } finally {
      await unfollow?.();
      await Promise.all(servers.map((server) => server.close()));
      await batcher.dispose();
      await models.dispose();
    }
  } finally {
    await target.dispose();
  }
}

function serversHost({ host, config, call }: Target, models: HotServedModels): ServersHost {
  return {
    kernel: host.kernel,
    log: host.log,
    models,
    call: (entry) => ({ ...call, config: entry.options, log: host.log.child({ plugin: entry.use }) }),
    placed: (entry, error) => (config === undefined || entry.path.length === 0 ? error : placed(config, entry, error)),
  };
}

/** The config's `serve:`, or the default server, with what the command line overrides. */
function entriesOf({ config, host }: Target, options: ServeOptions): readonly Entry[] {
  const given = config !== undefined && config.serve.length > 0 ? config.serve : [{ use: DEFAULT_SERVER, options: {}, path: [] }];
  const overrides = Object.fromEntries(Object.entries({ port: options.port, host: options.host }).filter(([, value]) => value !== undefined));
  if (given.length > 1 && Object.keys(overrides).length > 0) {
    throw new GraftError('SERVE_AMBIGUOUS', `The config has ${given.length} serve entries: --${Object.keys(overrides)[0]!} can't say which one it is about.`, { hint: 'Use --set serve.0.port=... .' });
  }
  return given.map((entry) => {
    const schema = host.kernel.schema('serve', entry.use);
    return schema === undefined ? entry : { ...entry, options: checkOptions(schema, { ...entry.options, ...overrides }, `the serve plugin \`${entry.use}\``) };
  });
}

function announce(url: string): void {
  say(`${pc.green('serving')}   ${url}`);
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Resolves at the first Ctrl-C; the second ends the process. */
function stopped(): Promise<void> {
  return new Promise((resolve) => {
    interruption(() => {
      say('stopping  when the answers in flight are complete; once more to stop at once');
      resolve();
    });
  });
}

function port(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0 || value > 65_535) throw new InvalidArgumentError('It is a whole number from 0 to 65535.');
  return value;
}
