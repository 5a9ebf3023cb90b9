/** Exit codes of every command: `failed` is the run's fault, `usage` the user's. */
export const EXIT = { ok: 0, failed: 1, usage: 2, interrupted: 130 } as const;
