import { readFile } from 'node:fs/promises';
import type { RunRecord } from '../run-directory.ts';
import { configFileOf, type RunDirectory } from '../run-directory.ts';
import { writeText } from '../durable.ts';
import { readHistory, type History } from '../history.ts';
import { drawChart, smoothed } from './chart.ts';
import { escapeHtml } from './escape.ts';
import { formatBytes, formatCount, formatDuration, formatLoss, formatRate, formatShare } from './format.ts';
import { planRows } from './plan-text.ts';
import { REPORT_STYLE } from './style.ts';

/** Writes report.html into a run directory, from what the directory holds. */
export async function writeReport(directory: Pick<RunDirectory, 'dir' | 'record' | 'eventsFile' | 'reportFile'>): Promise<void> {
  const config = await readFile(configFileOf(directory.dir), 'utf8');
  await writeText(directory.reportFile, renderReport(directory.record, readHistory(directory.eventsFile), config));
}

/** One page that needs nothing else: styles and drawings are in it, and it has no script. */
export function renderReport(record: RunRecord, history: History, config: string): string {
  const parts = [headline(record, history), charts(history), samples(history), facts(record), spans(record), evaluations(history), warnings(history), section('Config', `<pre>${escapeHtml(config)}</pre>`)];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escapeHtml(record.name)} - Graft run</title>
<style>${REPORT_STYLE}</style>
</head>
<body>
<main>
${parts.filter((part) => part !== '').join('\n')}
</main>
</body>
</html>
`;
}

function headline(record: RunRecord, { steps, evaluations }: History): string {
  const last = steps.at(-1);
  const before = evaluations.find(({ step }) => step === 0)?.loss;
  const after = record.result?.evalLoss ?? evaluations.at(-1)?.loss;
  const cards: (readonly [string, string])[] = [
    ['Steps', last === undefined ? '0' : `${formatCount(last.step)} of ${formatCount(last.totalSteps)}`],
    ['Training loss', last === undefined ? '-' : formatLoss(last.loss)],
    ['Evaluation loss', after === undefined ? '-' : before === undefined || before === after ? formatLoss(after) : `${formatLoss(before)} → ${formatLoss(after)}`],
    ['Trained', record.plan === undefined ? '-' : `${formatCount(record.plan.trainableParameters)} (${formatShare(record.plan.trainableParameters, record.plan.totalParameters)})`],
    ['Speed', record.result === undefined ? '-' : `${formatCount(record.result.tokensPerSecond)} tokens/s`],
    ['Time', steps.length === 0 ? '-' : formatDuration(steps.reduce((sum, step) => sum + step.seconds, 0))],
  ];
  const reason = record.reason === undefined ? '' : `<p class="reason">${escapeHtml(record.reason)}</p>`;
  return `<header><h1>${escapeHtml(record.name)} <span class="status ${record.status}">${record.status}</span></h1><p class="id">${escapeHtml(record.id)}</p>${reason}</header>
