// Runs the TypeScript sources as they are, as core/cli/graft.mjs does.
import { register } from 'tsx/esm/api';
import { dieWithHost } from './parent.mjs';

dieWithHost();
register();
await import('./main.ts');
