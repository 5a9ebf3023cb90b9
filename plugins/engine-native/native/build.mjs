// Builds the native engine with node-gyp: run by `npm ci`, and by hand as `npm run build:native`. A machine that can't build it is told so
// and goes on: `engine: auto` then takes another engine.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const stamp = join(here, 'build', 'sources.sha256');
const addon = join(here, 'build', 'Release', 'graft_native.node');

/** Hash of all that the addon is made of. */
function sourceHash() {
  const hash = createHash('sha256').update(`${process.platform} ${process.arch} ${process.env.GRAFT_SANITIZE ?? ''}\0`);
  for (const folder of ['.', 'isa', 'ops', 'runtime']) {
    for (const name of readdirSync(join(here, folder)).sort()) {
      if (/\.(cc|h|gyp)$/.test(name)) hash.update(`${folder}/${name}\0`).update(readFileSync(join(here, folder, name)));
    }
  }
  return hash.digest('hex');
}

/** npm hands its node-gyp to install scripts; elsewhere it lies beside npm, which lies beside Node. */
function nodeGyp() {
  const given = process.env.npm_config_node_gyp;
  if (given && existsSync(given)) return given;
  const npm = ['../lib/node_modules/npm', '../node_modules/npm', 'node_modules/npm'].map((path) => join(dirname(process.execPath), path)).find((path) => existsSync(path));
  if (npm === undefined) return undefined;
  try {
    return createRequire(join(npm, 'package.json')).resolve('node-gyp/bin/node-gyp.js');
  } catch {
    return undefined;
  }
}

/** Node's own headers where they were installed with it: nothing then has to be downloaded. */
function headers() {
  const prefix = join(dirname(process.execPath), '..');
  return !process.env.npm_config_nodedir && existsSync(join(prefix, 'include', 'node', 'node_api.h')) ? [`--nodedir=${prefix}`] : [];
}

function giveUp(reason, detail = '') {
  console.warn(`graft: the native engine was not built: ${reason}.${detail === '' ? '' : `\n${detail}`}
graft: everything works without it, on the portable engine, which is several times slower. With a C++ compiler, make and Python 3
graft: installed, \`npm run build:native\` builds it. \`npx graft doctor\` shows the engines.`);
  process.exit(0);
}

if (process.env.GRAFT_SKIP_NATIVE === '1') giveUp('GRAFT_SKIP_NATIVE is set');
const hash = sourceHash();
if (existsSync(addon) && existsSync(stamp) && readFileSync(stamp, 'utf8') === hash) process.exit(0);
const gyp = nodeGyp();
if (gyp === undefined) giveUp('node-gyp, which comes with npm, was not found');
const began = Date.now();
const built = spawnSync(process.execPath, [gyp, 'rebuild', '-j', String(cpus().length), ...headers()], { cwd: here, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
if (built.status !== 0) {
  const lines = `${built.stderr}\n${built.stdout}`.split('\n').filter((line) => /error|gyp ERR!|not found/i.test(line) && !/gyp ERR! (System|command|cwd|node|stack +at)/.test(line));
  giveUp('the build failed', lines.slice(0, 12).join('\n'));
}
mkdirSync(dirname(stamp), { recursive: true });
writeFileSync(stamp, hash);
console.log(`graft: built the native engine in ${((Date.now() - began) / 1000).toFixed(0)} s`);