<dl class="cards">${cards.map(([name, value]) => `<div><dt>${name}</dt><dd>${escapeHtml(value)}</dd></div>`).join('')}</dl>`;
}

function charts({ steps, evaluations }: History): string {
  const of = (value: (step: History['steps'][number]) => number): (readonly [number, number])[] => steps.map((step) => [step.step, value(step)] as const);
  const losses = of(({ loss }) => loss);
  const speeds = of(({ tokens, seconds }) => (seconds === 0 ? Number.NaN : tokens / seconds));
  const drawn = [
    drawChart({ title: 'Training loss', format: formatLoss, series: [{ label: 'each step', tone: 'faint', points: losses }, { label: 'smoothed', tone: 'a', points: smoothed(losses) }] }),
    drawChart({ title: 'Evaluation loss', format: formatLoss, series: [{ label: 'evaluation', tone: 'b', marks: true, points: evaluations.map(({ step, loss }) => [step, loss] as const) }] }),
    ...metricsOf([...steps, ...evaluations]).map((name) => {
      const points = (events: readonly { readonly step: number; readonly metrics?: Readonly<Record<string, number>> }[]): [number, number][] => events.flatMap(({ step, metrics }): [number, number][] => (metrics?.[name] === undefined ? [] : [[step, metrics[name]]]));
      return drawChart({ title: name, format: formatLoss, series: [{ label: 'each step', tone: 'faint', points: points(steps) }, { label: 'smoothed', tone: 'a', points: smoothed(points(steps)) }, { label: 'evaluation', tone: 'b', marks: true, points: points(evaluations) }] });
    }),
    drawChart({ title: 'Learning rate', format: formatRate, tick: formatRate, fromZero: true, series: [{ label: 'learning rate', tone: 'a', points: of(({ learningRate }) => learningRate) }] }),
    drawChart({ title: 'Gradient norm before clipping', format: formatLoss, fromZero: true, series: [{ label: 'gradient norm', tone: 'a', points: of(({ gradNorm }) => gradNorm) }] }),
    drawChart({ title: 'Tokens per second', format: formatCount, tick: formatCount, fromZero: true, series: [{ label: 'each step', tone: 'faint', points: speeds }, { label: 'smoothed', tone: 'a', points: smoothed(speeds) }] }),
  ].filter((chart) => chart !== '');
  return drawn.length === 0 ? '' : section('Curves', `<div class="charts">${drawn.join('')}</div>`);
}

function samples({ generations }: History): string {
  const prompts = [...new Set(generations.map(({ prompt }) => prompt))];
  const answered = (prompt: string, tuned: boolean): string => generations.findLast((each) => each.prompt === prompt && (each.stack !== null) === tuned)?.text ?? '';
  const rows = prompts.map((prompt) => [prompt, answered(prompt, false), answered(prompt, true)]);
  return rows.length === 0 ? '' : section('Samples', table(['Prompt', 'Base', 'Tuned'], rows, 'samples'));
}

function facts(record: RunRecord): string {
  const { engine, memory, plan, data } = record;
  const rows: (readonly [string, string])[] = [
    ...(engine === undefined ? [] : [['engine', `${engine.name}: ${engine.detail}`] as const, ['chosen because', engine.reason] as const]),
    ...(plan === undefined ? [] : planRows(plan)),
    ...(memory === undefined ? [] : [['memory measured', `${formatBytes(memory.measuredPeakBytes)} at its highest; ${formatBytes(memory.estimatedPeakBytes)} were estimated (${formatDifference(memory)})`] as const]),
    ...(data === undefined ? [] : [['examples', `${data.preferences === true ? `${formatCount(data.sequences)} pairs, ${formatCount(data.evalSequences)} pairs held out` : `${formatCount(data.examples)} in ${formatCount(data.sequences)} sequences, ${formatCount(data.evalSequences)} sequences held out`}, ${formatCount(data.truncatedExamples)} truncated, ${formatCount(data.badRows)} bad rows`] as const]),
    ['seed', String(record.seed)],
    ['began', record.startedAt],
    ...(record.endedAt === undefined ? [] : [['ended', record.endedAt] as const]),
    ...record.resumed.map(({ at, step }) => ['resumed', `${at} from step ${step}`] as const),
    ...(record.adapters ?? []).map((folder) => ['saved', folder] as const),
  ];
  const plugins = Object.entries(record.generations).map(([plugin, { version, hash }]) => [plugin, version, hash.slice(0, 12)]);
  return section('Run', `${table(undefined, rows, 'facts')}${plugins.length === 0 ? '' : table(['Plugin', 'Version', 'Generation'], plugins, 'plugins')}`);
}

function spans({ spans: list = [] }: RunRecord): string {
  if (list.length === 0) return '';
  return section('Configs', table(['After step', 'Config', 'Since', 'Plugins'], list.map(({ fromStep, config, at, generations }) => [String(fromStep), config, at, Object.entries(generations).map(([plugin, { hash }]) => `${plugin} ${hash.slice(0, 12)}`).join(', ')]), 'numbers'));
}

function formatDifference({ estimatedPeakBytes, measuredPeakBytes }: NonNullable<RunRecord['memory']>): string {
  const percent = (100 * (estimatedPeakBytes - measuredPeakBytes)) / measuredPeakBytes;
  return `${percent >= 0 ? '+' : ''}${percent.toFixed(0)} %`;
}

function evaluations({ evaluations: list }: History): string {
  if (list.length === 0) return '';
  const shown = (value: number | undefined): string => (value === undefined ? '' : formatLoss(value));
  const names = metricsOf(list);
  const perplexed = list.some(({ perplexity }) => perplexity !== undefined);
  const head = ['Step', 'Loss', ...(perplexed ? ['Perplexity'] : []), ...names.map(escapeHtml), 'Tokens'];
  return section('Evaluations', table(head, list.map(({ step, loss, perplexity, metrics, trainedTokens }) => [String(step), formatLoss(loss), ...(perplexed ? [shown(perplexity)] : []), ...names.map((name) => shown(metrics?.[name])), formatCount(trainedTokens)]), 'numbers'));
}

/** Names of what is told beside the loss, in the order first told. */
function metricsOf(events: readonly { readonly metrics?: Readonly<Record<string, number>> }[]): readonly string[] {
  return [...new Set(events.flatMap(({ metrics = {} }) => Object.keys(metrics)))];
}

function warnings({ logs }: History): string {
  const told = logs.filter(({ level }) => level !== 'info');
  return told.length === 0 ? '' : section('Warnings', `<ul>${told.map(({ message }) => `<li>${escapeHtml(message)}</li>`).join('')}</ul>`);
}

function section(title: string, body: string): string {
  return `<section><h2>${title}</h2>${body}</section>`;
}

function table(head: readonly string[] | undefined, rows: readonly (readonly string[])[], kind: string): string {
  const top = head === undefined ? '' : `<thead><tr>${head.map((cell) => `<th scope="col">${cell}</th>`).join('')}</tr></thead>`;
  const body = rows.map(([first, ...rest]) => `<tr><th scope="row">${escapeHtml(first ?? '')}</th>${rest.map((cell) => `<td>${escapeHtml(cell)}</td>`).join('')}</tr>`);
  return `<table class="${kind}">${top}<tbody>${body.join('')}</tbody></table>`;
}
