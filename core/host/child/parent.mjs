import { Worker } from 'node:worker_threads';

/** Milliseconds between two looks at the parent. */
const LOOK_MS = 500;

/** Looks from a thread of its own, so that not even a loop without an end outlives the host. */
const WATCH = `
  const host = ${Number(process.env['GRAFT_HOST_PID'])};
  const look = () => {
    if (process.ppid !== host) process.kill(process.pid, 'SIGKILL');
  };
  look();
  setInterval(look, ${LOOK_MS});
`;

/** Ends this process when its host has ended, whatever it is doing: as soon as anything else begins. */
export function dieWithHost() {
  new Worker(WATCH, { eval: true }).unref();
}
