import { Value } from 'typebox/value';
import { settingsOf, sftOptions, type SftOptions, type SftSettings } from './options.ts';

/** Options with their defaults filled in. */
export function options(given: Partial<SftOptions> = {}): SftOptions {
  return Value.Default(sftOptions, { ...given }) as SftOptions;
}

export function defaults(given: Partial<SftOptions> = {}): SftSettings {
  return settingsOf(options(given));
}
