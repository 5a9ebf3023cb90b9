import type { TSchema } from 'typebox';
import type { Kernel, Stage } from '../contracts/index.ts';
import { GraftError } from '../kernel/errors.ts';
import { complaintsOf } from './complaint.ts';
import type { Complaint } from './complaint.ts';
import { composedOptions } from './composed.ts';
import type { Findings } from './diagnostic.ts';
import { expandName } from './merge.ts';
import { keySpan, nearestNode, withoutEntry } from './node.ts';
import type { MapNode, NodePath } from './node.ts';
import { useSpan } from './run-config.ts';
import type { Entry } from './run-config.ts';
import type { StringSettler } from './strings.ts';
import { listed, nearest } from './suggest.ts';
import { violations } from './validator.ts';

/** What a config is checked against: the kernel, or anything that knows as much. */
export type SchemaSource = Pick<Kernel, 'schema' | 'names'> & Partial<Pick<Kernel, 'explain'>>;

export const STAGES: readonly Stage[] = ['load', 'preprocess', 'inject', 'train', 'serve'];

/** An entry, and how a run directory writes it. */
export interface CheckedEntry {
  readonly entry: Entry;
  readonly written: Readonly<Record<string, unknown>>;
}

/** Checks one entry of a stage against the schema of the plugin that it names. */
export class EntryChecker {
  readonly #schemas: SchemaSource;
  readonly #settler: StringSettler;
  readonly #findings: Findings;

  constructor(schemas: SchemaSource, settler: StringSettler, findings: Findings) {
    this.#schemas = schemas;
    this.#settler = settler;
    this.#findings = findings;
  }

  /** @returns undefined when the entry cannot be used; `findings` says why */
  check(root: MapNode, stage: Stage, path: NodePath): CheckedEntry | undefined {
    const node = expandName(nearestNode(root, path).node);
    if (node.kind !== 'map') {
      this.#findings.add(node.span, 'WRONG_TYPE', `An entry of \`${stage}\` is the name of a plugin, or a mapping with \`use: <name>\` and its options.${this.#names(stage)}`);
      return undefined;
    }
    const use = node.entries.get('use')?.node;
    if (use?.kind !== 'scalar' || typeof use.value !== 'string' || use.value === '') {
      const span = use?.span ?? (path.length === 1 ? keySpan(root, path) : { ...node.span, end: node.span.start + 1 });
      this.#findings.add(span, 'MISSING_USE', `This entry of \`${stage}\` must name its plugin: \`use: <name>\`.${this.#names(stage)}`);
      return undefined;
    }
    const schema = this.#schemas.schema(stage, use.value);
    if (schema === undefined) {
      this.#refuseName(root, stage, use.value, path);
      return undefined;
    }
    const { value, written } = this.#settler.settle(withoutEntry(node, 'use'), schema);
    const options = value as Record<string, unknown>;
    const entry = { use: use.value, options, path };
    try {
      this.#check(root, path, stage, use.value, schema, options);
      for (const { key, stage: owner, name } of composedOptions(schema)) {
        const composed = this.#schemas.schema(owner, name);
        if (composed !== undefined && isMapping(options[key])) this.#check(root, [...path, key], owner, name, composed, options[key]);
      }
    } catch (error) {
      if (!GraftError.is(error)) throw error;
      this.#findings.add(useSpan(root, path), error.code, `The ${stage} plugin \`${use.value}\` cannot be used: ${error.message}.`);
    }
    return { entry, written: { use: use.value, ...overlay(options, written) } };
  }

  /** Checks options against their owner's schema, and fills in its defaults. */
  #check(root: MapNode, path: NodePath, stage: Stage, name: string, schema: TSchema, options: Record<string, unknown>): void {
    for (const complaint of complaintsOf(violations(schema, options), options, { name: `the ${stage} plugin \`${name}\``, noun: 'option' })) {
      report(this.#findings, root, path, complaint);
    }
  }

  #names(stage: Stage): string {
    const names = this.#schemas.names(stage);
    return names.length === 0 ? ` There is no ${stage} plugin.` : ` There ${names.length === 1 ? 'is' : 'are'} ${listed(names)}.`;
  }

  #refuseName(root: MapNode, stage: Stage, name: string, path: NodePath): void {
    const span = useSpan(root, path);
    const slot = this.#schemas.explain?.().slots.find((each) => each.id === `${stage}:${name}`);
    if (slot !== undefined || this.#schemas.names(stage).includes(name)) {
      const reason = slot?.reason === undefined ? '' : `: ${slot.reason}`;
      this.#findings.add(span, 'PLUGIN_UNAVAILABLE', `The ${stage} plugin \`${name}\` is there but cannot be used${reason}. \`graft plugins explain\` says more.`);
      return;
    }
    const elsewhere = STAGES.find((other) => other !== stage && this.#schemas.names(other).includes(name));
    const suggestion = nearest(name, this.#schemas.names(stage));
    const hint = elsewhere !== undefined ? ` \`${name}\` is a plugin of \`${elsewhere}\`.` : suggestion === undefined ? this.#names(stage) : '';
    this.#findings.add(span, 'PLUGIN_UNKNOWN', `There is no ${stage} plugin \`${name}\`.${hint}`, elsewhere === undefined ? suggestion : undefined);
  }
}

/** Adds a complaint about something inside a part of the config to the findings. */
export function report(findings: Findings, root: MapNode, base: NodePath, complaint: Complaint): void {
  const path = [...base, ...complaint.path];
  const whole = complaint.path.length === 0 && base.length > 0;
  const found = nearestNode(root, path);
  const span = whole ? useSpan(root, base) : complaint.at === 'value' && found.exact ? found.node.span : keySpan(root, path);
  findings.add(span, complaint.code, complaint.message, complaint.suggestion);
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The values with their defaults, but what was written where a variable was filled in. */
export function overlay(value: unknown, written: unknown): Record<string, unknown> {
  return merge(value, written) as Record<string, unknown>;
}

function merge(value: unknown, written: unknown): unknown {
  if (Array.isArray(value)) return value.map((item, index) => merge(item, Array.isArray(written) ? (written as readonly unknown[])[index] : undefined));
  if (typeof value === 'object' && value !== null) {
    const below = (typeof written === 'object' && written !== null ? written : {}) as Readonly<Record<string, unknown>>;
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, merge(each, Object.hasOwn(below, key) ? below[key] : undefined)]));
  }
  return written ?? value;
}
