// JavaScript, because a thread is not given the loader of the TypeScript.
import { Session } from 'node:inspector';
import { workerData } from 'node:worker_threads';

const TICK_MS = 200;
/** @type {{ pulse: Int32Array, limitMs: number }} */
const { pulse, limitMs } = workerData;
let seen = -1;
let stillMs = 0;

// Time is counted by this thread's own turns: a machine that slept, or a process that was stopped, has not looped.
setInterval(() => {
  const beats = Atomics.load(pulse, 0);
  stillMs = beats === seen ? stillMs + TICK_MS : 0;
  seen = beats;
  if (stillMs < limitMs) return;
  stillMs = 0;
  const session = new Session();
  session.connectToMainThread();
  session.post('Runtime.terminateExecution', () => session.disconnect());
}, TICK_MS);
