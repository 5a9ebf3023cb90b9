import type { Build } from './builder.ts';
import { GraftError, reasonOf } from './errors.ts';
import type { Generation } from './generation.ts';
import { components, inOrder, withDependents, type IdToConsumes } from './graph.ts';
import type { Slot } from './slot.ts';

/** What the kernel lends to a swap. */
export interface SwapHost {
  readonly idToSlot: ReadonlyMap<string, Slot>;
  /** Sets a build up without publishing it. */
  prepare(slot: Slot, build: Build, tokenToProvider: ReadonlyMap<string, Generation>): Promise<Generation>;
  /** Records, logs and tells why a slot's newest edit is not serving. */
  fail(slot: Slot, error: unknown): void;
  /** Makes a generation the one that new leases get, or leaves the slot without one; the old one drains. */
  publish(slot: Slot, generation: Generation | undefined): void;
}

/** What a round of preparations came to: generations to publish, slots to leave without one, or whose fault it is. */
interface Round {
  readonly idToPrepared: Map<string, Generation>;
  readonly idToWait: Map<string, string>;
  readonly fault?: { readonly id: string; readonly error: unknown };
}

/**
 * Brings new builds into service, with everything that depends on them.
 *
 * Plugins that depend on each other change together or not at all: an edit with which a running dependent cannot be set up
 * is refused, and both go on as they were. Plugins that have nothing to do with each other don't wait for each other.
 * @param idToBuild builds that are to serve; those that fail are left out of the next round, until the rest succeeds
 */
export async function activate(idToBuild: ReadonlyMap<string, Build>, removed: readonly string[], host: SwapHost): Promise<void> {
  const idToConsumes = consumesOf(idToBuild, host);
  const affected = withDependents([...idToBuild.keys(), ...removed], idToConsumes);
  for (const id of removed) affected.delete(id);
  const wanted = new Map(idToBuild);
  for (const { id, current, latest } of host.idToSlot.values()) if (affected.has(id) && current === undefined && latest !== undefined) wanted.set(id, latest);
  await Promise.all(components(affected, idToConsumes).map((ids) => activateTogether(new Map([...wanted].filter(([id]) => ids.has(id))), ids, host)));
}

async function activateTogether(wanted: Map<string, Build>, ids: ReadonlySet<string>, host: SwapHost): Promise<void> {
  for (;;) {
    const idToConsumes = consumesOf(wanted, host);
    const orphans = [...ids].filter((id) => (idToConsumes.get(id) ?? []).some((token) => !host.idToSlot.has(token)));
    const affected = [...withDependents([...wanted.keys(), ...orphans], idToConsumes)].filter((id) => wanted.has(id) || host.idToSlot.get(id)?.current !== undefined);
    const { order, cycle } = inOrder(new Set(affected), idToConsumes);
    const inCycle = cycle?.find((id) => wanted.has(id));
    const round = await prepareInOrder(order, wanted, host);
    const fault = inCycle === undefined ? round.fault : { id: inCycle, error: new GraftError('DEPENDENCY_CYCLE', `${inCycle}: plugins consume each other in a circle: ${cycle!.join(' -> ')}.`) };
    if (fault === undefined) {
      for (const id of order) {
        const slot = host.idToSlot.get(id)!;
        const wait = round.idToWait.get(id);
        slot.waitsFor = wait;
        if (wanted.has(id)) slot.failure = undefined;
        if (wait !== undefined ? slot.current !== undefined : round.idToPrepared.has(id)) host.publish(slot, round.idToPrepared.get(id));
      }
      return;
    }
    for (const generation of [...round.idToPrepared.values()].reverse()) await generation.retire(0);
    for (const [id, error] of culprits(fault, wanted, idToConsumes)) {
      wanted.delete(id);
      host.fail(host.idToSlot.get(id)!, error);
    }
  }
}

async function prepareInOrder(order: readonly string[], wanted: ReadonlyMap<string, Build>, host: SwapHost): Promise<Round> {
  const round: Round = { idToPrepared: new Map(), idToWait: new Map() };
  for (const id of order) {
    const slot = host.idToSlot.get(id)!;
    const build = wanted.get(id) ?? slot.current!.build;
    const tokenToProvider = new Map<string, Generation>();
    let wait: string | undefined;
    for (const token of build.manifest.consumes) {
      const provider = round.idToPrepared.get(token) ?? (round.idToWait.has(token) ? undefined : host.idToSlot.get(token)?.current);
      if (provider === undefined) wait ??= `${id} -> ${round.idToWait.get(token) ?? missing(token, host)}`;
      else tokenToProvider.set(token, provider);
    }
    try {
      if (wait !== undefined && (slot.current === undefined || !wanted.has(id))) {
        round.idToWait.set(id, wait);
        continue;
      }
      if (wait !== undefined) throw new GraftError('PROVIDER_MISSING', `${id}: what it consumes is not there: ${wait}.`);
      if (!wanted.has(id) && build.manifest.swap === 'restart') throw new GraftError('RESTART_REQUIRED', `${id} is swapped only when the host starts`);
      round.idToPrepared.set(id, await host.prepare(slot, build, tokenToProvider));
    } catch (error) {
      return { ...round, fault: { id, error } };
    }
  }
  return round;
}

/** The end of a path of consumption, in words. */
function missing(token: string, { idToSlot }: SwapHost): string {
  const slot = idToSlot.get(token);
  if (slot === undefined) return `${token}, which no plugin provides`;
  return slot.failure === undefined ? (slot.waitsFor ?? `${token}, which is not there yet`) : `${token}, which failed: ${slot.failure.reason.replace(/\.$/, '')}`;
}

/** An edit is to blame for its own failure, and for that of a running dependent which was not edited. */
function culprits({ id, error }: NonNullable<Round['fault']>, wanted: ReadonlyMap<string, Build>, idToConsumes: IdToConsumes): readonly (readonly [string, unknown])[] {
  if (wanted.has(id)) return [[id, error]];
  const providers = [...wanted.keys()].filter((provider) => withDependents([provider], idToConsumes).has(id));
  return providers.map((provider) => [provider, new GraftError('DEPENDENT_REFUSED', `${provider}: its dependent ${id} cannot be set up with it, so both stay as they were: ${reasonOf(error)}`, { cause: error })]);
}

function consumesOf(idToBuild: ReadonlyMap<string, Build>, { idToSlot }: SwapHost): IdToConsumes {
  return new Map([...idToSlot].map(([id, slot]) => [id, (idToBuild.get(id)?.manifest ?? slot.manifest).consumes]));
}
