import type { Static, TSchema } from 'typebox';
import { complaintsOf, type Complaint } from './complaint.ts';
import { Findings } from './diagnostic.ts';
import { report } from './entry.ts';
import { loadConfig } from './extend.ts';
import { plainOf } from './node.ts';
import { StringSettler } from './strings.ts';
import { reasonOf } from '../kernel/errors.ts';
import { violations } from './validator.ts';

/**
 * Reads a YAML file that is all of one schema, `extends` and environment variables included, with its defaults filled in.
 * @param name what a mistake's message calls the whole, such as `a daemon config`
 * @param check what is wrong with values that each are of the schema
 * @throws ConfigError with every mistake at its place; GraftError when the file cannot be read at all
 */
export async function readDocument<S extends TSchema>(file: string, schema: S, name: string, check: (value: Static<S>) => readonly Complaint[] = () => []): Promise<Static<S>> {
  const findings = new Findings();
  const root = await loadConfig(file, findings);
  findings.throwIfAny();
  const { value } = new StringSettler(process.env, findings).settle(root!, schema);
  for (const complaint of complaintsOf(violations(schema, value), value, { name, noun: 'key' })) report(findings, root!, [], complaint);
  findings.throwIfAny();
  for (const complaint of check(value as Static<S>)) report(findings, root!, [], complaint);
  findings.throwIfAny();
  return value as Static<S>;
}

/**
 * All that a config and what it extends say, as text that is another one whenever that is: of a file that can't be read, what is wrong with it.
 * @returns its top keys, too
 */
export async function contentOf(file: string): Promise<{ readonly keys: readonly string[]; readonly text: string }> {
  const findings = new Findings();
  try {
    const root = await loadConfig(file, findings);
    findings.throwIfAny();
    return { keys: [...root!.entries.keys()], text: JSON.stringify(plainOf(root!)) };
  } catch (error) {
    return { keys: [], text: reasonOf(error) };
  }
}

/** The keys at the top of a config and of what it extends; none where it can't be read, which whoever reads it in earnest will say. */
export async function topKeys(file: string): Promise<readonly string[]> {
  const root = await loadConfig(file, new Findings()).catch(() => undefined);
  return root === undefined ? [] : [...root.entries.keys()];
}
