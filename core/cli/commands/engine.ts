import { resolve } from 'node:path';
import { Command } from 'commander';
import pc from 'picocolors';
import type { EngineInstaller, InstallableEngine, InstalledEngine } from '../../contracts/engine-installer.ts';
import type { EngineProvider, Kernel } from '../../contracts/index.ts';
import { GraftError } from '../../kernel/errors.ts';
import { engineNames } from '../../run/engine.ts';
import { EXIT } from '../exit.ts';
import { openHost } from '../../host/open-host.ts';
import { interruption } from '../interruption.ts';
import { teller } from '../teller.ts';

interface InstallOptions {
  readonly lib?: string;
  readonly wheel?: string;
  readonly gpu?: boolean;
}

/** `graft engine`: what an engine computes with, where npm alone cannot fetch it. */
export function engineCommand(): Command {
  const command = new Command('engine').description('install, list and remove what an engine computes with');
  command
    .command('install <engine>')
    .description('build an engine on a native library of yours, into a folder of Graft\'s cache')
    .option('--lib <dir>', 'folder with the library and its headers, such as site-packages/tensorflow; it must stay there')
    .option('--wheel <file>', 'a Python wheel with them, such as tensorflow_cpu-*.whl; Python itself is not needed')
    .option('--gpu', 'for an NVIDIA GPU: take the package for it, and look for the CUDA libraries')
    .action(install);
  command
    .command('list', { isDefault: true })
    .description('what is installed, and where')
    .option('--json', 'print it as JSON')
    .action(list);
  command.command('remove <engine>').description('delete what was installed for an engine').action(remove);
  return command;
}

async function install(engine: string, { lib, wheel, gpu = false }: InstallOptions): Promise<void> {
  const interrupted = interruption(() => process.stderr.write('Stopping: nothing is installed.\n'));
  const told = await teller();
  try {
    await withInstaller(engine, async (installer) => {
      const source = { lib: lib === undefined ? undefined : resolve(lib), wheel: wheel === undefined ? undefined : resolve(wheel), gpu };
      const installed = await installer.install(source, { emit: told.emit, signal: interrupted.signal });
      told.end();
      process.stdout.write(`${pc.bold(`Engine ${engine} is installed.`)}\n${factLines(installed)}\nUse it:     engine: ${engine} in a config, or leave engine: auto; \`graft doctor\` measures it\nRemove it:  graft engine remove ${engine}\n`);
    });
  } catch (error) {
    told.end();
    if (!interrupted.signal.aborted) throw error;
    process.exitCode = EXIT.interrupted;
  } finally {
    interrupted.dispose();
  }
}

async function list({ json }: { readonly json?: boolean }): Promise<void> {
  const host = await openHost();
  try {
    const found: ({ readonly engine: string } & InstalledEngine)[] = [];
    for (const engine of engineNames(host.kernel)) {
      const installed = await use(host.kernel, engine, (installer) => installer?.installed());
      if (installed !== undefined) found.push({ engine, ...installed });
    }
    if (json === true) process.stdout.write(`${JSON.stringify(found, undefined, 2)}\n`);
    else if (found.length === 0) process.stdout.write('Nothing is installed for any engine; `graft doctor` says which of them run as they are.\n');
    else for (const each of found) process.stdout.write(`${pc.bold(each.engine)}\n${factLines(each)}\n`);
  } finally {
    await host.dispose();
  }
}

async function remove(engine: string): Promise<void> {
  await withInstaller(engine, async (installer) => {
    const dir = await installer.remove();
    process.stdout.write(dir === undefined ? `Nothing is installed for engine ${engine}.\n` : `Removed ${dir}.\n`);
  });
}

async function withInstaller(engine: string, act: (installer: EngineInstaller) => Promise<void>): Promise<void> {
  const host = await openHost();
  try {
    const names = engineNames(host.kernel);
    if (!names.includes(engine)) throw new GraftError('ENGINE_UNKNOWN', `There is no engine named ${JSON.stringify(engine)}.`, { hint: `There are: ${names.join(', ')}.` });
    await use(host.kernel, engine, (installer) => {
      if (installer === undefined) throw new GraftError('ENGINE_NO_INSTALLER', `Engine ${engine} has nothing for Graft to install.`);
      return act(installer);
    });
  } finally {
    await host.dispose();
  }
}

/** Lends an engine's installer for the length of a call; undefined for an engine without one. */
async function use<T>(kernel: Kernel, engine: string, act: (installer: EngineInstaller | undefined) => T | Promise<T>): Promise<T> {
  const lease = kernel.leaseToken<EngineProvider & Partial<InstallableEngine>>(`engine:${engine}`);
  try {
    return await act(lease.value.installer);
  } finally {
    lease.release();
  }
}

function factLines({ dir, facts }: InstalledEngine): string {
  const rows = [...facts, ['folder', dir] as const];
  const width = Math.max(...rows.map(([label]) => label.length));
  return rows.map(([label, text]) => `  ${pc.dim(label.padEnd(width))}  ${text}`).join('\n');
}
