/** Inject plugins straight from their folders, on the small base that the oracles share. */
import 'reflect-metadata';
import { container } from 'tsyringe';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll } from 'vitest';
import type { CausalLM, Graft, InjectHook, Logger, PluginDefinition, StageCall } from '../../core/index.ts';
import { checkOptions } from '../../core/config/options.ts';
import { createScope } from '../../core/kernel/scope.ts';
import { openBase, type OracleBase } from '../../core/run/oracles/base.ts';
import type { OracleHost } from '../../core/run/oracles/port.ts';
import type { InjectPlugin } from '../../core/run/recognize.ts';
import adapter from '../../plugins/inject-adapter/index.ts';
import full from '../../plugins/inject-full/index.ts';
import lora from '../../plugins/inject-lora/index.ts';
import mixed from '../../plugins/inject-mixed/index.ts';
import { testEngine } from './engine.ts';
import { loadFolder } from './model.ts';

export const ORACLES = fileURLToPath(new URL('../oracles', import.meta.url));

export const quietLog: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, child: () => quietLog };

/** What the kernel does of a plugin's life, for one that needs nothing but the services given. */
export async function setUpInject(name: string, definition: PluginDefinition, needs: Readonly<Record<string, unknown>> = {}): Promise<InjectPlugin> {
  const hook = (await definition.setup({
    needs,
    scope: createScope(name, quietLog),
    log: quietLog,
    container,
    generation: { plugin: `inject:${name}`, version: '0.1.0', hash: 'test', number: 1 },
  })) as InjectHook;
  return { name, hook, schema: definition.config };
}

/** The plugins of this repository by name. */
export async function injectPlugins(): Promise<Readonly<Record<'lora' | 'adapter' | 'full' | 'mixed', InjectPlugin>>> {
  const plugins = { lora: await setUpInject('lora', lora), adapter: await setUpInject('adapter', adapter), full: await setUpInject('full', full) };
  return { ...plugins, mixed: await setUpInject('mixed', mixed, { lora: plugins.lora.hook, adapter: plugins.adapter.hook }) };
}

export async function strategyHost(): Promise<OracleHost> {
  const call: Omit<StageCall<unknown>, 'config'> = {
    engine: await testEngine(),
    seed: 7,
    log: quietLog,
    signal: new AbortController().signal,
    scope: createScope('test', quietLog),
    baseDir: tmpdir(),
    cacheDir: tmpdir(),
    emit: () => {},
  };
  return { call, injectPlugins: Object.values(await injectPlugins()), load: loadFolder };
}

/** Grafts with options as a config would give them. */
export async function inject(host: OracleHost, model: CausalLM, stack: string, use: string, options: Readonly<Record<string, unknown>> = {}): Promise<Graft> {
  const plugin = host.injectPlugins.find(({ name }) => name === use);
  if (plugin === undefined) throw new Error(`there is no inject plugin ${use}`);
  const config = checkOptions(plugin.schema, options, `the inject plugin \`${use}\``);
  return plugin.hook.inject({ ...host.call, config, target: model.target(stack) });
}

export async function oracleBase(host: OracleHost): Promise<OracleBase> {
  const base = await openBase(ORACLES, host);
  if (base === undefined) throw new Error(`${ORACLES} has no base`);
  return base;
}

/**
 * Loads the oracles' base for the tests of a file, and disposes it after them.
 * @param ready is given what was loaded, before the first test
 * @returns a list for the grafts of a test: they are taken off after it, the last first
 */
export function aroundOracleModel(ready: (given: { readonly host: OracleHost; readonly base: OracleBase; readonly model: CausalLM }) => void): Graft[] {
  const grafts: Graft[] = [];
  let model: CausalLM | undefined;
  beforeAll(async () => {
    const host = await strategyHost();
    const base = await oracleBase(host);
    model = await base.load();
    ready({ host, base, model });
  });
  afterEach(() => {
    for (const graft of grafts.splice(0).reverse()) graft.remove();
  });
  afterAll(() => model?.dispose());
  return grafts;
}
