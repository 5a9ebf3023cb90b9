import { formatPath, parseDotted } from './dotted.ts';
import type { Findings } from './diagnostic.ts';
import { expandName } from './merge.ts';
import { withEntry } from './node.ts';
import type { ConfigNode, MapEntry, MapNode } from './node.ts';
import { parseYaml } from './parse.ts';
import { sourceOf } from './source.ts';
import type { Span } from './source.ts';

/**
 * Applies one `--set a.b.0.c=value` to a config; the value is YAML. A relative path in it is relative to the working
 * directory, where the person typed it.
 * @param cwd that directory
 */
export function applySet(root: MapNode, argument: string, findings: Findings, cwd = process.cwd()): MapNode {
  const source = sourceOf('--set', argument, cwd);
  const equals = argument.indexOf('=');
  const path = argument.slice(0, equals === -1 ? undefined : equals);
  const span = { source, start: 0, end: path.length };
  if (equals === -1 || path === '') {
    findings.add(span, 'SET_SYNTAX', `\`--set ${argument}\` must read \`--set path.to.option=value\`, such as \`--set train.learning_rate=1e-4\`.`);
    return root;
  }
  if (path === 'extends' || path.startsWith('extends.')) {
    findings.add(span, 'SET_EXTENDS', '`extends` shapes the file itself and cannot be set. Write a config that extends both.');
    return root;
  }
  const node = parseYaml(source, findings, equals + 1);
  return node === undefined ? root : placeAt(root, path, { key: span, node }, findings);
}

/**
 * Puts a value at a dotted path. A key that was not there is added, and pointed at by whoever then finds that no schema
 * knows it; an index that was not there, or a step into a plain value, is a mistake.
 */
export function placeAt(root: MapNode, dotted: string, entry: MapEntry, findings: Findings): MapNode {
  const steps = parseDotted(dotted);
  const placed = place(root, steps, [], entry, findings);
  return placed?.kind === 'map' ? placed : root;
}

function place(node: ConfigNode, steps: readonly string[], walked: readonly (string | number)[], entry: MapEntry, findings: Findings): ConfigNode | undefined {
  const [step, ...rest] = steps;
  if (step === undefined) return entry.node;
  const parent = isEntryPath(walked) ? expandName(node) : node;
  const where = formatPath(walked);
  if (parent.kind === 'list') {
    const item = /^\d+$/.test(step) ? parent.items[Number(step)] : undefined;
    if (item === undefined) {
      findings.add(entry.key, 'SET_PATH', `\`${where}\` is a list of ${parent.items.length}; \`${step}\` is not one of its indices${indices(parent.items.length)}.`);
      return undefined;
    }
    const child = place(item, rest, [...walked, Number(step)], entry, findings);
    return child && { ...parent, items: parent.items.with(Number(step), child) };
  }
  if (parent.kind === 'scalar' && parent.value !== null) {
    findings.add(entry.key, 'SET_PATH', `\`${where}\` is a single value; it has no \`${step}\` to set.`);
    return undefined;
  }
  const map: MapNode = parent.kind === 'map' ? parent : emptyMap(entry.key);
  const below = map.entries.get(step)?.node ?? emptyMap(entry.key);
  const child = rest.length === 0 ? entry.node : place(below, rest, [...walked, step], entry, findings);
  return child && withEntry(map, step, { key: rest.length === 0 ? entry.key : (map.entries.get(step)?.key ?? entry.key), node: child });
}

/** Whether a bare name at this path stands for `{ use: name }`. */
function isEntryPath(path: readonly (string | number)[]): boolean {
  const [top, index] = path;
  if (path.length === 1) return top === 'engine' || top === 'load' || top === 'train';
  return path.length === 2 && typeof index === 'number' && (top === 'preprocess' || top === 'inject' || top === 'serve');
}

function indices(length: number): string {
  return length === 0 ? '' : length === 1 ? ' (0)' : ` (0 to ${length - 1})`;
}

function emptyMap(span: Span): MapNode {
  return { kind: 'map', entries: new Map(), span };
}
