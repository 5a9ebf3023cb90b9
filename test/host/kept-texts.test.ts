import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { KeptTexts } from '../../core/host/kept-texts.mjs';

let home: string;
let dir: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'graft-kept-'));
  dir = join(home, 'cache', 'texts');
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

const files = (): readonly string[] => readdirSync(dir).map((name) => join(dir, name));

describe('a kept text', () => {
  it('is read as it was written last, by whoever comes later, in a folder that is the user\'s alone', () => {
    const texts = new KeptTexts(dir, 1e6);
    expect(texts.read('a')).toBeUndefined();
    for (const text of ['', 'one', 'größer\n\0\u2028 😀']) {
      texts.write('a', text);
      expect(new KeptTexts(dir, 1e6).read('a')).toBe(text);
    }
    expect(texts.read('b')).toBeUndefined();
    expect(files()).toHaveLength(1);
    expect(statSync(dir).mode & 0o777).toBe(0o700);
    expect(statSync(files()[0]!).mode & 0o777).toBe(0o600);
  });

  it('is not there when a byte of it is another, or when it is cut short; writing mends it', () => {
    const texts = new KeptTexts(dir, 1e6);
    texts.write('a', 'module.exports = 1;');
    const [file] = files();
    const whole = readFileSync(file!);
    for (const damaged of [Buffer.concat([whole.subarray(0, -2), Buffer.from('2;')]), whole.subarray(0, -1), whole.subarray(0, 10), Buffer.alloc(0)]) {
      writeFileSync(file!, damaged);
      expect(texts.read('a')).toBeUndefined();
    }
    texts.write('a', 'module.exports = 1;');
    expect(texts.read('a')).toBe('module.exports = 1;');
  });

  it.skipIf(process.getuid === undefined)('is neither read from nor written to a folder that others may write to', () => {
    const texts = new KeptTexts(dir, 1e6);
    texts.write('a', 'ours');
    for (const mode of [0o720, 0o702]) {
      chmodSync(dir, mode);
      expect(texts.read('a')).toBeUndefined();
      texts.write('b', 'more');
      expect(files()).toHaveLength(1);
    }
    chmodSync(dir, 0o755);
    expect(texts.read('a')).toBe('ours');
  });

  it('is not kept where nothing can be written, and nothing is said', () => {
    mkdirSync(join(home, 'cache'));
    writeFileSync(dir, 'a file where the folder would be');
    const texts = new KeptTexts(dir, 1e6);
    texts.write('a', 'text');
    expect(texts.read('a')).toBeUndefined();
    expect(readFileSync(dir, 'utf8')).toBe('a file where the folder would be');
  });

  it('goes when all together are too many bytes, those unused for longest first', () => {
    const texts = new KeptTexts(dir, 10_000);
    const text = 'x'.repeat(2000);
    for (const [key, daysAgo] of [['a', 9], ['b', 8], ['c', 7], ['d', 6]] as const) {
      texts.write(key, text);
      const newest = files().reduce((best, file) => (statSync(file).mtimeMs > statSync(best).mtimeMs ? file : best));
      const then = new Date(Date.now() - daysAgo * 86_400_000);
      utimesSync(newest, then, then);
    }
    // Reading is a use.
    expect(texts.read('a')).toBe(text);
    texts.write('e', text);
    expect(['a', 'b', 'c', 'd', 'e'].map((key) => texts.read(key) !== undefined)).toEqual([true, false, true, true, true]);
  });

  it('leaves nothing behind of a process that ended while it wrote', () => {
    const texts = new KeptTexts(dir, 1e6);
    texts.write('a', 'text');
    const [old, young] = ['0.tmp', '1.tmp'].map((name) => join(dir, name));
    for (const file of [old!, young!]) writeFileSync(file, 'half');
    utimesSync(old!, new Date(0), new Date(0));
    texts.write('b', 'text');
    expect(existsSync(old!)).toBe(false);
    expect(existsSync(young!)).toBe(true);
  });
});
