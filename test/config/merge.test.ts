import { describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { Findings } from '../../core/config/diagnostic.ts';
import { mergeConfigs } from '../../core/config/merge.ts';
import { plainOf } from '../../core/config/node.ts';
import type { ConfigNode, MapNode } from '../../core/config/node.ts';
import { parseYaml } from '../../core/config/parse.ts';
import { sourceOf } from '../../core/config/source.ts';

type Plain = string | number | boolean | readonly Plain[] | { readonly [key: string]: Plain };
type PlainMap = Readonly<Record<string, Plain>>;

/** Random mappings over few keys, so that they meet. */
function generator(seed: number): () => PlainMap {
  let state = seed;
  const below = (limit: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
  const value = (depth: number): Plain => [() => below(5), () => `text ${below(5)}`, () => below(2) === 0, () => [below(3), below(3)], () => map(depth + 1), () => map(depth + 1)][depth > 3 ? below(4) : below(6)]?.() ?? 0;
  const map = (depth: number): PlainMap => Object.fromEntries(['a', 'b', 'c', 'd'].flatMap((key) => (below(2) === 0 ? [] : [[key, value(depth)]])));
  return () => map(0);
}

function nodeOf(file: string, map: PlainMap): MapNode {
  const node = parseYaml(sourceOf(file, stringify(map), '/'), new Findings());
  if (node?.kind !== 'map') throw new Error('not a mapping');
  return node;
}

function isMap(value: Plain | undefined): value is PlainMap {
  return typeof value === 'object' && !Array.isArray(value);
}

/** Every leaf with the file that it was written in. */
function leaves(node: ConfigNode, path = ''): readonly (readonly [path: string, file: string])[] {
  if (node.kind !== 'map') return [[path, node.span.source.file]];
  return [...node.entries].flatMap(([key, entry]) => leaves(entry.node, `${path}/${key}`));
}

function at(map: PlainMap, path: string): Plain | undefined {
  return path.split('/').slice(1).reduce<Plain | undefined>((value, key) => (isMap(value) ? value[key] : undefined), map);
}

/** Whether a mapping has a value of its own at a path of a leaf, or one in place of a mapping on the way there. */
function isCovered(path: string, above: PlainMap): boolean {
  const steps = path.split('/');
  const onTheWay = steps.slice(1).map((_, index) => at(above, steps.slice(0, index + 2).join('/')));
  return onTheWay.some((value) => value !== undefined && !isMap(value)) || onTheWay.at(-1) !== undefined;
}

describe('merging a config over another', () => {
  const random = generator(3);
  const pairs = Array.from({ length: 300 }, () => [random(), random()] as const);

  it('takes each value from above where above has one, else from below, and remembers which', () => {
    for (const [below, above] of pairs) {
      const merged = mergeConfigs(nodeOf('below', below), nodeOf('above', above));
      const plain = plainOf(merged) as PlainMap;
      for (const [path, file] of leaves(merged)) expect(at(file === 'above' ? above : below, path)).toEqual(at(plain, path));
      for (const [path] of leaves(nodeOf('above', above))) expect(at(plain, path)).toEqual(at(above, path));
      for (const [path] of leaves(nodeOf('below', below))) if (!isCovered(path, above)) expect(at(plain, path)).toEqual(at(below, path));
    }
  });

  it('changes nothing when one of them is empty or they are the same', () => {
    for (const [map] of pairs) {
      const node = nodeOf('x', map);
      expect(plainOf(mergeConfigs(node, nodeOf('y', {})))).toEqual(map);
      expect(plainOf(mergeConfigs(nodeOf('y', {}), node))).toEqual(map);
      expect(plainOf(mergeConfigs(node, node))).toEqual(map);
    }
  });

  it('leaves both as they were', () => {
    for (const [below, above] of pairs) {
      const nodes = [nodeOf('below', below), nodeOf('above', above)] as const;
      mergeConfigs(...nodes);
      expect(nodes.map(plainOf)).toEqual([below, above]);
    }
  });
});
