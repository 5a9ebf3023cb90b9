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

  /** @param code of the error as a whole; `CONFIG_INVALID` unless it stands for one plugin's error */
  constructor(diagnostics: readonly Diagnostic[], code = 'CONFIG_INVALID', cause?: unknown) {
    super(code, diagnostics.map(renderDiagnostic).join('\n\n'), { cause });
    this.diagnostics = diagnostics;
  }

  static override is(error: unknown): error is ConfigError {
    return GraftError.is(error) && Array.isArray((error as { diagnostics?: unknown }).diagnostics);
  }
}

/** Collects mistakes while a config is resolved, so that all of them are told at once. */
export class Findings {
  readonly #found = new Map<string, { readonly span: Span; readonly diagnostic: Diagnostic }>();
  /** In the order in which they were read, which is the order in which their mistakes are told. */
  readonly #sources: Source[] = [];

  /** A mistake told before (a sweep meets it once a combination) is told once. */
  add(span: Span, code: string, message: string, suggestion?: string): void {
    if (!this.#sources.includes(span.source)) this.#sources.push(span.source);
    const diagnostic = diagnose(span, code, message, suggestion);
    const key = JSON.stringify([diagnostic.file, span.start, span.end, span.source.text.length, code, message]);
    if (!this.#found.has(key)) this.#found.set(key, { span, diagnostic });
  }

  /** Fixes a source's place in the order of telling, whether or not it turns out to hold mistakes. */
  reading(source: Source): void {
    this.#sources.push(source);
  }

  get any(): boolean {
    return this.#found.size > 0;
  }

  /** @throws ConfigError when there is anything to tell */
  throwIfAny(): void {
    if (!this.any) return;
    const rank = new Map(this.#sources.map((source, index) => [source, index]));
    const byPlace = [...this.#found.values()].sort(
      (a, b) => (rank.get(a.span.source) ?? 0) - (rank.get(b.span.source) ?? 0) || a.span.start - b.span.start,
    );
    throw new ConfigError(byPlace.map(({ diagnostic }) => diagnostic));
  }
}

export function diagnose(span: Span, code: string, message: string, suggestion?: string): Diagnostic {
  return { code, message, ...locationOf(span), frame: codeFrame(span), ...(suggestion === undefined ? {} : { suggestion }) };
}
