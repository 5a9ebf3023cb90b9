import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { openHost } from '../../core/host/open-host.ts';
import { daemonReference } from '../../core/host/daemon-config.ts';
import { configReference, withReference } from '../../core/config/reference.ts';
import { schemas } from './fixture.ts';

describe('the reference of options', () => {
  it('follows from the schemas: types, bounds, defaults, what is required, what is nested', () => {
    const reference = configReference(schemas);
    const section = reference.slice(reference.indexOf('### train: sft'), reference.indexOf('### serve: openai'));
    expect(section).toBe(
      [
        '### train: sft',
        '',
        '| option | type | default | what it does |',
        '|---|---|---|---|',
        '| `learning_rate` | a number, more than 0 | **required** | Peak learning rate. |',
        '| `epochs` | an integer, at least 1 | `1` |  |',
        '| `schedule.kind` | one of `constant`, `linear`, `cosine` | `"linear"` |  |',
        '| `schedule.warmup_ratio` | a number | `0` |  |',
        '',
        '',
      ].join('\n'),
    );
    expect(reference).toContain('| `bias` | one of `none`, `all`, `lora_only` | `"none"` |  |');
    expect(reference).toContain('| `target_modules` | `all-linear` or a list of strings | `"all-linear"` |  |');
    expect(reference).toContain('### inject: merged\n\n| option | type | default | what it does |\n|---|---|---|---|\n| `left` | an integer |  |  |\n| `right` | an integer |  |  |\n');
  });

  it('goes between its marks, and says when there are none', () => {
    const marked = 'a\n<!-- config reference: written by `graft validate --reference README.md` -->\nold\n<!-- end of config reference -->\nb\n';
    const once = withReference(marked, 'new\n');
    expect(once).toBe('a\n<!-- config reference: written by `graft validate --reference README.md` -->\n\nnew\n\n<!-- end of config reference -->\nb\n');
    expect(withReference(once, 'new\n')).toBe(once);
    expect(() => withReference('a\n', 'new\n')).toThrow('The text has no place for the reference: it must hold the lines <!-- config reference:');
  });
});

describe('README.md', async () => {
  const host = await openHost();
  afterAll(() => host.dispose());

  it('has the reference of the plugins as they are (else: graft validate --reference README.md)', () => {
    const readme = readFileSync(fileURLToPath(new URL('../../README.md', import.meta.url)), 'utf8');
    expect(readme).toBe(withReference(readme, configReference(host.kernel, [daemonReference])));
  });
});
