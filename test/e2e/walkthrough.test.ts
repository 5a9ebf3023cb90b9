import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { startGraft } from '../support/command.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

it("the README's walkthrough with the openai client runs as it is printed", async () => {
  const readme = readFileSync(join(ROOT, 'README.md'), 'utf8');
  const [, script] = /```js\n(import \{ createReadStream \}[\s\S]*?)```/.exec(readme)!;
  const dir = mkdtempSync(join(tmpdir(), 'graft-walkthrough-'));
  // Beside node_modules, where the client is found.
  const file = join(ROOT, 'build', `walkthrough-${process.pid}.mjs`);
  const config = join(dir, 'daemon.yaml');
  writeFileSync(config, `extends: ${join(ROOT, 'configs', 'daemon.yaml')}\nstate_dir: ${join(dir, 'state')}\nport: 0\n`);
  const daemon = startGraft(['daemon', '--config', config], { cwd: dir });
  try {
    const [, url] = await daemon.seen(/listens on (http:\/\/127\.0\.0\.1:\d+)/);
    mkdirSync(join(ROOT, 'build'), { recursive: true });
    writeFileSync(file, script!.replace('http://127.0.0.1:7474', url!));
    const child = spawn(process.execPath, [file], { cwd: ROOT, stdio: ['ignore', 'pipe', 'inherit'] });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
    const code = await new Promise((resolve) => child.on('close', resolve));
    expect(code, output).toBe(0);
    expect(output).toMatch(/^file-\w+ train\.jsonl \d+ bytes\n/);
    expect(output).toMatch(/succeeded ft:quickstart:graft:tales:job-\w+ \d+ tokens/);
    expect(output).toMatch(/ft:quickstart:graft:tales:job-\w+: Good question! Seven plus two is nine\.\n$/);
  } finally {
    daemon.process.kill('SIGTERM');
    await daemon.ended;
    rmSync(dir, { recursive: true });
    rmSync(file, { force: true });
  }
}, 180_000);
