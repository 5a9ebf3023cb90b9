import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Type } from 'typebox';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ORIGIN_FILE, originsOf, readOrigin, writeOrigin } from '../../core/run/graft-origin.ts';
import type { InjectPlugin } from '../../core/run/recognize.ts';

const plugin: InjectPlugin = {
  name: 'steered',
  schema: Type.Object({
    modules: Type.Union([Type.String(), Type.Array(Type.String())]),
    vectors: Type.String({ graftPath: true, default: 'none' }),
    nested: Type.Optional(Type.Object({ token: Type.String({ graftEnv: true }) })),
  }),
  hook: {
    inject: () => {
      throw new Error('No test here grafts anything.');
    },
  },
};
/** Where the plugin is, and where it is not. */
const [here, gone] = [{ schema: () => plugin.schema }, { schema: () => undefined }];

describe('what a folder says of its origin', () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'graft-origin-'));
  });
  afterEach(() => rm(dir, { recursive: true }));

  /** Writes what a run writes of one inject entry with these options, and reads it. */
  async function reread(options: Readonly<Record<string, unknown>>, kernel: Parameters<typeof originsOf>[1] = here) {
    await writeOrigin(dir, originsOf([{ use: 'steered', options, path: ['inject', 0] }], kernel)[0]!);
    return readOrigin(dir, [plugin]);
  }

  it('is the plugin and its options, regular expressions and defaults among them', async () => {
    const options = { modules: '/self_attn\\.(q|v)_proj/', vectors: 'none' };
    expect(await reread(options)).toEqual({ plugin, options });
  });

  it('is not enough where options were withheld: with their defaults it would be another graft', async () => {
    await expect(reread({ modules: ['q_proj'], vectors: '/home/me/v.safetensors', nested: { token: 'secret' } })).rejects.toMatchObject({
      code: 'ADAPTER_ORIGIN',
      message: `${dir} was made by \`steered\` with \`vectors\`, \`nested.token\`, and ${join(dir, ORIGIN_FILE)} does not say with which: secrets and paths are not written into it.`,
      hint: 'Name the run that made it, or its config, in place of the folder.',
    });
  });

  it('has no option where the plugin was gone and nothing said which are secrets', async () => {
    expect(originsOf([{ use: 'steered', options: { modules: ['q_proj'], vectors: 'none' }, path: ['inject', 0] }], gone)).toEqual([{ plugin: 'steered', options: {}, withheld: ['modules', 'vectors'] }]);
    await expect(reread({ modules: ['q_proj'] }, gone)).rejects.toMatchObject({ code: 'ADAPTER_ORIGIN' });
  });

  it.each([
    ['a relative path', { modules: '../../etc/passwd' }],
    ['an absolute path', { modules: ['/etc/passwd'] }],
    ['another path than the default', { vectors: 'v.safetensors' }],
  ])('is refused with %s', async (_, options) => {
    await writeFile(join(dir, ORIGIN_FILE), JSON.stringify({ plugin: 'steered', options, withheld: [] }));
    await expect(readOrigin(dir, [plugin])).rejects.toMatchObject({ code: 'ADAPTER_ORIGIN', message: expect.stringContaining('that is a secret or a path, which only a config may.') as string });
  });

  it.each([undefined, null, 'vectors', [1]])('is refused where it does not say what was withheld: %j', async (withheld) => {
    await writeFile(join(dir, ORIGIN_FILE), JSON.stringify({ plugin: 'steered', options: {}, withheld }));
    await expect(readOrigin(dir, [plugin])).rejects.toMatchObject({ code: 'ADAPTER_ORIGIN', message: expect.stringContaining('"withheld": [ ... ] }.') as string });
  });
});
