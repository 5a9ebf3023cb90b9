import { existsSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { availableParallelism, cpus, freemem, totalmem } from 'node:os';
import { dirname } from 'node:path';
import { Command } from 'commander';
import pc from 'picocolors';
import type { EngineProvider, Kernel } from '../../contracts/index.ts';
import { GraftError, reasonOf } from '../../kernel/errors.ts';
import { chooseEngine, probeEngines, type ProbedEngine } from '../../run/engine.ts';
import { gflops } from '../../tensor/gflops.ts';
import { EXIT } from '../exit.ts';
import { openHost } from '../../host/open-host.ts';

const GIB = 2 ** 30;
/** A matrix of this size is in no cache, and small enough for the slowest engine. */
const MEASURED_SIZE = 512;

interface EngineReport extends ProbedEngine {
  readonly gflops?: number;
  /** Why an engine that said it can run did not. */
  readonly failure?: string;
}

interface Report {
  readonly machine: { readonly cpu: string; readonly cores: number; readonly memoryGiB: number; readonly freeMemoryGiB: number; readonly node: string; readonly platform: string };
  readonly engines: readonly EngineReport[];
  readonly auto?: { readonly name: string; readonly reason: string };
  /** Why `auto` finds nothing. */
  readonly problem?: string;
  readonly cache: { readonly dir: string; readonly freeGiB: number };
}

/** `graft doctor`: what this machine can do and what it lacks. */
export function doctorCommand(): Command {
  return new Command('doctor')
    .description('say what this machine can do and what it lacks')
    .option('--json', 'print the report as JSON')
    .addHelpText('after', '\nExits with 0 when at least one engine runs, else with 1.')
    .action(async (options: { json?: boolean }) => {
      const host = await openHost();
      try {
        const report = await examine(host.kernel, host.cacheDir);
        process.stdout.write(options.json === true ? `${JSON.stringify(report, undefined, 2)}\n` : render(report));
        process.exitCode = report.engines.some((engine) => engine.gflops !== undefined) ? EXIT.ok : EXIT.failed;
      } finally {
        await host.dispose();
      }
    });
}

async function examine(kernel: Kernel, cacheDir: string): Promise<Report> {
  const engines: EngineReport[] = [];
  for (const probed of await probeEngines(kernel)) engines.push(await measure(kernel, probed));
  const [auto, problem] = await chosen(kernel);
  const { bavail, bsize } = await statfs(nearestExisting(cacheDir));
  return {
    machine: {
      cpu: cpus()[0]?.model.trim() ?? 'unknown processor',
      cores: availableParallelism(),
      memoryGiB: totalmem() / GIB,
      freeMemoryGiB: freemem() / GIB,
      node: process.versions.node,
      platform: `${process.platform}-${process.arch}`,
    },
    engines,
    auto,
    problem,
    cache: { dir: cacheDir, freeGiB: (bavail * bsize) / GIB },
  };
}

async function chosen(kernel: Kernel): Promise<[Report['auto'], string | undefined]> {
  try {
    const { name, reason } = await chooseEngine(kernel, { use: 'auto' });
    return [{ name, reason }, undefined];
  } catch (error) {
    if (!GraftError.is(error)) throw error;
    return [undefined, error.message];
  }
}

/** Starts an engine that says it can run, multiplies matrices for a second, and ends it. */
async function measure(kernel: Kernel, probed: ProbedEngine): Promise<EngineReport> {
  if (probed.probe.state !== 'available') return probed;
  const lease = kernel.leaseToken<EngineProvider>(`engine:${probed.name}`);
  try {
    const engine = await lease.value.start({ threads: 'auto' });
    try {
      return { ...probed, probe: { ...probed.probe, detail: engine.info.detail }, gflops: gflops(MEASURED_SIZE, MEASURED_SIZE, MEASURED_SIZE, 1) };
    } finally {
      await engine.dispose();
    }
  } catch (error) {
    return { ...probed, failure: reasonOf(error) };
  } finally {
    lease.release();
  }
}

function nearestExisting(dir: string): string {
  return existsSync(dir) ? dir : nearestExisting(dirname(dir));
}

function render({ machine, engines, auto, problem, cache }: Report): string {
  const lines = [
    pc.bold('Machine'),
    `  ${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB.toFixed(1)} GiB memory (${machine.freeMemoryGiB.toFixed(1)} free)`,
    `  Node ${machine.node} on ${machine.platform}`,
    pc.bold('Engines'),
    ...engines.flatMap(renderEngine),
    auto === undefined ? `  ${pc.red('auto')} ${problem}` : `  ${pc.green('auto')} takes ${auto.name} (${auto.reason})`,
    pc.bold('Cache'),
    `  ${cache.dir}, ${cache.freeGiB.toFixed(1)} GiB free on its disk`,
  ];
  return `${lines.join('\n')}\n`;
}

function renderEngine({ name, probe, gflops: speed, failure }: EngineReport): string[] {
  if (probe.state !== 'available') return [`  ${pc.yellow(name)} ${probe.state}: ${probe.detail}`, `    ${probe.remedy}`];
  if (failure !== undefined) return [`  ${pc.red(name)} did not start: ${failure}`];
  return [`  ${pc.green(name)} ${probe.detail}: ${speed!.toFixed(1)} GFLOPS in a ${MEASURED_SIZE} x ${MEASURED_SIZE} product`];
}
