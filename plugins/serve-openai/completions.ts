/** POST /v1/completions */
import type { FastifyInstance } from 'fastify';
import type { AnsweredToken } from './answer.ts';
import { CompletionBody, refuseUnsupported } from './body.ts';
import { exchange, type Head, type Shape } from './exchange.ts';
import { checkBias, parametersOf, tokenBudget } from './parameters.ts';
import { textsOf } from './prompt.ts';
import type { ServerContext } from './context.ts';

/** OpenAI's own default for this route. */
const DEFAULT_MAX_TOKENS = 16;

const envelope = (head: Head): object => ({ id: head.id, object: 'text_completion', created: head.created, model: head.model, system_fingerprint: head.system_fingerprint });

const logprobsOf = (tokens: readonly AnsweredToken[], top: number): object => ({
  tokens: tokens.map((token) => token.token),
  token_logprobs: tokens.map((token) => token.logprob),
  top_logprobs: top === 0 ? null : tokens.map(mapOf),
  text_offset: tokens.map((token) => token.offset),
});

/** The likeliest and the chosen one, by their text: of two that look alike, the likelier. */
const mapOf = (token: AnsweredToken): object => Object.fromEntries([token, ...token.top.toReversed()].map((each) => [each.token, each.logprob]));

/** @param top tokens to tell beside each; undefined: none are told, not even those chosen */
const shapeOf = (top: number | undefined): Shape => {
  const choice = (index: number, text: string, tokens: readonly AnsweredToken[], finish_reason: string | null): object => ({
    index,
    text,
    logprobs: top === undefined ? null : logprobsOf(tokens, top),
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
    const topLogprobs = body.logprobs ?? undefined;
    const parameters = parametersOf(body, { topLogprobs, json: undefined });
    const shape = shapeOf(topLogprobs);
    await exchange(context, request, reply, parameters, body.model, 'cmpl', shape, (served) => {
      checkBias(parameters, served);
      return textsOf('prompt', body.prompt, served.tokenizer).map((prompt) => ({
        prompt,
        maxTokens: tokenBudget(served, prompt.length, body.max_tokens ?? undefined, DEFAULT_MAX_TOKENS, body.max_tokens == null ? 'prompt' : 'max_tokens'),
      }));
    });
    return reply;
  });
}
