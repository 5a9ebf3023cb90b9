import { findSourceMap } from 'node:module';
import { fileURLToPath } from 'node:url';
import type { Build } from './builder.ts';

/**
 * The line of a plugin's own source that an error came from, `/plugins/x/index.ts:3:9`; undefined where its stack does not
 * pass through the plugin. Node maps stacks by itself, unless another tool has taken that over: then we do.
 */
export function placeOf(error: unknown, build: Build): string | undefined {
  const stack = error instanceof Error ? (error.stack ?? '') : '';
  const frame = stack.split('\n').find((line) => line.includes(build.dir) && /:\d+:\d+\)?$/.test(line));
  const [, path, line, column] = frame?.slice(frame.indexOf(build.dir)).match(/^(.*):(\d+):(\d+)\)?$/) ?? [];
  if (path === undefined) return undefined;
  if (path !== build.filename) return `${path}:${line}:${column}`;
  const entry = findSourceMap(build.filename)?.findEntry(Number(line) - 1, Number(column) - 1);
  if (entry === undefined || !('originalSource' in entry)) return undefined;
  const source = entry.originalSource.startsWith('file:') ? fileURLToPath(entry.originalSource) : entry.originalSource;
  return `${source}:${entry.originalLine + 1}:${entry.originalColumn + 1}`;
}
