import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Stage } from '../contracts/index.ts';
import { GraftError } from '../kernel/errors.ts';
import { STAGES } from '../kernel/hooks.ts';
import { API_VERSION } from '../kernel/manifest.ts';

const TEMPLATES = fileURLToPath(new URL('scaffold', import.meta.url));
const SUFFIX = '.template';

/** Tokens that a template of a stage takes from other plugins. */
const stageToConsumes: Readonly<Partial<Record<Stage, readonly string[]>>> = { load: ['load:llama'] };

export interface Scaffold {
  readonly dir: string;
  /** Their names, as written. */
  readonly files: readonly string[];
}

/**
 * Writes the folder `<into>/<stage>-<name>` of a plugin that works as it is and passes its own test.
 * @throws GraftError `STAGE_UNKNOWN`, `PLUGIN_NAME`, `FOLDER_EXISTS`
 */
export async function scaffoldPlugin(name: string, stage: string, into: string): Promise<Scaffold> {
  if (!STAGES.includes(stage as Stage)) throw new GraftError('STAGE_UNKNOWN', `There is no stage ${stage}.`, { hint: `There are: ${STAGES.join(', ')}.` });
  if (!/^[a-z][a-z0-9]*(?:-[a-z0-9]+)*$/.test(name)) throw new GraftError('PLUGIN_NAME', `${JSON.stringify(name)} cannot be the name of a plugin.`, { hint: 'Use lower-case letters, digits and single dashes, beginning with a letter, such as my-strategy.' });
  const dir = resolve(into, `${stage}-${name}`);
  if (existsSync(dir)) throw new GraftError('FOLDER_EXISTS', `${dir} is there already.`, { hint: 'Choose another name, or another --dir.' });
  const files = new Map([['package.json', manifest(name, stage as Stage)]]);
  for (const template of await readdir(join(TEMPLATES, stage))) {
    const text = fill(await readFile(join(TEMPLATES, stage, template), 'utf8'), name);
    const file = fill(template.slice(0, -SUFFIX.length), name);
    files.set(file, file === 'README.md' ? `# ${stage}-${name}\n\n${text}\n${TESTING.replaceAll('__folder__', `${stage}-${name}`)}` : text);
  }
  await mkdir(dir, { recursive: true });
  for (const [file, text] of files) await writeFile(join(dir, file), text);
  return { dir, files: [...files.keys()] };
}

const TESTING = `## Test

In Graft's repository: \`npx vitest run --config test/vitest.config.ts plugins/__folder__\`. From a folder of your own, beside
a clone of Graft whose path is in \`$GRAFT\`, with this folder in \`plugins/\`:
\`$GRAFT/node_modules/.bin/vitest run --config $GRAFT/test/vitest.config.ts --root .\`.

A run finds the plugin in \`plugins/\` of the working directory, and in every folder that its config lists under \`plugins:\`.
While \`graft serve --watch\` runs, saving a file here is enough: the next request is answered by the new code.
\`graft plugins explain\` says what the running code is and why an edit isn't.
`;

function manifest(name: string, stage: Stage): string {
  const graft = { api: `^${API_VERSION}`, stage, name, consumes: stageToConsumes[stage] ?? [], swap: 'live' };
  return `${JSON.stringify({ name: `graft-${stage}-${name}`, version: '0.1.0', private: true, type: 'module', main: './index.ts', graft }, undefined, 2)}\n`;
}

function fill(template: string, name: string): string {
  const pascal = name.replace(/(?:^|-)([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
  return template.replaceAll('__name__', name).replaceAll('__Name__', pascal);
}
