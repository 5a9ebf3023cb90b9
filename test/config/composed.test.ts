import { Type } from 'typebox';
import { describe, expect, it } from 'vitest';
import { optionsOf } from '../../core/config/composed.ts';
import type { SchemaSource } from '../../core/config/index.ts';
import { headlines, schemas, single } from './fixture.ts';

const both = Type.Object({ lora: optionsOf('inject', 'lora'), adapter: optionsOf('inject', 'adapter'), ghost: Type.Optional(optionsOf('inject', 'ghost')) });
const withBoth: SchemaSource = { ...schemas, schema: (stage, name) => (name === 'both' ? both : schemas.schema(stage, name)), names: (stage) => [...schemas.names(stage), 'both'] };
const entry = (options: string): string => `load: llama\ninject:\n  - { use: both, ${options} }\n`;

describe("a composed plugin's options", () => {
  it('are checked against the schema of the plugin that owns them, at their place', async () => {
    expect(await headlines(entry('lora: { lora_alfa: 32, r: 0 }, adapter: { adapter_size: wide }'), { schemas: withBoth })).toEqual([
      'run.yaml:3:26: `lora_alfa` is not an option of the inject plugin `lora`. Did you mean `lora_alpha`?',
      'run.yaml:3:44: `r` must be at least 1, not 0.',
      'run.yaml:3:74: `adapter_size` must be an integer, not `wide`.',
    ]);
  });

  it("get that plugin's defaults", async () => {
    const config = await single(entry('lora: { r: 4 }'), { schemas: withBoth });
    expect(config.inject[0]?.options).toMatchObject({ lora: { r: 4, lora_alpha: 8, bias: 'none' }, adapter: { activation: 'relu' } });
  });

  it('must be a mapping', async () => {
    expect(await headlines(entry('lora: 4'), { schemas: withBoth })).toEqual(['run.yaml:3:24: `lora` must be a mapping, not 4.']);
  });

  it('pass where their plugin is not there: what composes it waits for it, and says so', async () => {
    const config = await single(entry('ghost: { anything: 1 }'), { schemas: withBoth });
    expect(config.inject[0]?.options).toMatchObject({ ghost: { anything: 1 } });
  });
});
