import { join, resolve } from 'node:path';
import { existsSync } from 'node:fs';
import { Command } from 'commander';
import { failed, type OracleResult } from '../../run/oracles/port.ts';
import { renderResult, renderSummary } from '../../run/oracles/report.ts';
import { runOracles } from '../../run/oracles/suite.ts';
import { openWorkbench } from '../../run/workbench.ts';
import { EXIT } from '../exit.ts';
import { GRAFT_HOME, openHost } from '../../host/open-host.ts';

interface OraclesOptions {
  readonly stories?: string;
  readonly engine: string;
  readonly json?: boolean;
}

/** `graft oracles`: what the reference implementations compute, against what the plugins do. */
export function oraclesCommand(): Command {
  return new Command('oracles')
    .description('hold the strategies against reference numbers')
    .argument('[dir]', 'folder with peft/, adapterhub/ and stories260k/', join(GRAFT_HOME, 'test', 'oracles'))
    .option('--stories <model>', 'folder of the model stories260k; without it, shared/models beside the oracles or the project is tried')
    .option('--engine <name>', 'which engine computes', 'auto')
    .option('--json', 'print each result as a line of JSON')
    .addHelpText('after', '\nExits with 1 when a number differs by more than float32 explains: 2e-5 on logits, 1e-5 on a loss, 1e-4 on ten losses.')
    .action(oracles);
}

async function oracles(dir: string, options: OraclesOptions): Promise<void> {
  const folder = resolve(dir);
  const host = await openHost();
  const bench = await openWorkbench({ ...host, signal: new AbortController().signal }, { engine: options.engine });
  try {
    const results: OracleResult[] = [];
    for await (const result of runOracles(folder, options.stories ?? storiesModel(folder), bench)) {
      results.push(result);
      process.stdout.write(`${options.json === true ? JSON.stringify(result) : renderResult(result)}\n`);
    }
    if (options.json !== true) process.stdout.write(`\n${renderSummary(results)}\n`);
    process.exitCode = results.some(failed) ? EXIT.failed : EXIT.ok;
  } finally {
    await bench.dispose();
    await host.dispose();
  }
}

/** Beside the oracles where they were handed out, else beside the project. */
function storiesModel(dir: string): string {
  const places = [join(dir, '../models/stories260k'), join(GRAFT_HOME, '../shared/models/stories260k')];
  return places.find((place) => existsSync(place)) ?? places[0]!;
}
