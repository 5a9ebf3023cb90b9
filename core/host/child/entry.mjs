// Runs the TypeScript sources as they are, as core/cli/graft.mjs does.
import { loadProgram } from '../program.mjs';
import { dieWithHost } from './parent.mjs';

dieWithHost();
await loadProgram(new URL(process.argv[2] === 'check' ? './check.ts' : './main.ts', import.meta.url));
