import type { Findings } from './diagnostic.ts';
import { parseDotted, tailsOf } from './dotted.ts';
import { plainOf, withoutEntry } from './node.ts';
import type { ConfigNode, ListNode, MapNode } from './node.ts';
import { placeAt } from './override.ts';
import type { Span } from './source.ts';

/** Beyond this a sweep is more likely a mistake than a plan. */
const MAX_COMBINATIONS = 1000;
/** A longer suffix would not fit into a folder's name; the number of the combination stands in for it. */
const MAX_SUFFIX = 100;

/** One combination of a sweep. */
export interface Variant {
  readonly root: MapNode;
  /** Told apart from its siblings by name: `-r=8-learning_rate=0.0001`; empty without a sweep. */
  readonly suffix: string;
}

interface Axis {
  readonly dotted: string;
  readonly key: Span;
  readonly values: ListNode;
}

/**
 * Expands `sweep`, a mapping of dotted paths to lists of values, to the product of the lists: the last path varies fastest.
 * @param fixed dotted paths that `--set` gave; a sweep over one of them is a mistake
 */
export function expandSweep(root: MapNode, fixed: ReadonlySet<string>, findings: Findings): readonly Variant[] {
  const sweep = root.entries.get('sweep');
  const bare = withoutEntry(root, 'sweep');
  if (sweep === undefined) return [{ root: bare, suffix: '' }];
  const axes = axesOf(sweep.node, fixed, findings);
  const combinations = axes.reduce((product, axis) => product * axis.values.items.length, 1);
  if (combinations > MAX_COMBINATIONS) {
    findings.add(sweep.key, 'SWEEP_TOO_LARGE', `This sweep has ${combinations.toLocaleString('en')} combinations; at most ${MAX_COMBINATIONS.toLocaleString('en')} run at once.`);
    return [{ root: bare, suffix: '' }];
  }
  const labels = tailsOf(axes.map(({ dotted }) => dotted)).map(fileName);
  let variants: readonly Variant[] = [{ root: bare, suffix: '' }];
  axes.forEach((axis, index) => {
    variants = variants.flatMap((variant) =>
      axis.values.items.map((node, choice) => ({
        root: placeAt(variant.root, axis.dotted, { key: axis.key, node }, findings),
        suffix: `${variant.suffix}-${labels[index]}=${valueLabel(node, choice)}`,
      })),
    );
  });
  return variants.map((variant, index) => (variant.suffix.length <= MAX_SUFFIX ? variant : { ...variant, suffix: `-#${index + 1}` }));
}

function axesOf(node: ConfigNode, fixed: ReadonlySet<string>, findings: Findings): readonly Axis[] {
  if (node.kind !== 'map') {
    if (node.kind !== 'scalar' || node.value !== null) findings.add(node.span, 'WRONG_TYPE', '`sweep` must map paths to lists of values, such as `train.learning_rate: [1e-4, 2e-4]`.');
    return [];
  }
  const axes: Axis[] = [];
  for (const [dotted, { key, node: values }] of node.entries) {
    if (values.kind !== 'list' || values.items.length === 0) {
      findings.add(values.span, 'WRONG_TYPE', `\`sweep\` needs a list of at least one value for \`${dotted}\`.`);
    } else if (['name', 'extends', 'sweep', 'plugins', 'queue'].includes(parseDotted(dotted)[0] ?? '')) {
      findings.add(key, 'SWEEP_PATH', `\`${dotted}\` cannot be swept.`);
    } else if ([...fixed].some((path) => within(path, dotted))) {
      findings.add(key, 'SWEEP_FIXED', `\`--set ${[...fixed].find((path) => within(path, dotted))}=...\` fixes what this sweeps. Leave one of them out; \`--set sweep={}\` leaves out the sweep.`);
    } else if (axes.some((axis) => within(axis.dotted, dotted) || within(dotted, axis.dotted))) {
      findings.add(key, 'SWEEP_OVERLAP', `\`${dotted}\` overlaps another path of this sweep, and one would undo the other.`);
    } else {
      refuseRepeats(dotted, values, findings);
      axes.push({ dotted, key, values });
    }
  }
  return axes;
}

/** Whether a dotted path is another one or lies inside it. */
function within(path: string, other: string): boolean {
  return path === other || path.startsWith(`${other}.`);
}

function refuseRepeats(dotted: string, values: ListNode, findings: Findings): void {
  const seen = new Set<string>();
  for (const item of values.items) {
    const text = JSON.stringify(plainOf(item));
    if (seen.has(text)) findings.add(item.span, 'SWEEP_REPEAT', `\`sweep\` lists the value ${text} twice for \`${dotted}\`.`);
    seen.add(text);
  }
}

/** A value as part of a file name: itself when it is short and plain, else its place in the list, from 1. */
function valueLabel(node: ConfigNode, choice: number): string {
  const value = plainOf(node);
  const text = Array.isArray(value) ? value.map(String).join('+') : typeof value === 'object' && value !== null ? '' : String(value);
  return text !== '' && text.length <= 40 && text === fileName(text) ? text : `#${choice + 1}`;
}

/** Text with everything that does not belong into a file's name replaced. */
export function fileName(text: string): string {
  return text.replace(/[^A-Za-z0-9._+=#-]/g, '_');
}
