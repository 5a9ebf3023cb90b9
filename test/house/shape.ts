import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { readManifest } from './house.ts';
import type { House } from './house.ts';

const TOP: readonly string[] = ['LICENSE', 'README.md', 'configs', 'core', 'package-lock.json', 'package.json', 'plugins', 'test', 'tsconfig.json'];
const MAX_LINES = 400;
const KERNEL_LINES = 1200;
const KERNEL_FILE_LINES = 250;
/** Spelt so that this file does not hold them. */
const MARKS = new RegExp(`\\b(${['TO' + 'DO', 'FIX' + 'ME', 'XX' + 'X', 'HA' + 'CK'].join('|')})\\b`);

/** Files and folders at the top that the plan of the house does not have. */
export function topViolations(house: House): readonly string[] {
  const extra = house.top.filter((name) => !TOP.includes(name)).map((name) => `${name} does not belong at the top; there is ${TOP.join(', ')}`);
  const missing = TOP.filter((name) => !house.top.includes(name)).map((name) => `${name} is missing at the top`);
  return [...extra, ...missing];
}

/** Files that have grown beyond what one can keep in mind; the kernel is held to less. */
export function sizeViolations(house: House): readonly string[] {
  const large = house.files.flatMap((file) => {
    const most = file.path.startsWith('core/kernel/') ? KERNEL_FILE_LINES : MAX_LINES;
    return file.lines > most ? [`${file.path} has ${file.lines} lines; at most ${most}`] : [];
  });
  const kernel = house.files.filter((file) => file.path.startsWith('core/kernel/') && !file.path.endsWith('.test.ts')).reduce((sum, file) => sum + file.lines, 0);
  return kernel > KERNEL_LINES ? [...large, `core/kernel has ${kernel} lines; at most ${KERNEL_LINES}`] : large;
}

/** Plugin folders that lack one of the rooms that every plugin has. */
export function pluginShapeViolations(house: House): readonly string[] {
  const plugins = join(house.root, 'plugins');
  const folders = existsSync(plugins) ? readdirSync(plugins, { withFileTypes: true }).filter((entry) => entry.isDirectory() && !entry.name.startsWith('.')) : [];
  return folders.flatMap(({ name }) => {
    const inside = readdirSync(join(plugins, name));
    const missing = ['package.json', 'index.ts', 'README.md'].filter((file) => !inside.includes(file)).map((file) => `plugins/${name} has no ${file}`);
    const untested = inside.some((file) => file.endsWith('.test.ts')) ? [] : [`plugins/${name} has no test`];
    return [...missing, ...untested, ...manifestViolations(join(plugins, name), name)];
  });
}

function manifestViolations(folder: string, name: string): readonly string[] {
  const { graft } = readManifest(folder);
  if (!existsSync(join(folder, 'package.json'))) return [];
  if (graft === undefined) return [`plugins/${name}/package.json has no "graft" key`];
  const missing = ['api', 'name'].filter((key) => !(key in graft)).map((key) => `plugins/${name}/package.json: "graft" has no "${key}"`);
  return 'stage' in graft === 'provides' in graft ? [...missing, `plugins/${name}/package.json: "graft" must have one of "stage" and "provides"`] : missing;
}

/** Notes to self that should be issues. */
export function markViolations(house: House): readonly string[] {
  return house.files.flatMap((file) =>
    file.text.split('\n').flatMap((line, index) => {
      const mark = MARKS.exec(line)?.[1];
      return mark === undefined ? [] : [`${file.path}:${index + 1} says ${mark}; open an issue and say its number in words`];
    }),
  );
}
