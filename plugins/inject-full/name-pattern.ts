import { GraftError } from 'graft';

/**
 * Reads one way of naming parameters:
 * `/…/` is a regular expression that may match anywhere; `*` stands for anything within a segment and `**` for anything;
 * all else is a whole name, the end of one, or a module's path, up to a dot on either side.
 * @param option the pattern's place in the config
 */
export function namePattern(pattern: string, option: readonly (string | number)[]): (name: string) => boolean {
  if (pattern.length > 1 && pattern.startsWith('/') && pattern.endsWith('/')) {
    try {
      const expression = new RegExp(pattern.slice(1, -1));
      return (name) => expression.test(name);
    } catch (cause) {
      throw new GraftError('PARAMETER_PATTERN', `${pattern} is not a regular expression: ${cause instanceof Error ? cause.message : String(cause)}.`, { option, cause });
    }
  }
  const source = pattern
    .split(/(\*\*|\*)/)
    .map((part) => (part === '**' ? '.*' : part === '*' ? '[^.]*' : part.replaceAll(/[.+?^${}()|[\]\\]/g, '\\$&')))
    .join('');
  const expression = new RegExp(`^(?:.*\\.)?${source}(?:\\..*)?$`);
  return (name) => expression.test(name);
}
