/** Packages that take a test's process longer to import than to run most tests. */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import type { Plugin } from 'vitest/config';
import { gathered, isGathered } from '../../core/host/gathered-package.mjs';

const MARK = '\0whole:';
/** CommonJS, in which Node would look for the names of exports. */
const REQUIRED = ['@tensorflow/tfjs-core'];
const GATHERED = fileURLToPath(new URL('../../core/host/gathered-package.mjs', import.meta.url));
const require = createRequire(import.meta.url);

/** Gives each of them to tests as one module: that which the command line's processes have. */
export function wholePackages(): Plugin {
  return {
    name: 'graft-whole-packages',
    enforce: 'pre',
    resolveId: (id) => (REQUIRED.includes(id) || isGathered(id) ? MARK + id : undefined),
    load: (id) => {
      if (!id.startsWith(MARK)) return undefined;
      const name = id.slice(MARK.length);
      const whole = (isGathered(name) ? gathered(name) : require(name)) as object;
      const get = isGathered(name) ? `require(${JSON.stringify(GATHERED)}).gathered(${JSON.stringify(name)})` : `require(${JSON.stringify(name)})`;
      const names = Object.keys(whole).filter((each) => each !== 'default');
      return `import { createRequire } from 'node:module';
const require = createRequire(${JSON.stringify(import.meta.url)});
const it = ${get};
export default 'default' in it ? it.default : it;
${names.map((each, index) => `const n${index} = it[${JSON.stringify(each)}]; export { n${index} as ${each} };`).join('\n')}
`;
    },
  };
}
