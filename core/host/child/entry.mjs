// Runs the TypeScript sources as they are, as core/cli/graft.mjs does.
import { register } from 'tsx/esm/api';
import { dieWithHost } from './parent.mjs';

dieWithHost();
register();
await import(process.argv[2] === 'check' ? './check.ts' : './main.ts');
