import type { TSchema } from 'typebox';
import { GraftError } from '../kernel/errors.ts';
import { complaintsOf, complaintText } from './complaint.ts';
import { violations } from './validator.ts';

/**
 * Checks options that did not come through a config file as a config's are checked, and fills in their defaults.
 * @param owner how messages call the schema's owner, such as ``the inject plugin `lora` ``
 * @param at path of the options in the config of the plugin that was given them
 * @returns a copy with defaults
 * @throws GraftError with the first complaint's code, the option's path, and every complaint in the message
 */
export function checkOptions(schema: TSchema, options: unknown, owner: string, at: readonly (string | number)[] = []): Record<string, unknown> {
  const copy = structuredClone(options ?? {}) as Record<string, unknown>;
  const complaints = complaintsOf(violations(schema, copy), copy, { name: owner, noun: 'option' });
  const [first] = complaints;
  if (first === undefined) return copy;
  throw new GraftError(first.code, complaints.map(complaintText).join(' '), { option: [...at, ...first.path] });
}
