import type { Span } from './source.ts';

/**
 * A config as a tree of values, each of which knows the text that it was written as. Merging, overriding and sweeping
 * build new trees out of old nodes, so an error always points at the file (or the `--set`) that a value came from.
 */
export type ConfigNode = ScalarNode | ListNode | MapNode;

export interface ScalarNode {
  readonly kind: 'scalar';
  readonly value: string | number | boolean | null;
  readonly span: Span;
  /** Written in quotes or as a block, and so text whatever it looks like. */
  readonly quoted: boolean;
}

export interface ListNode {
  readonly kind: 'list';
  readonly items: readonly ConfigNode[];
  readonly span: Span;
}

export interface MapNode {
  readonly kind: 'map';
  readonly entries: ReadonlyMap<string, MapEntry>;
  readonly span: Span;
}

export interface MapEntry {
  readonly key: Span;
  readonly node: ConfigNode;
}

/** Keys and indices from the root of a config: `['inject', 0, 'r']`. */
export type NodePath = readonly (string | number)[];

export function childOf(node: ConfigNode, step: string | number): ConfigNode | undefined {
  if (node.kind === 'list') return typeof step === 'number' ? node.items[step] : undefined;
  return node.kind === 'map' ? node.entries.get(String(step))?.node : undefined;
}

/** The node at a path, or the nearest one above it that was written: a default has no text of its own. */
export function nearestNode(root: ConfigNode, path: NodePath): { readonly node: ConfigNode; readonly exact: boolean } {
  let node = root;
  for (const step of path) {
    const child = childOf(node, step);
    if (child === undefined) return { node, exact: false };
    node = child;
  }
  return { node, exact: true };
}

/** Where the key that leads to a path was written; the value's own span for an item of a list. */
export function keySpan(root: ConfigNode, path: NodePath): Span {
  const parent = nearestNode(root, path.slice(0, -1)).node;
  const last = path.at(-1);
  const entry = parent.kind === 'map' && last !== undefined ? parent.entries.get(String(last)) : undefined;
  return entry?.key ?? nearestNode(root, path).node.span;
}

/** Plain data, a fresh copy. */
export function plainOf(node: ConfigNode): unknown {
  if (node.kind === 'scalar') return node.value;
  if (node.kind === 'list') return node.items.map(plainOf);
  return Object.fromEntries([...node.entries].map(([key, entry]) => [key, plainOf(entry.node)]));
}

export function withEntry(map: MapNode, key: string, entry: MapEntry): MapNode {
  return { ...map, entries: new Map([...map.entries, [key, entry]]) };
}

export function withoutEntry(map: MapNode, key: string): MapNode {
  return { ...map, entries: new Map([...map.entries].filter(([name]) => name !== key)) };
}
