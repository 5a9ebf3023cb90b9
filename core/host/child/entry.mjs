// Runs the TypeScript sources as they are, as core/cli/graft.mjs does.
import { loadProgram } from '../program.mjs';
import { dieWithHost } from './parent.mjs';

dieWithHost();
await loadProgram(new URL('./main.ts', import.meta.url));
