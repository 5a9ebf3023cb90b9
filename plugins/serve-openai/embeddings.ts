/** POST /v1/embeddings: the last hidden state of each text's last token, at unit length. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { ServedModel } from 'graft';
import { invalid, notFinite } from './api-error.ts';
import { EmbeddingBody, refuseUnsupported } from './body.ts';
import type { ServerContext } from './context.ts';
import { clientGone, held } from './exchange.ts';
import { textsOf } from './prompt.ts';
import { tallyOf } from './tally.ts';

export function embeddingRoute(app: FastifyInstance, context: ServerContext): void {
  app.post<{ Body: EmbeddingBody }>('/v1/embeddings', { schema: { body: EmbeddingBody } }, async (request, reply) => {
    refuseUnsupported(request.body, EmbeddingBody);
    const signal = AbortSignal.any([context.signal, clientGone(reply)]);
    return held(context, request, request.body.model, signal, (served) => embed(request, served, request.body, signal));
  });
}

async function embed(request: FastifyRequest, served: ServedModel, body: EmbeddingBody, signal: AbortSignal): Promise<object> {
  const { hidden_size: width, max_position_embeddings: longest } = served.model.config;
  if (body.dimensions != null && body.dimensions !== width) throw invalid(`Invalid value for 'dimensions': this model's embeddings have ${width}, and can't be shortened.`, 'dimensions', 'invalid_value');
  const inputs = textsOf('input', body.input, served.tokenizer);
  const long = inputs.findIndex(({ length }) => length > longest);
  if (long !== -1) throw invalid(`This model's maximum context length is ${longest} tokens, and input ${long} has ${inputs[long]!.length}.`, 'input', 'context_length_exceeded');
  const vectors = await served.embed(inputs, signal);
  const tokens = inputs.reduce((sum, { length }) => sum + length, 0);
  tallyOf(request).promptTokens = tokens;
  return {
    object: 'list',
    data: vectors.map((vector, index) => ({ object: 'embedding', index, embedding: encoded(unit(vector), body.encoding_format ?? 'float') })),
    model: body.model,
    usage: { prompt_tokens: tokens, total_tokens: tokens },
  };
}

/** @throws ApiError 500 where the numbers are none, which JSON would write as null */
function unit(vector: Float32Array): Float32Array {
  const length = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
  if (!Number.isFinite(length)) throw notFinite(`The length of its hidden state is ${length}.`);
  return length === 0 ? vector : vector.map((value) => value / length);
}

/** base64: of the numbers as little-endian float32. */
function encoded(vector: Float32Array, format: 'float' | 'base64'): readonly number[] | string {
  return format === 'float' ? [...vector] : Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength).toString('base64');
}
