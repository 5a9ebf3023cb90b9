/** POST /v1/chat/completions */
import type { FastifyInstance } from 'fastify';
import type { AnsweredToken, LikelyToken } from './answer.ts';
import { ChatBody, refuseUnsupported } from './body.ts';
import { invalid } from './api-error.ts';
import { exchange, type Head, type Shape } from './exchange.ts';
import { checkBias, parametersOf, tokenBudget } from './parameters.ts';
import { chatPrompt } from './prompt.ts';
import { checkJsonFormat, jsonFormat } from './response-format.ts';
import type { ServerContext } from './context.ts';

const envelope = (head: Head, object: string): object => ({ id: head.id, object, created: head.created, model: head.model, system_fingerprint: head.system_fingerprint });

const likely = ({ token, logprob, bytes }: LikelyToken): object => ({ token, logprob, bytes });

const logprobsOf = (tokens: readonly AnsweredToken[]): object => ({ content: tokens.map((token) => ({ ...likely(token), top_logprobs: token.top.map(likely) })), refusal: null });

const shapeOf = (logprobs: boolean): Shape => {
  const chunk = (head: Head, choices: readonly object[]): object => ({ ...envelope(head, 'chat.completion.chunk'), choices });
  const delta = (index: number, content: object, tokens: readonly AnsweredToken[], finish_reason: string | null): object => ({
    index,
    delta: content,
    logprobs: logprobs && tokens.length > 0 ? logprobsOf(tokens) : null,
    finish_reason,
  });
  return {
    continues: false,
    whole: (head, choices) => ({
      ...envelope(head, 'chat.completion'),
      choices: choices.map(({ index, text, tokens, finishReason }) => ({
        index,
        message: { role: 'assistant', content: text, refusal: null },
        logprobs: logprobs ? logprobsOf(tokens) : null,
        finish_reason: finishReason,
      })),
    }),
    opening: (head, index) => chunk(head, [delta(index, { role: 'assistant', content: '', refusal: null }, [], null)]),
    piece: (head, index, text, tokens) => chunk(head, [delta(index, { content: text }, tokens, null)]),
    ending: (head, index, finishReason) => chunk(head, [delta(index, {}, [], finishReason)]),
    counting: (head) => chunk(head, []),
  };
};

export function chatRoute(app: FastifyInstance, context: ServerContext): void {
  app.post<{ Body: ChatBody }>('/v1/chat/completions', { schema: { body: ChatBody } }, async (request, reply) => {
    const { body } = request;
    refuseUnsupported(body, ChatBody);
    if (body.max_tokens != null && body.max_completion_tokens != null) {
      throw invalid("'max_tokens' and 'max_completion_tokens' can't both be set.", 'max_tokens', 'invalid_value');
    }
    const logprobs = body.logprobs ?? false;
    if (body.top_logprobs != null && !logprobs) throw invalid("'top_logprobs' is only allowed when 'logprobs' is true.", 'top_logprobs', 'invalid_value');
    const parameters = parametersOf(body, { topLogprobs: logprobs ? (body.top_logprobs ?? 0) : undefined, json: jsonFormat(body.response_format) });
    const asked = body.max_completion_tokens ?? body.max_tokens ?? undefined;
    const param = asked === undefined ? 'messages' : body.max_completion_tokens == null ? 'max_tokens' : 'max_completion_tokens';
    await exchange(context, request, reply, parameters, body.model, 'chatcmpl', shapeOf(logprobs), (served) => {
      checkBias(parameters, served);
      checkJsonFormat(parameters.json, served.tokenizer);
      const prompt = chatPrompt(body.messages, served, context.options.chat_template);
      return [{ prompt, maxTokens: tokenBudget(served, prompt.length, asked, Infinity, param) }];
    });
    return reply;
  });
}
