/** Prometheus' text format, read as strictly as it is defined: https://prometheus.io/docs/instrumenting/exposition_formats */

export interface Family {
  readonly type: string;
  readonly help: string;
  readonly samples: readonly { readonly name: string; readonly labels: Readonly<Record<string, string>>; readonly value: number }[];
}

const NAME = '[a-zA-Z_:][a-zA-Z0-9_:]*';
const SAMPLE = new RegExp(`^(${NAME})(?:\\{(.*)\\})? (\\S+)$`);
const LABEL = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)/;
/** What Go's ParseFloat takes; prom-client writes `Nan`. */
const NUMBER = /^(?:[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]Inf|nan)$/i;
const SUFFIXES: Readonly<Record<string, readonly string[]>> = { histogram: ['_bucket', '_sum', '_count'], summary: ['', '_sum', '_count'] };

/** @throws Error naming the first line that is not as it must be */
export function parseExposition(text: string): ReadonlyMap<string, Family> {
  if (!text.endsWith('\n')) throw new Error('the last line does not end');
  const families = new Map<string, { type: string; help: string; samples: Family['samples'][number][] }>();
  const seen = new Set<string>();
  let help: { name: string; text: string } | undefined;
  let current: string | undefined;
  for (const line of text.slice(0, -1).split('\n')) {
    const fail = (why: string): never => {
      throw new Error(`${why}: ${line}`);
    };
    if (line === '') continue;
    const comment = new RegExp(`^# (HELP|TYPE) (${NAME}) (.*)$`).exec(line);
    if (comment !== null) {
      const [, kind, name, rest] = comment as unknown as [string, string, string, string];
      if (families.has(name)) fail('the family comes twice');
      if (kind === 'HELP') help = { name, text: rest };
      else {
        if (help?.name !== name) fail('a type without its help');
        if (!['counter', 'gauge', 'histogram', 'summary', 'untyped'].includes(rest)) fail('no such type');
        families.set(name, { type: rest, help: help!.text, samples: [] });
        current = name;
      }
      continue;
    }
    if (line.startsWith('#')) fail('neither help nor type');
    const sample = SAMPLE.exec(line) ?? fail('not a sample');
    const [, name, labelText, number] = sample as unknown as [string, string, string | undefined, string];
    const family = families.get(current ?? '') ?? fail('a sample before any type');
    if (!(SUFFIXES[family.type] ?? ['']).some((suffix) => name === `${current}${suffix}`)) fail(`a sample that is not of ${current}`);
    if (!NUMBER.test(number)) fail('not a number');
    const labels: Record<string, string> = {};
    for (let rest = labelText ?? ''; rest !== ''; ) {
      const [whole, label, value] = (LABEL.exec(rest) ?? fail('not a label')) as unknown as [string, string, string];
      if (label in labels) fail('a label twice');
      labels[label] = value;
      rest = rest.slice(whole.length);
    }
    const key = `${name}${JSON.stringify(Object.entries(labels).sort())}`;
    if (seen.has(key)) fail('a series twice');
    seen.add(key);
    family.samples.push({ name, labels, value: Number(number.replace('Inf', 'Infinity')) });
  }
  for (const [name, { type, samples }] of families) if (type === 'histogram') checkHistogram(name, samples);
  return families;
}

/** Buckets that grow up to `+Inf`, which is the count. */
function checkHistogram(name: string, samples: Family['samples']): void {
  const series = new Map<string, Family['samples'][number][]>();
  for (const sample of samples) {
    const key = JSON.stringify(Object.entries(sample.labels).filter(([label]) => label !== 'le').sort());
    series.set(key, [...(series.get(key) ?? []), sample]);
  }
  for (const own of series.values()) {
    const buckets = own.filter((sample) => sample.name === `${name}_bucket`);
    const count = own.find((sample) => sample.name === `${name}_count`)?.value;
    if (buckets.at(-1)?.labels['le'] !== '+Inf' || buckets.at(-1)!.value !== count) throw new Error(`${name}: the last bucket is not that of all`);
    if (buckets.some(({ value }, i) => i > 0 && value < buckets[i - 1]!.value)) throw new Error(`${name}: a bucket is smaller than the one before`);
    if (!own.some((sample) => sample.name === `${name}_sum`)) throw new Error(`${name} has no sum`);
  }
}

/** One sample's value. */
export function valueOf(families: ReadonlyMap<string, Family>, name: string, labels: Readonly<Record<string, string>> = {}): number | undefined {
  const all = [...families.values()].flatMap(({ samples }) => samples);
  return all.find((sample) => sample.name === name && JSON.stringify(Object.entries(sample.labels).sort()) === JSON.stringify(Object.entries(labels).sort()))?.value;
}
