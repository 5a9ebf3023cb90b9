/** What a client is told when a request cannot be answered: the body that OpenAI's clients understand. */

export interface ErrorBody {
  readonly error: { readonly message: string; readonly type: string; readonly param: string | null; readonly code: string | null };
}

export class ApiError extends Error {
  override readonly name = 'ApiError';

  constructor(
    /** HTTP status. */
    readonly status: number,
    message: string,
    readonly type: 'invalid_request_error' | 'authentication_error' | 'rate_limit_error' | 'server_error',
    /** The parameter at fault, such as `messages[0].role`. */
    readonly param: string | null = null,
    readonly code: string | null = null,
    readonly headers: Readonly<Record<string, string>> = {},
  ) {
    super(message);
  }

  /** What a client's retries go by: one more try can't help against what is wrong with the request. */
  get allHeaders(): Readonly<Record<string, string>> {
    return { ...(this.status < 500 && this.status !== 429 ? { 'x-should-retry': 'false' } : {}), ...this.headers };
  }

  get body(): ErrorBody {
    return { error: { message: this.message, type: this.type, param: this.param, code: this.code } };
  }
}

export const invalid = (message: string, param: string | null, code: string | null = null): ApiError => new ApiError(400, message, 'invalid_request_error', param, code);

export const noSuchModel = (id: string, known: readonly string[]): ApiError =>
  new ApiError(404, `The model '${id}' does not exist. Served here: ${known.join(', ')}.`, 'invalid_request_error', 'model', 'model_not_found');

export const wrongKey = (given: boolean): ApiError =>
  new ApiError(
    401,
    given ? 'Incorrect API key provided.' : 'No API key provided. Send it in the Authorization header, as Bearer YOUR_KEY.',
    'authentication_error',
    null,
    'invalid_api_key',
  );

export const tooManyRequests = (limit: number, retryAfterSeconds: number): ApiError =>
  new ApiError(429, `The server is busy: ${limit} requests are being answered or wait. Try again in ${retryAfterSeconds} s.`, 'rate_limit_error', null, 'rate_limit_exceeded', {
    'retry-after': String(retryAfterSeconds),
  });

/** Clients take 404 for a mistyped name, and try again at 5xx. */
export const adapterBroken = (message: string): ApiError => new ApiError(400, message, 'invalid_request_error', 'model', 'adapter_broken');

/** The same values make the same numbers: one more try can't help. */
export const notFinite = (message: string): ApiError => new ApiError(500, `The model can't answer: ${message}`, 'server_error', 'model', 'model_not_finite', { 'x-should-retry': 'false' });
