/** What a client of OpenAI's API is told when a request can't be answered: the body that such clients understand. */
import { GraftError, reasonOf } from '../../kernel/errors.ts';
import { lacksSpace } from '../full-disk.ts';

export type ErrorType = 'invalid_request_error' | 'authentication_error' | 'permission_error' | 'rate_limit_error' | 'server_error';

export class ApiError extends Error {
  override readonly name = 'ApiError';

  constructor(
    /** HTTP status. */
    readonly status: number,
    message: string,
    readonly type: ErrorType = 'invalid_request_error',
    /** The parameter at fault, such as `training_file`. */
    readonly param: string | null = null,
    readonly code: string | null = null,
    readonly headers: Readonly<Record<string, string>> = {},
  ) {
    super(message);
  }

  get body(): { readonly error: { readonly message: string; readonly type: string; readonly param: string | null; readonly code: string | null } } {
    return { error: { message: this.message, type: this.type, param: this.param, code: this.code } };
  }
}

/** Clients of OpenAI's retry 408, 409, 429 and all of 5xx by themselves unless they are told not to. */
export const NO_RETRY = { 'x-should-retry': 'false' } as const;

export const invalid = (message: string, param: string | null = null, code: string | null = null): ApiError => new ApiError(400, message, 'invalid_request_error', param, code);

export const noSuchModel = (id: string): ApiError => new ApiError(404, `The model '${id}' does not exist.`, 'invalid_request_error', 'model', 'model_not_found');

const STATUS_OF_CODE: Readonly<Record<string, readonly [status: number, type: ErrorType]>> = {
  MODEL_NOT_READY: [503, 'server_error'],
  MODEL_FAILED: [503, 'server_error'],
  MODEL_BUSY: [429, 'rate_limit_error'],
  MODEL_UNKNOWN: [404, 'invalid_request_error'],
  PATH_FORBIDDEN: [403, 'permission_error'],
  ADAPTER_EXISTS: [400, 'invalid_request_error'],
  ADAPTER_MISSING: [404, 'invalid_request_error'],
  ADAPTER_BROKEN: [400, 'invalid_request_error'],
  DISK_FULL: [507, 'server_error'],
  DRAINING: [503, 'server_error'],
  INVALID_API_KEY: [401, 'authentication_error'],
  SCOPE_MISSING: [403, 'permission_error'],
  HOST_FORBIDDEN: [421, 'permission_error'],
  ORIGIN_FORBIDDEN: [403, 'permission_error'],
};

/** Of these the next try would be told the same. */
const LASTING: ReadonlySet<string> = new Set(['DISK_FULL', 'MODEL_FAILED', 'ADAPTER_BROKEN']);

/** @param failed is told of what nobody foresaw, which the client is not */
export function toApiError(error: unknown, requestId: string, failed: (error: unknown) => void): ApiError {
  if (error instanceof ApiError) return error;
  if (lacksSpace(error)) return new ApiError(507, 'The disk is full; nothing was kept.', 'server_error', null, 'disk_full', NO_RETRY);
  if (GraftError.is(error)) {
    const [status, type] = STATUS_OF_CODE[error.code] ?? [400, 'invalid_request_error'];
    const message = error.hint === undefined ? error.message : `${error.message} ${error.hint}`;
    return new ApiError(status, message, type, null, error.code.toLowerCase(), LASTING.has(error.code) ? NO_RETRY : status === 503 || status === 429 ? { 'retry-after': '1' } : {});
  }
  const { statusCode, validation } = error as { readonly statusCode?: number; readonly validation?: readonly Complaint[] };
  if (statusCode === 413) return new ApiError(413, 'The request body is too large.', 'invalid_request_error', null, 'body_too_large');
  if (statusCode === 415) return new ApiError(415, 'The request body must be JSON: send the header content-type: application/json.');
  if (validation !== undefined) return ofComplaints(validation);
  if (statusCode !== undefined && statusCode < 500) return new ApiError(statusCode, reasonOf(error));
  failed(error);
  return new ApiError(500, `The server failed to answer request ${requestId}; its log says why.`, 'server_error', null, 'internal_error');
}

/** One complaint of a body's schema, as ajv makes it. */
interface Complaint {
  readonly keyword: string;
  readonly instancePath: string;
  readonly schemaPath: string;
  readonly params: Readonly<Record<string, unknown>>;
  readonly message?: string;
}

/** The complaint that got furthest into the body is about what was meant. */
function ofComplaints(complaints: readonly Complaint[]): ApiError {
  const [complaint] = [...complaints].filter(({ keyword }) => keyword !== 'anyOf').sort((a, b) => b.instancePath.split('/').length - a.instancePath.split('/').length);
  if (complaint === undefined) return invalid('The request body is not valid.');
  const place = complaint.instancePath.split('/').slice(1);
  const paramWith = (last: unknown): string => [...place, String(last)].join('.');
  if (complaint.keyword === 'required') return invalid(`Missing required parameter: '${paramWith(complaint.params['missingProperty'])}'.`, paramWith(complaint.params['missingProperty']), 'missing_required_parameter');
  if (complaint.keyword === 'additionalProperties') return invalid(`Unrecognized request argument supplied: ${paramWith(complaint.params['additionalProperty'])}`, paramWith(complaint.params['additionalProperty']), 'unknown_parameter');
  if (place.length === 0) return invalid('The request body must be a JSON object.');
  return invalid(`Invalid value for '${place.join('.')}': it must ${wanted(complaints.filter(({ instancePath }) => instancePath === complaint.instancePath))}.`, place.join('.'), 'invalid_value');
}

/** What a value must be, by the complaints about it: of a choice each alternative has its own. */
function wanted(complaints: readonly Complaint[]): string {
  const constants = complaints.filter(({ keyword }) => keyword === 'const');
  const choiceOf = ({ schemaPath }: Complaint): string => schemaPath.slice(0, schemaPath.lastIndexOf('/'));
  // That a constant is a string says nothing beside what it is.
  const others = complaints.filter((each) => each.keyword !== 'const' && each.keyword !== 'anyOf' && !constants.some((constant) => choiceOf(constant) === choiceOf(each)));
  const values = [...new Set(constants.map(({ params }) => JSON.stringify(params['allowedValue'])))];
  return [...new Set([...others.map(({ message = 'be valid' }) => message.replace(/^must /, '')), ...(values.length === 0 ? [] : [`be ${values.join(' or ')}`])])].join(' or ');
}
