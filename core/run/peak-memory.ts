import { readFileSync, writeFileSync } from 'node:fs';

/**
 * Starts measuring the highest resident set anew, where the system lets a process do so (Linux: 5 in clear_refs). Elsewhere
 * the highest since the process began counts, which is the same for the first run of a process.
 */
export function resetPeakMemory(): void {
  try {
    writeFileSync('/proc/self/clear_refs', '5');
  } catch {
    // Not Linux, or not allowed: the whole process counts.
  }
}

/** Highest resident set, in bytes. */
export function peakMemory(): number {
  try {
    const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
    if (kilobytes !== undefined) return Number(kilobytes) * 1024;
  } catch {
    // No /proc: fall through.
  }
  return process.resourceUsage().maxRSS * 1024;
}
