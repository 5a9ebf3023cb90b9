import { withEntry, withoutEntry } from './node.ts';
import type { ConfigNode, MapEntry, MapNode } from './node.ts';

/** Keys whose value may be a plugin's bare name, which is short for `{ use: name }`. */
const SINGLE_ENTRIES: readonly string[] = ['engine', 'load', 'train'];

/**
 * Lays a config over the one that it extends: mappings are merged key by key, everything else is replaced.
 *
 * Two things beyond a plain deep merge. An entry that names another plugin (`use`) replaces the one below it whole, since
 * the options below belong to the other plugin. A top-level key that is left empty (`train:`) takes away what is below.
 */
export function mergeConfigs(below: MapNode, above: MapNode): MapNode {
  let merged: MapNode = { ...above, entries: new Map(below.entries) };
  for (const [key, entry] of above.entries) {
    const old = below.entries.get(key);
    if (old !== undefined && isEmpty(entry.node)) {
      merged = withoutEntry(merged, key);
    } else if (old !== undefined && SINGLE_ENTRIES.includes(key)) {
      merged = withEntry(merged, key, mergePluginEntries(old, entry));
    } else {
      merged = withEntry(merged, key, mergeEntries(old, entry));
    }
  }
  return merged;
}

function mergePluginEntries(below: MapEntry, above: MapEntry): MapEntry {
  const [lower, upper] = [expandName(below.node), expandName(above.node)];
  const [lowerUse, upperUse] = [useOf(lower), useOf(upper)];
  if (upperUse !== undefined && upperUse !== lowerUse) return above;
  return mergeEntries({ ...below, node: lower }, { ...above, node: upper });
}

function mergeEntries(below: MapEntry | undefined, above: MapEntry): MapEntry {
  if (below === undefined || below.node.kind !== 'map' || above.node.kind !== 'map') return above;
  let merged: MapNode = { ...above.node, entries: new Map(below.node.entries) };
  for (const [key, entry] of above.node.entries) merged = withEntry(merged, key, mergeEntries(below.node.entries.get(key), entry));
  return { key: above.key, node: merged };
}

/** `llama` as `{ use: llama }`, so that options can be laid over or set on it. */
export function expandName(node: ConfigNode): ConfigNode {
  if (node.kind !== 'scalar' || typeof node.value !== 'string') return node;
  return { kind: 'map', entries: new Map([['use', { key: node.span, node }]]), span: node.span };
}

function useOf(node: ConfigNode): unknown {
  const use = node.kind === 'map' ? node.entries.get('use')?.node : undefined;
  return use?.kind === 'scalar' ? use.value : undefined;
}

function isEmpty(node: ConfigNode): boolean {
  return node.kind === 'scalar' && node.value === null;
}
