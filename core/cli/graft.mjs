#!/usr/bin/env node
// Runs the TypeScript sources as they are: no build step between an edit and its effect.
import { loadProgram } from '../host/program.mjs';

const { main } = await loadProgram(new URL('./main.ts', import.meta.url));
await main(process.argv.slice(2));
