/** `response_format` of a chat: text, any JSON object, or JSON of a schema. */
import type { Tokenizer } from 'graft';
import { ApiError, invalid } from './api-error.ts';
import type { ChatBody } from './body.ts';
import { grammarOf, VocabularyUnknown } from './json/constraint.ts';
import { SchemaProblem } from './json/schema.ts';

/** JSON is asked for; without a schema, any object. */
export interface JsonFormat {
  readonly schema: unknown;
}

const WHERE = 'response_format.json_schema.schema';

/**
 * @returns undefined for text
 * @throws ApiError 400 that names the parameter
 */
export function jsonFormat(format: ChatBody['response_format']): JsonFormat | undefined {
  if (format == null || format.type === 'text' || format.type === 'json_object') {
    if (format?.json_schema !== undefined) throw invalid(`'response_format.json_schema' is only allowed with the type json_schema.`, 'response_format.json_schema', 'invalid_value');
    return format?.type === 'json_object' ? { schema: undefined } : undefined;
  }
  if (format.type !== 'json_schema') throw invalid(`Invalid value for 'response_format.type': '${format.type}' is not supported; use text, json_object or json_schema.`, 'response_format.type', 'invalid_value');
  if (format.json_schema === undefined) throw invalid("Missing required parameter: 'response_format.json_schema'.", 'response_format.json_schema', 'missing_required_parameter');
  if (format.json_schema.schema === undefined) throw invalid(`Missing required parameter: '${WHERE}'.`, WHERE, 'missing_required_parameter');
  return { schema: format.json_schema.schema };
}

/**
 * Compiles what is asked for; the same schema is compiled once.
 * @throws ApiError 400 for a schema that is none or can't be followed, with the keyword
 */
export function checkJsonFormat(format: JsonFormat | undefined, tokenizer: Tokenizer): void {
  if (format === undefined) return;
  try {
    grammarOf(tokenizer, format.schema);
  } catch (error) {
    throw told(error);
  }
}

function told(error: unknown): unknown {
  if (error instanceof VocabularyUnknown) return new ApiError(400, "'response_format' is not supported with this model: its tokenizer changes what its tokens say.", 'invalid_request_error', 'response_format', 'unsupported_parameter');
  if (!(error instanceof SchemaProblem)) return error;
  const param = [WHERE, ...error.path].join('.');
  return invalid(`Invalid schema for 'response_format': at '${param}', ${error.message}.`, param, error.unsupported ? 'unsupported_schema' : 'invalid_schema');
}
