import { GraftError, Type, type Static } from 'graft';

/** One entry of a config's `serve:`. */
export const ServeOptions = Type.Object(
  {
    port: Type.Integer({ minimum: 0, maximum: 65535, default: 8080, description: 'port to listen on; 0: any that is free' }),
    host: Type.String({ minLength: 1, default: '127.0.0.1', description: 'address to listen on; another than this machine\'s own needs `api_key`', graftPath: false }),
    api_key: Type.Optional(Type.String({ minLength: 8, description: 'requests must carry it as `Authorization: Bearer <key>`; write it as ${NAME}', graftEnv: true, graftPath: false })),
    max_concurrent: Type.Integer({ minimum: 1, maximum: 1024, default: 32, description: 'requests that are answered at once, in one batch' }),
    max_queue: Type.Integer({ minimum: 0, maximum: 10_000, default: 128, description: 'requests that wait for their turn; one more is answered 429' }),
    chat_template: Type.Union([Type.Literal('auto'), Type.Literal('model'), Type.Literal('alpaca')], {
      default: 'auto',
      description: 'how messages become a prompt: `model`: the checkpoint\'s own template, else 400; `alpaca`: the frame of instruction tuning; `auto`: the first that there is',
    }),
  },
  { additionalProperties: false },
);

export type ServeOptions = Static<typeof ServeOptions>;

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|::1)$/;

/**
 * Refuses to answer strangers.
 * @throws GraftError `SERVE_UNPROTECTED` where other machines could reach the server and no key is asked for
 */
export function requireProtection(options: Pick<ServeOptions, 'host' | 'api_key'>): void {
  if (LOOPBACK.test(options.host) || options.api_key !== undefined) return;
  throw new GraftError('SERVE_UNPROTECTED', `Listening on ${options.host} lets other machines use the model, and no api_key is set.`, {
    option: ['host'],
    hint: 'Set api_key (such as ${GRAFT_API_KEY}), or listen on 127.0.0.1.',
  });
}
