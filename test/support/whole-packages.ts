/** Packages that take a test's process longer to import than to run most tests. */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import type { Plugin } from 'vitest/config';

const MARK = '\0whole:';
const require = createRequire(import.meta.url);

/** CommonJS, in which Node would look for the names of exports: half a second for tfjs. */
const REQUIRED = ['@tensorflow/tfjs', '@tensorflow/tfjs-core'];
/** Hundreds of ES modules, which Node would load one by one. */
const BUNDLED = ['typebox'];

/** Gives each of them to tests as one module: the instance that Node has, or the one that all files of a test share. */
export function wholePackages(): Plugin {
  return {
    name: 'graft-whole-packages',
    enforce: 'pre',
    resolveId: (id) => (REQUIRED.includes(id) || BUNDLED.includes(id) ? MARK + id : undefined),
    load: async (id) => {
      if (!id.startsWith(MARK)) return undefined;
      const name = id.slice(MARK.length);
      if (BUNDLED.includes(name)) return bundled(name);
      const names = Object.keys(require(name) as object);
      return `import { createRequire } from 'node:module';
const it = createRequire(${JSON.stringify(import.meta.url)})(${JSON.stringify(name)});
export default it;
${names.map((each) => `export const ${each} = it.${each};`).join('\n')}
`;
    },
  };
}

async function bundled(name: string): Promise<string> {
  const { outputFiles } = await build({ bundle: true, write: false, format: 'esm', platform: 'node', entryPoints: [fileURLToPath(import.meta.resolve(name))] });
  return outputFiles[0]!.text;
}
