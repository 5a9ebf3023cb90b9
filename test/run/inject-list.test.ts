import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openHost, type Host } from '../../core/host/open-host.ts';
import { resolveConfigs } from '../../core/config/index.ts';
import { saveGrafts } from '../../core/run/adapters.ts';
import { logitsOf } from '../../core/run/oracles/rows.ts';
import { Session } from '../../core/run/session.ts';
import { positionsOf } from '../../core/tensor/packed.ts';
import { quietLog } from '../support/strategies.ts';
import { writeTinyRun } from '../support/tiny-run.ts';

const batch = { inputIds: Int32Array.of(1, 9, 20, 33, 40, 7), labels: new Int32Array(6).fill(-100), offsets: Int32Array.of(0, 6), positions: positionsOf(Int32Array.of(0, 6)) };

describe("a config's list of inject entries", () => {
  let host: Host;
  beforeAll(async () => {
    host = await openHost({ log: quietLog });
  });
  afterAll(() => host.dispose());

  async function open(inject: readonly Readonly<Record<string, unknown>>[]): Promise<Session> {
    const dir = await mkdtemp(join(tmpdir(), 'graft-list-'));
    const [config] = await resolveConfigs(writeTinyRun(dir, { inject }), { schemas: host.kernel });
    return Session.open(config!, { ...host, signal: new AbortController().signal, emit: () => {} });
  }

  it('grafts all on one model, is saved together and comes back together', async () => {
    const session = await open([{ use: 'lora', r: 4, init_lora_weights: false }, { use: 'adapter', adapter_size: 8 }, { use: 'full', parameters: ['norm'] }]);
    const { grafts } = await session.inject('all');
    expect(grafts.map(({ name }) => name)).toEqual(['lora', 'adapter', 'full']);
    const saved = await mkdtemp(join(tmpdir(), 'graft-list-saved-'));
    expect((await saveGrafts(grafts, saved, [])).map((folder) => folder.slice(saved.length))).toEqual(['/0-lora', '/1-adapter', '/2-full']);
    await session.inject('again', { from: saved });
    expect(logitsOf(session.model, batch, { stack: 'again' })).toEqual(logitsOf(session.model, batch, { stack: 'all' }));
    expect(logitsOf(session.model, batch, { stack: 'all' })).not.toEqual(logitsOf(session.model, batch, {}));
    await session.dispose();
  });

  it('begins two entries of one plugin with values of their own: alike, they would stay alike', async () => {
    const session = await open([{ use: 'lora', r: 4 }, { use: 'lora', r: 4 }]);
    const values = async (stack: string): Promise<number[][]> => (await session.inject(stack)).grafts.map(({ trainables }) => [...trainables[0]!.variable.dataSync()]);
    const [first, second] = await values('two');
    expect(first).not.toEqual(second);
    expect(await values('two again')).toEqual([first, second]);
    await session.dispose();
  });
});
