/** What the field `graft` of a fine-tuning request may not say: where files lie on this machine. */
import type { TSchema } from 'typebox';
import type { Stage } from '../../contracts/index.ts';
import { invalid } from './api-error.ts';
import { methodOf, type FineTuningBody } from './fine-tuning-body.ts';

/** The options of a plugin. */
export type SchemaOf = (stage: Stage, name: string) => TSchema | undefined;

interface FieldEntry {
  /** Path in the body. */
  readonly at: string;
  readonly stage: Stage;
  /** The plugin that is meant where the entry does not say. */
  readonly usual: string;
  readonly entry: Readonly<Record<string, unknown>> | undefined;
}

/** Options that say where files lie without their schema saying so. */
const ABOUT_FILES: readonly string[] = ['model', 'revision'];

/** @throws ApiError 400 naming the first option that is a path in its plugin's schema */
export function refusePaths(body: FineTuningBody, schemaOf: SchemaOf): void {
  const { graft = {} } = body;
  const method = methodOf(body);
  const entries: readonly FieldEntry[] = [
    { at: 'graft.load', stage: 'load', usual: 'llama', entry: graft.load },
    { at: 'graft.preprocess', stage: 'preprocess', usual: method.preprocess, entry: graft.preprocess },
    { at: 'graft.train', stage: 'train', usual: method.train, entry: graft.train },
    ...(graft.inject ?? []).map((entry, i) => ({ at: `graft.inject[${i}]`, stage: 'inject' as const, usual: '', entry })),
  ];
  for (const { at, stage, usual, entry = {} } of entries) {
    const schema = schemaOf(stage, typeof entry['use'] === 'string' ? entry['use'] : usual);
    const options = (schema as { readonly properties?: Readonly<Record<string, unknown>> } | undefined)?.properties ?? {};
    const forbidden = Object.keys(entry).find((key) => ABOUT_FILES.includes(key) || (Object.hasOwn(options, key) && isPath(options[key])));
    if (forbidden !== undefined) throw invalid(`'${at}.${forbidden}' says where files lie, which is for 'model', 'training_file' and 'validation_file' to say.`, `${at}.${forbidden}`, 'invalid_value');
  }
}

/** Whether a schema, or anything in it, is marked as a path. */
function isPath(schema: unknown): boolean {
  if (typeof schema !== 'object' || schema === null) return false;
  return (schema as { readonly graftPath?: unknown }).graftPath === true || Object.values(schema).some(isPath);
}
