import { readFile } from 'node:fs/promises';
import { GraftError, reasonOf } from '../kernel/errors.ts';

/**
 * Reads a JSON object, such as `adapter_config.json`.
 * @returns undefined where there is no such file
 * @throws GraftError `JSON_FILE` where it is not a JSON object
 */
export async function readJsonFile(path: string): Promise<Readonly<Record<string, unknown>> | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT' || (error as NodeJS.ErrnoException).code === 'ENOTDIR') return undefined;
    throw error;
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new GraftError('JSON_FILE', `${path} is not JSON: ${reasonOf(error)}.`, { cause: error });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new GraftError('JSON_FILE', `${path} is not a JSON object.`);
  return value as Readonly<Record<string, unknown>>;
}

/**
 * Writes JSON as Python's `json.dump(indent=2)` does, for readers that tell `1.0` from `1`: AdapterHub takes a scaling that
 * is an integer for no scaling at all.
 * @param floats keys whose numbers are floats
 */
export function pythonJson(value: unknown, floats: readonly string[]): string {
  const whole = new RegExp(`^( *"(?:${floats.join('|')})": -?\\d+)(,?)$`, 'gm');
  return JSON.stringify(value, null, 2).replace(whole, '$1.0$2');
}
