/** The queue's tables, a step for each form that was released. */
export const STEPS: readonly string[] = [
  `CREATE TABLE queue_jobs (
     number INTEGER PRIMARY KEY AUTOINCREMENT,
     id TEXT NOT NULL UNIQUE,
     name TEXT NOT NULL,
     job_group TEXT,
     payload TEXT NOT NULL,
     cpu REAL NOT NULL,
     memory_mb REAL NOT NULL,
     gpu_memory_mb REAL NOT NULL,
     priority REAL NOT NULL,
     max_attempts INTEGER NOT NULL,
     state TEXT NOT NULL CHECK (state IN ('waiting', 'running', 'paused', 'succeeded', 'failed', 'cancelled')),
     attempts INTEGER NOT NULL DEFAULT 0,
     forgiven INTEGER NOT NULL DEFAULT 0,
     reason TEXT,
     code TEXT,
     request TEXT CHECK (request IN ('cancel', 'pause')),
     request_reason TEXT,
     due_at INTEGER NOT NULL,
     created_at INTEGER NOT NULL,
     started_at INTEGER,
     ended_at INTEGER,
     lease_token TEXT,
     lease_holder TEXT,
     lease_expires_at INTEGER,
     CHECK ((state = 'running') = (lease_token IS NOT NULL))
   ) STRICT;
   CREATE INDEX queue_jobs_by_state ON queue_jobs (state, due_at);
   CREATE INDEX queue_jobs_by_group ON queue_jobs (job_group) WHERE job_group IS NOT NULL;`,
  // Of a running job: what it goes on with.
  'ALTER TABLE queue_jobs ADD COLUMN swap_payload TEXT;',
];
