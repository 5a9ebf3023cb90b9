// Builds the native engine with node-gyp: run by `npm ci`, and by hand as `npm run build:native`. A machine that can't build it is told so
// and goes on: `engine: auto` then takes another engine. It is built in a folder of its own, tried, and only then put into place, so that
// a build that was stopped is no build, and two at once do not meet.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const builds = join(here, 'build');
// With GRAFT_SANITIZE the addon goes beside the usual one: see test/sanitize.
const place = join(builds, process.env.GRAFT_SANITIZE ? 'Sanitized' : 'Release');
const addon = join(place, 'graft_native.node');
// Written last: what it says was built whole.
const stamp = join(place, 'sources.sha256');
const STAGE = 'stage-';
const STALE_MS = 60 * 60_000;

/** Ends the build with a reason for people. */
class NotBuilt extends Error {}

/** All that the addon is made of, relative to this folder. */
function sources() {
  return ['.', 'isa', 'ops', 'runtime'].flatMap((folder) => readdirSync(join(here, folder)).sort().filter((name) => /\.(cc|h|gyp)$/.test(name)).map((name) => join(folder, name)));
}

function hashOf(files) {
  const hash = createHash('sha256').update(`${process.platform} ${process.arch} ${process.env.GRAFT_SANITIZE ?? ''}\0`);
  for (const file of files) hash.update(`${file}\0`).update(readFileSync(join(here, file)));
  return hash.digest('hex');
}

function isBuilt(hash) {
  return existsSync(addon) && existsSync(stamp) && readFileSync(stamp, 'utf8') === hash && failureToLoad(addon) === undefined;
}

/** Why an addon does not load; a sanitized one only does in a process that is started for it. */
function failureToLoad(file) {
  if (process.env.GRAFT_SANITIZE) return undefined;
  try {
    createRequire(import.meta.url)(file);
    return undefined;
  } catch (error) {
    return error.message;
  }
}

/** npm hands its node-gyp to install scripts; elsewhere it lies beside npm, which lies beside Node. */
function nodeGyp() {
  const given = process.env.npm_config_node_gyp;
  if (given && existsSync(given)) return given;
  const npm = ['../lib/node_modules/npm', '../node_modules/npm', 'node_modules/npm'].map((path) => join(dirname(process.execPath), path)).find((path) => existsSync(path));
  try {
    return createRequire(join(npm, 'package.json')).resolve('node-gyp/bin/node-gyp.js');
  } catch {
    throw new NotBuilt('node-gyp, which comes with npm, was not found');
  }
}

/** Node's own headers where they were installed with it: nothing then has to be downloaded. */
function headers() {
  const prefix = join(dirname(process.execPath), '..');
  return !process.env.npm_config_nodedir && existsSync(join(prefix, 'include', 'node', 'node_api.h')) ? [`--nodedir=${prefix}`] : [];
}

/** What node-gyp's many words come down to. */
function reasonIn(output) {
  if (/Could not find any Python/.test(output)) return 'Python 3 was not found';
  if (/not found: make|make: command not found|spawn make ENOENT/.test(output)) return 'make was not found';
  // 127 is what a shell answers for a command that it does not find.
  if (/make: \*\*\* .*Error 127/.test(output)) return 'no C++ compiler was found';
  if (/ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|FetchError|response (downloading|when)/.test(output)) {
    return 'Node\'s headers are not on this machine and could not be downloaded (npm_config_nodedir may name the folder that has include/node)';
  }
  const lines = output.split('\n').filter((line) => /error|not found|ERR!/i.test(line) && !/ERR! (System|command|cwd|node|not ok|stack +at)|gyp info/.test(line));
  return ['the build failed', ...lines.slice(0, 12)].join('\n');
}

/** Runs node-gyp, with a count of the files that are done where there is somebody to see it. */
async function compile(folder, gyp, files) {
  const child = spawn(process.execPath, [gyp, 'rebuild', '-j', String(availableParallelism()), ...headers()], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
  const total = files.filter((file) => file.endsWith('.cc')).length;
  let [output, done] = ['', 0];
  const listen = (chunk) => {
    output += chunk;
    done += chunk.split(' CXX(target) ').length - 1;
    if (process.stdout.isTTY) process.stdout.write(`\rgraft: building the native engine, ${done} of ${total} files `);
  };
  child.stdout.setEncoding('utf8').on('data', listen);
  child.stderr.setEncoding('utf8').on('data', listen);
  const code = await new Promise((resolve) => child.on('error', (error) => resolve(error.message)).on('close', resolve));
  if (process.stdout.isTTY) process.stdout.write('\r\x1b[K');
  if (code !== 0) throw new NotBuilt(reasonIn(output));
}

/** Folders of builds that were stopped; one that goes on is younger. */
function sweep() {
  for (const name of readdirSync(builds).filter((entry) => entry.startsWith(STAGE))) {
    if (Date.now() - statSync(join(builds, name)).mtimeMs > STALE_MS) rmSync(join(builds, name), { recursive: true, force: true });
  }
}

async function build(files, hash) {
  const gyp = nodeGyp();
  mkdirSync(builds, { recursive: true });
  sweep();
  const stage = mkdtempSync(join(builds, STAGE));
  try {
    for (const file of files) cpSync(join(here, file), join(stage, file));
    await compile(stage, gyp, files);
    const made = join(stage, 'build', 'Release', 'graft_native.node');
    const failure = existsSync(made) ? failureToLoad(made) : 'node-gyp made nothing';
    if (failure !== undefined) throw new NotBuilt(`what was built does not load: ${failure}`);
    mkdirSync(place, { recursive: true });
    rmSync(stamp, { force: true });
    renameSync(made, addon);
    writeFileSync(join(stage, 'stamp'), hash);
    renameSync(join(stage, 'stamp'), stamp);
  } finally {
    rmSync(stage, { recursive: true, force: true });
  }
}

async function main() {
  if (process.env.GRAFT_SKIP_NATIVE === '1') throw new NotBuilt('GRAFT_SKIP_NATIVE is set');
  const files = sources();
  const hash = hashOf(files);
  if (isBuilt(hash)) return;
  const began = Date.now();
  console.log('graft: building the native engine, which takes about a minute (GRAFT_SKIP_NATIVE=1 leaves it out)');
  try {
    await build(files, hash);
  } catch (error) {
    // One of other sources would be taken for this one.
    if (!isBuilt(hash)) rmSync(addon, { force: true });
    throw error;
  }
  console.log(`graft: built the native engine in ${((Date.now() - began) / 1000).toFixed(0)} s`);
}

main().catch((error) => {
  console.warn(`graft: the native engine was not built: ${error instanceof NotBuilt ? error.message : error}.
graft: everything works without it, on the portable engine, which is several times slower. With a C++ compiler, make and Python 3
graft: installed, \`npm run build:native\` builds it. \`npx graft doctor\` shows the engines.`);
  // An install goes on; whoever asked for the build is told that there is none.
  process.exitCode = process.env.npm_lifecycle_event === 'build:native' ? 1 : 0;
});
