import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import semver from 'semver';
import type { PluginFolder, PluginManifest, Stage } from '../contracts/index.ts';
import { GraftError, reasonOf } from './errors.ts';
import { STAGES } from './hooks.ts';

/** Version of what a plugin may rely on: core/index.ts and the contracts. Manifests name a range of it. */
export const API_VERSION = '1.0.0';

/**
 * Reads and checks the manifest of one folder. No code of the plugin runs.
 * @throws GraftError `MANIFEST_MISSING` (no package.json, or none of its keys is "graft"), `MANIFEST_INVALID`, `API_MISMATCH`
 */
export async function readPluginFolder(dir: string, apiVersion: string): Promise<PluginFolder> {
  const file = join(dir, 'package.json');
  const source = await readFile(file, 'utf8').catch(() => undefined);
  if (source === undefined) throw new GraftError('MANIFEST_MISSING', `${dir} has no package.json, so it is not a plugin.`);
  const json = parseJson(source, file);
  if (!isRecord(json) || !('graft' in json)) throw new GraftError('MANIFEST_MISSING', `${file} has no "graft" key, so ${dir} is not a plugin.`);
  const manifest = checkManifest(json, json['graft'], file);
  const fits = semver.satisfies(apiVersion, manifest.api, { includePrerelease: true });
  if (!fits) throw new GraftError('API_MISMATCH', `${file}: ${manifest.packageName} is written for plugin API ${manifest.api}, and this is ${apiVersion}.`);
  return { id: manifest.provides ?? `${manifest.stage}:${manifest.name}`, dir, manifest, source, entry: entryOf(dir, json, file) };
}

function checkManifest(packageJson: Record<string, unknown>, graft: unknown, file: string): PluginManifest {
  const invalid = (problem: string): never => {
    throw new GraftError('MANIFEST_INVALID', `${file}: ${problem}`);
  };
  const text = (value: unknown, key: string): string => (typeof value === 'string' && value !== '' ? value : invalid(`"${key}" must be a text that is not empty.`));
  if (!isRecord(graft)) return invalid('"graft" must be an object.');
  const unknown = Object.keys(graft).find((key) => !['api', 'stage', 'provides', 'name', 'consumes', 'swap'].includes(key));
  if (unknown !== undefined) invalid(`"graft.${unknown}" is not a key of a manifest; there are api, stage, provides, name, consumes and swap.`);
  const version = text(packageJson['version'], 'version');
  if (semver.valid(version) === null) invalid(`"version" is ${JSON.stringify(version)}, which is not a semver version.`);
  const api = text(graft['api'], 'graft.api');
  if (semver.validRange(api) === null) invalid(`"graft.api" is ${JSON.stringify(api)}, which is not a semver range.`);
  const { stage, provides, consumes = [], swap = 'live' } = graft;
  if ((stage === undefined) === (provides === undefined)) invalid('"graft" must have either "stage" or "provides", and not both.');
  if (stage !== undefined && !STAGES.includes(stage as Stage)) invalid(`"graft.stage" is ${JSON.stringify(stage)}; it must be one of ${STAGES.join(', ')}.`);
  if (!Array.isArray(consumes) || consumes.some((name) => typeof name !== 'string')) invalid('"graft.consumes" must be a list of token names.');
  if (swap !== 'live' && swap !== 'restart') invalid(`"graft.swap" is ${JSON.stringify(swap)}; it must be "live" or "restart".`);
  const offer = stage === undefined ? { provides: text(provides, 'graft.provides') } : { stage: stage as Stage };
  const names = { packageName: text(packageJson['name'], 'name'), name: text(graft['name'], 'graft.name') };
  return { ...names, ...offer, version, api, consumes: consumes as string[], swap: swap as PluginManifest['swap'] };
}

function entryOf(dir: string, { main }: Record<string, unknown>, file: string): string {
  const names = typeof main === 'string' ? [main] : ['index.ts', 'index.js', 'index.mjs', 'index.cjs'];
  const entry = names.map((name) => join(dir, name)).find((path) => existsSync(path));
  if (entry !== undefined) return entry;
  const problem = typeof main === 'string' ? `"main" is ${JSON.stringify(main)}, and there is no such file.` : 'there is no "main", and no index.ts or index.js beside it.';
  throw new GraftError('MANIFEST_INVALID', `${file}: ${problem}`);
}

function parseJson(text: string, file: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new GraftError('MANIFEST_INVALID', `${file} is not valid JSON: ${reasonOf(error)}`);
  }
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);
