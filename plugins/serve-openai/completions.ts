/** POST /v1/completions */
import type { FastifyInstance } from 'fastify';
import type { AnsweredToken } from './answer.ts';
import { CompletionBody, refuseUnsupported } from './body.ts';
import { invalid } from './api-error.ts';
import { exchange, type Head, type Shape } from './exchange.ts';
import { parametersOf, tokenBudget } from './parameters.ts';
import { completionPrompts } from './prompt.ts';
import type { ServerContext } from './context.ts';

/** OpenAI's own default for this route. */
const DEFAULT_MAX_TOKENS = 16;

const envelope = (head: Head): object => ({ id: head.id, object: 'text_completion', created: head.created, model: head.model, system_fingerprint: head.system_fingerprint });

const logprobsOf = (tokens: readonly AnsweredToken[]): object => ({
  tokens: tokens.map((token) => token.token),
  token_logprobs: tokens.map((token) => token.logprob),
  top_logprobs: null,
  text_offset: tokens.map((token) => token.offset),
});

const shapeOf = (logprobs: boolean): Shape => {
  const choice = (index: number, text: string, tokens: readonly AnsweredToken[], finish_reason: string | null): object => ({
    index,
    text,
    logprobs: logprobs ? logprobsOf(tokens) : null,
    finish_reason,
  });
  return {
    continues: true,
    whole: (head, choices) => ({ ...envelope(head), choices: choices.map((it) => choice(it.index, it.text, it.tokens, it.finishReason)) }),
    piece: (head, index, text, tokens) => ({ ...envelope(head), choices: [choice(index, text, tokens, null)] }),
    ending: (head, index, finishReason) => ({ ...envelope(head), choices: [choice(index, '', [], finishReason)] }),
    counting: (head) => ({ ...envelope(head), choices: [] }),
  };
};

export function completionRoute(app: FastifyInstance, context: ServerContext): void {
  app.post<{ Body: CompletionBody }>('/v1/completions', { schema: { body: CompletionBody } }, async (request, reply) => {
    const { body } = request;
    refuseUnsupported(body, CompletionBody);
    if ((body.logprobs ?? 0) > 0) {
      throw invalid("'logprobs' above 0 is not supported by this server: it knows the probability of the tokens that it chose. Send 0 or leave it out.", 'logprobs', 'unsupported_parameter');
    }
    const parameters = parametersOf(body);
    const shape = shapeOf(body.logprobs != null);
    await exchange(context, request, reply, parameters, body.model, 'cmpl', shape, (served) =>
      completionPrompts(body.prompt, served.tokenizer).map((prompt) => ({
        prompt,
        maxTokens: tokenBudget(served, prompt.length, body.max_tokens ?? undefined, DEFAULT_MAX_TOKENS, body.max_tokens == null ? 'prompt' : 'max_tokens'),
      })),
    );
    return reply;
  });
}
