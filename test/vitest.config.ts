import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { wholePackages } from './support/whole-packages.ts';

const root = fileURLToPath(new URL('..', import.meta.url));

export default defineConfig({
  root,
  plugins: [wholePackages()],
  resolve: { alias: { graft: `${root}core/index.ts` } },
  test: {
    include: ['test/**/*.test.ts', 'core/**/*.test.ts', 'plugins/**/*.test.ts'],
    exclude: ['**/node_modules/**', '**/fixtures/**'],
    // A tfjs backend and the kernel's module table are global to a process.
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    execArgv: ['--expose-gc'],
  },
});
