import { describe, expect, it } from 'vitest';
import { ConfigError } from '../../core/config/index.ts';
import { resolved } from './fixture.ts';

/** Numbers from 0 up to `below`, the same on every machine (xorshift32). */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const text = `name: fuzz
engine: portable
seed: 42
load: { use: llama, model: ./m, token: "\${T}" }
preprocess:
  - { use: instruct, data: d.jsonl }
inject:
  - &one { use: lora, r: 8, target_modules: [q_proj, v_proj], rank_pattern: { a.b: 4 } }
  - adapter
  - *one
train:
  use: sft
  learning_rate: 2.0e-4
serve: [openai]
sweep: { train.epochs: [1, 2] }
`;
const PIECES = ['"', "'", '{', '}', '[', ']', ':', ': ', '- ', '\n', '\t', '  ', '#', '&a ', '*a', '*one', '!!int ', '|', '>', '%', '@', '`', '${', '}', '~', 'null', '.inf', '-1', '1e999', 'true', '?', ',', '\u0000', '\ufeff', '\u2028', '---\n', '...\n', '<<: ', 'use: ', 'sweep: ', 'extends: run.yaml\n', '__proto__: ', 'constructor: ', '😀'];

/** One to four insertions, deletions, repetitions and swaps. */
function mutate(original: string, below: (limit: number) => number): string {
  let mutated = original;
  for (let change = below(4); change >= 0; change--) {
    const at = below(mutated.length + 1);
    const to = Math.min(mutated.length, at + 1 + below(12));
    const piece = PIECES[below(PIECES.length)] ?? '';
    const kinds = [piece, piece, '', mutated.slice(at, to).repeat(3)];
    mutated = mutated.slice(0, at) + (kinds[below(kinds.length)] ?? '') + mutated.slice(below(2) === 0 ? at : to);
  }
  return mutated;
}

describe('a config with random damage', () => {
  it('resolves or is refused with places and frames, and nothing else ever happens', async () => {
    const below = generator(20_26);
    let refused = 0;
    for (let round = 0; round < 1500; round++) {
      const damaged = mutate(text, below);
      try {
        expect((await resolved(damaged, { env: { T: 't' } })).length).toBeGreaterThan(0);
      } catch (error) {
        if (!ConfigError.is(error)) throw new Error(`round ${round}: ${String(error)}\n${damaged}`, { cause: error });
        refused += 1;
        for (const { file, line, column, message, frame } of error.diagnostics) {
          expect(line).toBeGreaterThanOrEqual(1);
          expect(line).toBeLessThanOrEqual(damaged.split('\n').length);
          expect(column).toBeGreaterThanOrEqual(1);
          expect(message).toMatch(/[.!?:)`]$/);
          expect(frame).toContain('^');
          expect(file).toMatch(/run\.yaml$/);
        }
      }
    }
    expect(refused).toBeGreaterThan(500);
    expect(refused).toBeLessThan(1500);
  });

  it('takes random --set arguments the same way', async () => {
    const below = generator(7);
    const paths = ['seed', 'inject.0.r', 'train', 'load.use', 'inject', 'sweep', 'a..b', '', 'engine.threads', 'inject.9.r', 'name'];
    for (let round = 0; round < 500; round++) {
      const argument = mutate(`${paths[below(paths.length)]}=8`, below);
      const error = await resolved(text, { env: { T: 't' }, set: [argument] }).then(
        () => undefined,
        (caught: unknown) => caught,
      );
      if (error !== undefined && !ConfigError.is(error)) throw new Error(`--set ${argument}: ${String(error)}`, { cause: error });
    }
  });
});
