import { createReadStream, existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { RunEvent } from '../contracts/index.ts';

/** The events that a run has written into its own directory: all of them, whatever the host was told. */
export async function toldEvents(runDir: string): Promise<readonly RunEvent[]> {
  const file = join(runDir, 'events.jsonl');
  if (!existsSync(file)) return [];
  const events: RunEvent[] = [];
  for await (const line of createInterface({ input: createReadStream(file), crlfDelay: Infinity })) {
    events.push(JSON.parse(line) as RunEvent);
  }
  return events;
}
