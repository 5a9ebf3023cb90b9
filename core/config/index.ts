/** Config files: YAML with positions in, checked runs out, and every mistake at its place. */
export { differencesOf, differingOptions, optionsIn } from './difference.ts';
export type { OptionDifference } from './difference.ts';
export { ConfigError, displayPath, renderDiagnostic } from './diagnostic.ts';
export { tailsOf } from './dotted.ts';
export { contentOf, readDocument, topKeys } from './document.ts';
export type { Diagnostic } from './diagnostic.ts';
export type { SchemaSource } from './entry.ts';
export { plainOf } from './node.ts';
export type { NodePath } from './node.ts';
export { readPluginDirs, resolveConfigs } from './resolve.ts';
export type { ResolveOptions } from './resolve.ts';
export { entriesOf } from './run-config.ts';
export type { Entry, RunConfig } from './run-config.ts';
export type { SourceLocation } from './source.ts';
