/** Server-sent events (WHATWG HTML, section 9.2), as OpenAI's clients read them: one JSON value a `data:` line, `[DONE]` at the end. */
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';

/** A client that takes nothing for so long is taken for gone. */
const STALL_MS = 60_000;

export class EventStream {
  readonly #response: ServerResponse;
  readonly #stallMs: number;

  /** Sends the head; from here on the status is 200. */
  constructor(response: ServerResponse, headers: Readonly<Record<string, string>>, stallMs = STALL_MS) {
    this.#response = response;
    this.#stallMs = stallMs;
    response.writeHead(200, { ...headers, 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-cache', 'x-accel-buffering': 'no' });
  }

  /**
   * Sends one value; waits while the client reads more slowly than the model writes.
   * @throws the signal's reason, which fires when the connection closes: also because the client took nothing for a minute
   */
  async send(value: unknown, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#response.write(`data: ${JSON.stringify(value)}\n\n`)) return;
    const stalled = setTimeout(() => this.#response.destroy(), this.#stallMs);
    try {
      await once(this.#response, 'drain', { signal });
    } catch (error) {
      throw signal.aborted ? signal.reason : error;
    } finally {
      clearTimeout(stalled);
    }
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
