/** Server-sent events (WHATWG HTML, section 9.2), as OpenAI's clients read them: one JSON value a `data:` line, `[DONE]` at the end. */
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';

export class EventStream {
  readonly #response: ServerResponse;

  /** Sends the head; from here on the status is 200. */
  constructor(response: ServerResponse, headers: Readonly<Record<string, string>>) {
    this.#response = response;
    response.writeHead(200, { ...headers, 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-cache', 'x-accel-buffering': 'no' });
  }

  /** Sends one value; waits while the client reads more slowly than the model writes. */
  async send(value: unknown, signal: AbortSignal): Promise<void> {
    if (this.#response.write(`data: ${JSON.stringify(value)}\n\n`)) return;
    await once(this.#response, 'drain', { signal });
  }

  /** Ends a stream whose answer is complete. */
  done(): void {
    this.#response.end('data: [DONE]\n\n');
  }

  /** Ends a stream that failed in the middle; clients raise `error.error` as they would a failed request. */
  fail(value: unknown): void {
    this.#response.end(`data: ${JSON.stringify(value)}\n\n`);
  }
}
