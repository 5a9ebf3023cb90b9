import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { capacityOf, readDaemonConfig, resourcesOf } from '../../core/host/daemon-config.ts';

let dir: string;
beforeEach(() => void (dir = mkdtempSync(join(tmpdir(), 'daemon-config-'))));
afterEach(() => rmSync(dir, { recursive: true }));

function written(text: string): string {
  const file = join(dir, 'daemon.yaml');
  writeFileSync(file, text);
  return file;
}

describe("a daemon's config", () => {
  it('is the one that comes with Graft', async () => {
    expect(await readDaemonConfig(fileURLToPath(new URL('../../configs/daemon.yaml', import.meta.url)))).toMatchObject({ host: '127.0.0.1', port: 7474, queue: 'sqlite', job: { max_attempts: 5, priority: 0 }, silence_seconds: 180 });
  });

  it('has paths relative to its file, and the defaults of what it leaves out', async () => {
    const config = await readDaemonConfig(written('state_dir: ./state\njob: { memory_mb: 500 }\n'));
    expect(config).toMatchObject({ state_dir: join(dir, 'state'), job: { memory_mb: 500, cpu: 'auto' }, capacity: { cpu: 'auto' } });
  });

  it('is refused with the place of every mistake', async () => {
    await expect(readDaemonConfig(written('prot: 80\njob: { max_attempts: 0 }\n'))).rejects.toThrow(/daemon\.yaml:1:1[\s\S]*port[\s\S]*daemon\.yaml:2:\d+/);
  });

  it('is refused where two models have one name, given or not', async () => {
    await expect(readDaemonConfig(written('models:\n  - { model: /a/tiny }\n  - { id: tiny, model: /b/other }\n'))).rejects.toThrow(/daemon\.yaml:3:\d+[\s\S]*The model tiny is named twice/);
    await expect(readDaemonConfig(written('models:\n  - { model: /a/tiny }\n  - { model: /b/tiny }\n'))).rejects.toThrow(/daemon\.yaml:3:\d+[\s\S]*The model tiny is named twice/);
  });

  it('gives a run the same share of the memory as of the cores', async () => {
    const config = await readDaemonConfig(written('state_dir: ./state\ncapacity: { cpu: 4, memory_mb: 8000 }\n'));
    const capacity = capacityOf(config);
    expect(resourcesOf(config, capacity, {})).toEqual({ cpu: 4, memory_mb: 8000, gpu_memory_mb: 0 });
    expect(resourcesOf(config, capacity, { cpu: 1 })).toEqual({ cpu: 1, memory_mb: 2000, gpu_memory_mb: 0 });
    expect(resourcesOf(config, capacity, { cpu: 1, memory_mb: 300 })).toEqual({ cpu: 1, memory_mb: 300, gpu_memory_mb: 0 });
  });

  it('leaves runs what the served models do not take', async () => {
    const config = await readDaemonConfig(written('state_dir: ./state\nmodels: [{ model: ./a, memory_mb: 3000, threads: 2 }, { model: ./b, memory_mb: 1000 }, { model: ./c, serve: false, threads: 8 }]\n'));
    expect([capacityOf(config, 10_000, 8), capacityOf(config, 4000, 2)]).toMatchObject([{ memory_mb: 5000, cpu: 6 }, { memory_mb: 400, cpu: 1 }]);
  });
});
