import { Command } from 'commander';
import { readDaemonConfig } from '../../host/daemon-config.ts';
import { stderrLogger } from '../../host/stderr-log.ts';
import { reasonOf } from '../../kernel/errors.ts';
import { EXIT } from '../exit.ts';

interface DaemonOptions {
  readonly config?: string;
  readonly json?: boolean;
}

/** `graft daemon`: the host that is left running. */
export function daemonCommand(): Command {
  return new Command('daemon')
    .description('queue and run experiments, for as long as it is left running')
    .option('--config <file>', 'a daemon config; without it everything is as by default')
    .option('--json', 'log as JSON lines on standard output; so it is, too, where standard error is no terminal')
    .addHelpText('after', '\nThe first SIGTERM or Ctrl-C lets runs checkpoint and ends; the second ends at once. What was queued goes on when it is started again.')
    .action(daemon);
}

async function daemon({ config: file, json }: DaemonOptions): Promise<void> {
  const config = await readDaemonConfig(file);
  const log = json === true || !process.stderr.isTTY ? (await import('../../host/json-log.ts')).jsonLogger() : stderrLogger('info');
  const { Daemon } = await import('../../host/daemon.ts');
  // A plugin's stray timer or promise is not to end what has nothing to do with it.
  for (const event of ['uncaughtException', 'unhandledRejection'] as const) process.on(event, (error: unknown) => log.error(`Something failed that nobody waited for: ${reasonOf(error)}`, { event, stack: error instanceof Error ? error.stack : undefined }));
  const running = await Daemon.start(config, log);
  const { cpu, memory_mb, gpu_memory_mb } = running.capacity;
  log.info(`The daemon listens on ${running.url}; runs may take ${cpu} cores, ${memory_mb} MiB of memory and ${gpu_memory_mb} MiB of GPU memory. State is in ${config.state_dir}.`);
  await new Promise<void>((resolve) => {
    let stopping = false;
    const stop = (signal: NodeJS.Signals): void => {
      if (stopping) process.exit(EXIT.failed);
      stopping = true;
      log.info(`${signal}: nothing more is started, and what runs checkpoints. Once more to end at once.`);
      running.stop().then(resolve, (error: unknown) => {
        log.error(`The daemon did not end as it should: ${String(error)}`);
        process.exit(EXIT.failed);
      });
    };
    process.on('SIGTERM', stop);
    process.on('SIGINT', stop);
    process.on('SIGHUP', stop);
  });
  log.info('The daemon has ended.');
}
