/** From saving a strategy's file to its new generation being active, watcher and debounce included. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openHost } from '../../core/host/open-host.ts';
import { scaffoldPlugin } from '../../core/cli/scaffold.ts';
import type { Kernel, KernelEvent } from '../../core/contracts/index.ts';

const SAVES = 40;
const WARM_UP = 5;
const SAVE_MARK = /\n\/\/ save \d+\n$/;

interface Timing {
  /** Wall clock from the write to the event that says the new generation serves. */
  readonly total: number;
  /** Of that: from the watcher's first event on. */
  readonly sinceSeen: number;
  readonly build: number;
  readonly setup: number;
}

/** Saves the scaffolded inject plugin again and again, beside all of the built-in plugins, and prints what each part took. */
export async function benchSwap(): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'graft-bench-'));
  const host = await openHost({ pluginDirs: [dir], watch: true });
  try {
    const timings: Timing[] = [];
    const plugin = await scaffoldPlugin('bench', 'inject', dir);
    await host.kernel.refresh();
    for (let save = 0; save < WARM_UP + SAVES; save++) {
      const timing = await timeSave(host.kernel, join(plugin.dir, 'bench.ts'), save);
      if (save >= WARM_UP) timings.push(timing);
    }
    print(timings);
  } finally {
    await host.dispose();
    rmSync(dir, { recursive: true });
  }
}

async function timeSave(kernel: Kernel, file: string, save: number): Promise<Timing> {
  // Lets the last change settle, and keeps off the beat of any timer of ours.
  await new Promise((resolve) => setTimeout(resolve, 600 + Math.random() * 100));
  const swapped = new Promise<Extract<KernelEvent, { type: 'swapped' }>>((resolve, reject) => {
    const off = kernel.on((event) => {
      if (event.type === 'swap-failed') reject(new Error(event.reason));
      if (event.type !== 'swapped') return;
      void off();
      resolve(event);
    });
  });
  const text = `${readFileSync(file, 'utf8').replace(SAVE_MARK, '')}\n// save ${save}\n`;
  const began = performance.now();
  writeFileSync(file, text);
  const event = await swapped;
  const { current } = kernel.explain().slots.find(({ id }) => id === event.generation.plugin)!;
  return { total: performance.now() - began, sinceSeen: event.saveToActiveMs, build: current!.buildMs, setup: current!.evaluateMs + current!.setupMs };
}

function print(timings: readonly Timing[]): void {
  const rows = { 'save to active': 'total', '  since the first event': 'sinceSeen', '  building': 'build', '  evaluating and setting up': 'setup' } as const;
  process.stdout.write(`${'ms'.padEnd(28)}${'median'.padStart(8)}${'p95'.padStart(8)}   (${timings.length} saves)\n`);
  for (const [label, key] of Object.entries(rows)) {
    const sorted = timings.map((timing) => timing[key]).sort((a, b) => a - b);
    const at = (share: number): string => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!.toFixed(1).padStart(8);
    process.stdout.write(`${label.padEnd(28)}${at(0.5)}${at(0.95)}\n`);
  }
}
