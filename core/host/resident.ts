import { readFileSync } from 'node:fs';

/**
 * Memory of a process in bytes that can't be had back from it: pages of mapped files, such as weights under `low_memory`, don't count.
 * @returns undefined where the system does not tell (it does on Linux), or the process is gone
 */
export function residentBytes(pid: number): number | undefined {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const kilobytes = (field: string): number => Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? Number.NaN);
    const bytes = 1024 * (kilobytes('RssAnon') + kilobytes('RssShmem'));
    return Number.isNaN(bytes) ? undefined : bytes;
  } catch {
    return undefined;
  }
}
