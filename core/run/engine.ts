/** Choosing and starting the engine that a run computes with. */
import { closest } from 'fastest-levenshtein';
import type { Engine, EngineProbe, EngineProvider, GenerationInfo, Kernel, Lease, Logger } from '../contracts/index.ts';
import { GraftError, reasonOf } from '../kernel/errors.ts';

const PREFIX = 'engine:';

/** A config's `engine:`: `auto` or a provider's name. */
export interface EngineRequest {
  readonly use: string;
  readonly threads: number | 'auto';
}

/** One engine plugin and what it found on this machine. */
export interface ProbedEngine {
  readonly name: string;
  readonly probe: EngineProbe;
  /** Higher is taken first. */
  readonly preference: number;
}

export interface EngineChoice {
  readonly name: string;
  /** What was found and why this one, a sentence. */
  readonly reason: string;
  /** Every engine that was asked, the most preferred first. */
  readonly probed: readonly ProbedEngine[];
}

export interface StartedEngine {
  readonly engine: Engine;
  readonly reason: string;
  readonly generation: GenerationInfo;
  /** Gives the engine back; the last of its users ends it. */
  dispose(): Promise<void>;
}

/** The names that `engine:` may say, apart from `auto`. */
export function engineNames(kernel: Kernel): readonly string[] {
  return kernel.names(PREFIX).map((token) => (token.startsWith(PREFIX) ? token.slice(PREFIX.length) : token));
}

/** Asks every engine plugin what it can do here. A plugin that fails to answer is a broken engine, not a failed command. */
export async function probeEngines(kernel: Kernel, names: readonly string[] = engineNames(kernel)): Promise<readonly ProbedEngine[]> {
  const probed = await Promise.all(names.map((name) => probeOne(kernel, name)));
  return probed.sort((a, b) => b.preference - a.preference || a.name.localeCompare(b.name));
}

async function probeOne(kernel: Kernel, name: string): Promise<ProbedEngine> {
  let lease: Lease<EngineProvider> | undefined;
  try {
    lease = kernel.leaseToken<EngineProvider>(PREFIX + name);
    const probe = await lease.value.probe();
    return { name, probe, preference: lease.value.preference(probe) };
  } catch (error) {
    return {
      name,
      preference: 0,
      probe: { state: 'broken', detail: reasonOf(error), remedy: `The plugin of engine ${name} failed; \`graft plugins explain\` says more.` },
    };
  } finally {
    lease?.release();
  }
}

/**
 * Picks the engine for a request: the one named, or for `auto` the most preferred of those that can run.
 * @throws GraftError `ENGINE_UNKNOWN`, `ENGINE_UNAVAILABLE` (with what to do about it), `NO_ENGINE`
 */
export async function chooseEngine(kernel: Kernel, { use }: Pick<EngineRequest, 'use'>): Promise<EngineChoice> {
  if (use !== 'auto') return chooseNamed(kernel, use);
  const probed = await probeEngines(kernel);
  const chosen = probed.find(({ probe }) => probe.state === 'available');
  if (chosen === undefined) {
    const states = probed.map(describe).join('; ');
    throw new GraftError('NO_ENGINE', `No engine can run on this machine${states === '' ? ': no engine plugin was found' : `: ${states}`}.`, {
      hint: probed.map(({ probe }) => (probe.state === 'available' ? '' : probe.remedy)).join(' '),
    });
  }
  const others = probed.filter((engine) => engine !== chosen);
  return { name: chosen.name, probed, reason: [chosen, ...others].map(describe).join('; ') };
}

async function chooseNamed(kernel: Kernel, use: string): Promise<EngineChoice> {
  const names = engineNames(kernel);
  if (!names.includes(use)) {
    const nearest = names.length > 0 ? closest(use, [...names]) : undefined;
    throw new GraftError('ENGINE_UNKNOWN', `There is no engine named ${JSON.stringify(use)}.`, {
      option: ['engine'],
      hint: nearest === undefined ? 'No engine plugin was found.' : `Did you mean ${nearest}? There are: auto, ${names.join(', ')}.`,
    });
  }
  const probed = await probeEngines(kernel, [use]);
  const { probe } = probed[0]!;
  if (probe.state !== 'available') {
    throw new GraftError('ENGINE_UNAVAILABLE', `Engine ${use} cannot run here (${probe.state}): ${probe.detail}.`, { option: ['engine'], hint: probe.remedy });
  }
  return { name: use, probed, reason: `${use}: ${probe.detail}, as asked` };
}

function describe({ name, probe }: ProbedEngine): string {
  return probe.state === 'available' ? `${name}: ${probe.detail}` : `${name}: ${probe.state} (${probe.detail})`;
}

/** The tfjs backend is global to a process, and so is the engine. */
let current: { readonly name: string; readonly engine: Promise<Engine>; users: number } | undefined;

/**
 * Starts the engine that a config asks for, or joins the one that already runs.
 * @throws GraftError as `chooseEngine` does; `ENGINE_RUNNING` when another one runs in this process
 */
export async function startEngine(kernel: Kernel, request: EngineRequest, log: Logger): Promise<StartedEngine> {
  const choice = await chooseEngine(kernel, request);
  if (current !== undefined && current.name !== choice.name) {
    throw new GraftError('ENGINE_RUNNING', `Engine ${choice.name} was asked for, and engine ${current.name} runs in this process.`, {
      option: ['engine'],
      hint: 'One process computes with one engine: run them as two commands.',
    });
  }
  const lease = kernel.leaseToken<EngineProvider>(PREFIX + choice.name, { pinned: true });
  const joined = (current ??= { name: choice.name, engine: lease.value.start({ threads: request.threads }), users: 0 });
  joined.users++;
  const leave = async (): Promise<void> => {
    lease.release();
    if (--joined.users > 0) return;
    if (current === joined) current = undefined;
    await (await joined.engine).dispose();
  };
  try {
    const engine = await joined.engine;
    log.debug('engine started', { engine: engine.info.name, detail: engine.info.detail, reason: choice.reason });
    return { engine, reason: choice.reason, generation: lease.generation, dispose: once(leave) };
  } catch (error) {
    lease.release();
    joined.users--;
    if (current === joined) current = undefined;
    throw new GraftError('ENGINE_START', `Engine ${choice.name} did not start: ${reasonOf(error)}.`, { option: ['engine'], hint: '`graft doctor` says what each engine lacks.', cause: error });
  }
}

function once(run: () => Promise<void>): () => Promise<void> {
  let done: Promise<void> | undefined;
  return () => (done ??= run());
}
