/** Line charts as SVG text: no script, no dependency, readable by a screen reader. */
import { escapeHtml } from './escape.ts';

export interface Series {
  readonly label: string;
  /** Class that gives the line its colour: `a`, `b` or `faint`. */
  readonly tone: 'a' | 'b' | 'faint';
  readonly points: readonly (readonly [x: number, y: number])[];
  /** Marks each point, for series of few. */
  readonly marks?: boolean;
}

export interface Chart {
  readonly title: string;
  readonly series: readonly Series[];
  /** How a value is written in the description. */
  readonly format: (value: number) => string;
  /** How a round value is written on the axis; as it is, by default. */
  readonly tick?: (value: number) => string;
  /** Begin the axis at 0. */
  readonly fromZero?: boolean;
}

const WIDTH = 560;
const HEIGHT = 240;
const LEFT = 62;
const RIGHT = 12;
const TOP = 12;
const BOTTOM = 30;
/** More points than this are drawn as the mean of neighbours: a chart has no more columns of pixels. */
const MAX_POINTS = 800;

/** Draws a chart over steps, or nothing where no series has a finite point. */
export function drawChart({ title, series, format, tick: written = String, fromZero }: Chart): string {
  const drawn = series.map((each) => ({ ...each, points: thinned(each.points.filter(([, y]) => Number.isFinite(y))) })).filter(({ points }) => points.length > 0);
  if (drawn.length === 0) return '';
  const all = drawn.flatMap(({ points }) => points);
  const x = axis(Math.min(...all.map(([step]) => step)), Math.max(...all.map(([step]) => step)), 6, true);
  const y = axis(fromZero === true ? 0 : Math.min(...all.map(([, value]) => value)), Math.max(...all.map(([, value]) => value)), 5, false);
  const px = (step: number): number => LEFT + ((step - x.low) / (x.high - x.low)) * (WIDTH - LEFT - RIGHT);
  const py = (value: number): number => HEIGHT - BOTTOM - ((value - y.low) / (y.high - y.low)) * (HEIGHT - TOP - BOTTOM);
  const at = (value: number): string => value.toFixed(1);
  const grid = y.ticks.map((tick) => `<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${at(py(tick))}" y2="${at(py(tick))}"/><text x="${LEFT - 8}" y="${at(py(tick) + 4)}" text-anchor="end">${escapeHtml(written(tick))}</text>`);
  const steps = x.ticks.map((tick) => `<text x="${at(px(tick))}" y="${HEIGHT - 10}" text-anchor="middle">${tick}</text>`);
  const lines = drawn.map(({ points, tone, marks, label }) => {
    const path = points.map(([step, value], i) => `${i === 0 ? 'M' : 'L'}${at(px(step))} ${at(py(value))}`).join('');
    const dots = marks === true || points.length === 1 ? points.map(([step, value]) => `<circle class="${tone}" cx="${at(px(step))}" cy="${at(py(value))}" r="3"><title>${escapeHtml(`${label}, step ${step}: ${format(value)}`)}</title></circle>`).join('') : '';
    return `<path class="${tone}" d="${path}"/>${dots}`;
  });
  const legend = drawn.length > 1 ? `<ul class="legend">${drawn.map(({ tone, label }) => `<li><span class="${tone}"></span>${escapeHtml(label)}</li>`).join('')}</ul>` : '';
  const id = title.toLowerCase().replaceAll(/[^a-z]+/g, '-');
  return `<figure><figcaption>${escapeHtml(title)}</figcaption>${legend}<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-labelledby="${id}-title ${id}-desc"><title id="${id}-title">${escapeHtml(title)} over steps</title><desc id="${id}-desc">${escapeHtml(describe(drawn, format))}</desc>${grid.join('')}${steps.join('')}${lines.join('')}</svg></figure>`;
}

/** For who cannot see the lines: where each begins, ends, and its extremes. */
function describe(series: readonly Series[], format: (value: number) => string): string {
  return series
    .map(({ label, points }) => {
      const values = points.map(([, value]) => value);
      return `${label}: ${format(values[0]!)} at step ${points[0]![0]}, ${format(values.at(-1)!)} at step ${points.at(-1)![0]}, lowest ${format(Math.min(...values))}, highest ${format(Math.max(...values))}.`;
    })
    .join(' ');
}

/** Round ticks (1, 2 or 5 times a power of ten) and the range that they span. */
function axis(low: number, high: number, count: number, whole: boolean): { readonly low: number; readonly high: number; readonly ticks: readonly number[] } {
  const span = high > low ? high - low : Math.max(Math.abs(high) * 0.1, whole ? 1 : 1e-9);
  const rough = span / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(whole ? 1 : 0, power * ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10));
  const first = Math.floor(low / step) * step;
  const last = high > low ? Math.ceil(high / step) * step : first + step;
  // A tick is a multiple, not a sum: sums of 0.1 drift.
  const ticks = Array.from({ length: Math.round((last - first) / step) + 1 }, (_, i) => Number(((Math.round(first / step) + i) * step).toPrecision(12)));
  return whole ? { low, high: high > low ? high : low + 1, ticks: ticks.filter((tick) => tick >= low && tick <= high) } : { low: first, high: last, ticks };
}

function thinned(points: readonly (readonly [number, number])[]): readonly (readonly [number, number])[] {
  if (points.length <= MAX_POINTS) return points;
  const size = Math.ceil(points.length / MAX_POINTS);
  return Array.from({ length: Math.ceil(points.length / size) }, (_, i) => {
    const group = points.slice(i * size, (i + 1) * size);
    return [group.at(-1)![0], group.reduce((sum, [, value]) => sum + value, 0) / group.length] as const;
  });
}

/**
 * An exponential mean that is not pulled to its first values: `(sum of b^k y) / (sum of b^k)`, over about an eighth of a
 * short run and ten points of a long one.
 */
export function smoothed(points: readonly (readonly [number, number])[], beta = 1 - 1 / Math.min(10, Math.max(2, points.length / 8))): readonly (readonly [number, number])[] {
  let sum = 0;
  let weight = 0;
  return points.map(([step, value]) => {
    sum = beta * sum + value;
    weight = beta * weight + 1;
    return [step, sum / weight] as const;
  });
}
