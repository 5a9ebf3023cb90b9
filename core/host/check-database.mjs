// JavaScript, because a thread is not given the loader of the TypeScript.
import { parentPort, workerData } from 'node:worker_threads';
import { DatabaseSync } from '@photostructure/sqlite';

/** @returns {string} `ok`, or the first thing that is damaged */
function check(/** @type {string} */ file) {
  const database = new DatabaseSync(file, { readOnly: true });
  try {
    return String(/** @type {any} */ (database.prepare('PRAGMA quick_check(1)').get())?.quick_check);
  } finally {
    database.close();
  }
}

try {
  parentPort?.postMessage({ check: check(workerData) });
} catch (error) {
  const { errcode, message } = /** @type {Error & { errcode?: number }} */ (error);
  parentPort?.postMessage({ errcode, message });
}
