/**
 * A path into a config as `--set` and `sweep` write it: keys and indices joined by dots, `inject.0.r`.
 * A dot that is part of a key is written `\.`: `inject.0.rank_pattern.layers\.0\.q_proj`.
 */
export function parseDotted(text: string): readonly string[] {
  return text.split(/(?<!\\)\./).map((step) => step.replace(/\\\./g, '.'));
}

/** The inverse of `parseDotted`. */
export function formatDotted(path: readonly (string | number)[]): string {
  return path.map((step) => String(step).replace(/\./g, '\\.')).join('.');
}

/** A path for people, such as `target_modules[0]`. */
export function formatPath(path: readonly (string | number)[]): string {
  return path.reduce<string>((text, step) => (typeof step === 'number' ? `${text}[${step}]` : text === '' ? step : `${text}.${step}`), '');
}

/** The last key of each dotted path, or as many of the last keys as it takes to tell the paths apart. */
export function tailsOf(dotted: readonly string[]): readonly string[] {
  const paths = dotted.map(parseDotted);
  return paths.map((path) => {
    for (let keys = 1; keys < path.length; keys++) {
      const tail = path.slice(-keys).join('.');
      if (paths.filter((other) => other.slice(-keys).join('.') === tail).length === 1) return tail;
    }
    return path.join('.');
  });
}
