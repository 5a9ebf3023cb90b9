import type { Job, JobRequest, JobState, SqlRow } from 'graft';

/** A row of `queue_jobs` as the job that it keeps. */
export function jobOf(row: SqlRow): Job {
  return {
    id: row['id'] as string,
    name: row['name'] as string,
    group: optional(row['job_group']) as string | undefined,
    payload: JSON.parse(row['payload'] as string) as Job['payload'],
    resources: { cpu: row['cpu'] as number, memory_mb: row['memory_mb'] as number, gpu_memory_mb: row['gpu_memory_mb'] as number },
    priority: row['priority'] as number,
    max_attempts: row['max_attempts'] as number,
    state: row['state'] as JobState,
    attempts: row['attempts'] as number,
    charged: (row['attempts'] as number) - (row['forgiven'] as number),
    reason: optional(row['reason']) as string | undefined,
    code: optional(row['code']) as string | undefined,
    request: (optional(row['request']) ?? (row['swap_payload'] === null ? undefined : 'swap')) as JobRequest | undefined,
    dueAt: row['due_at'] as number,
    createdAt: row['created_at'] as number,
    startedAt: optional(row['started_at']) as number | undefined,
    endedAt: optional(row['ended_at']) as number | undefined,
  };
}

function optional<T>(value: T | null | undefined): T | undefined {
  return value ?? undefined;
}
