import { relative } from 'node:path';
import { GraftError } from '../kernel/errors.ts';
import { codeFrame } from './frame.ts';
import { locationOf } from './source.ts';
import type { Source, Span } from './source.ts';

/** One mistake in a config. */
export interface Diagnostic {
  /** Stable, in capitals, such as `UNKNOWN_KEY`. */
  readonly code: string;
  /** What is wrong, in sentences; what to do is part of it. */
  readonly message: string;
  /** Absolute path, or `--set` for a value given on the command line. */
  readonly file: string;
  /** From 1. */
  readonly line: number;
  /** From 1. */
  readonly column: number;
  readonly frame: string;
  /** The nearest valid text to write in its place. */
  readonly suggestion?: string;
}

/** A path as a person in this working directory would type it. */
export function displayPath(file: string): string {
  const short = relative(process.cwd(), file);
  return file.startsWith('--') || short.startsWith('..') || short === '' ? file : short;
}

/** `file:line:column: message` and the code frame. */
export function renderDiagnostic(diagnostic: Diagnostic): string {
  const { file, line, column, message, suggestion, frame } = diagnostic;
  const question = suggestion === undefined ? '' : ` Did you mean \`${suggestion}\`?`;
  return `${displayPath(file)}:${line}:${column}: ${message}${question}\n${frame}`;
}

/** Every mistake in a config at once, in the order of the text. Its message is what a person is shown. */
export class ConfigError extends GraftError {
  readonly diagnostics: readonly Diagnostic[];

  /**
   * @param code of the error as a whole: `CONFIG_INVALID`, or the code of the one error of a plugin that it stands for
   * @param untold mistakes beyond those in `diagnostics`
   */
  constructor(diagnostics: readonly Diagnostic[], { code = 'CONFIG_INVALID', cause, untold = 0 }: { readonly code?: string; readonly cause?: unknown; readonly untold?: number } = {}) {
    const rest = untold === 0 ? [] : [`... and ${untold} more.`];
    super(code, [...diagnostics.map(renderDiagnostic), ...rest].join('\n\n'), { cause });
    this.diagnostics = diagnostics;
  }

  static override is(error: unknown): error is ConfigError {
    return GraftError.is(error) && Array.isArray((error as { diagnostics?: unknown }).diagnostics);
  }
}

/** A file with more mistakes than this is of another kind; its first ones are told. */
const MAX_TOLD = 100;

interface Finding {
  readonly span: Span;
  readonly code: string;
  readonly message: string;
  readonly suggestion?: string;
}

/** Collects mistakes while a config is resolved, so that all of them are told at once. */
export class Findings {
  readonly #found = new Map<string, Finding>();
  /** In the order in which they were read, which is the order in which their mistakes are told. */
  readonly #sourceToRank = new Map<Source, number>();

  /** A mistake told before (a sweep meets it once a combination) is told once. */
  add(span: Span, code: string, message: string, suggestion?: string): void {
    this.reading(span.source);
    const key = JSON.stringify([this.#sourceToRank.get(span.source), span.start, span.end, code, message]);
    if (!this.#found.has(key)) this.#found.set(key, { span, code, message, suggestion });
  }

  /** Fixes a source's place in the order of telling, whether or not it turns out to hold mistakes. */
  reading(source: Source): void {
    if (!this.#sourceToRank.has(source)) this.#sourceToRank.set(source, this.#sourceToRank.size);
  }

  get any(): boolean {
    return this.#found.size > 0;
  }

  /** @throws ConfigError when there is anything to tell */
  throwIfAny(): void {
    if (!this.any) return;
    const rankOf = ({ span }: Finding): number => this.#sourceToRank.get(span.source) ?? 0;
    const byPlace = [...this.#found.values()].sort((a, b) => rankOf(a) - rankOf(b) || a.span.start - b.span.start);
    const told = byPlace.slice(0, MAX_TOLD).map(({ span, code, message, suggestion }) => diagnose(span, code, message, suggestion));
    throw new ConfigError(told, { untold: byPlace.length - told.length });
  }
}

export function diagnose(span: Span, code: string, message: string, suggestion?: string): Diagnostic {
  return { code, message, ...locationOf(span), frame: codeFrame(span), ...(suggestion === undefined ? {} : { suggestion }) };
}
