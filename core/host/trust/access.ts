/** Whether a request may have what it asks for. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { GraftError } from '../../kernel/errors.ts';
import type { ApiKeys, Scope } from './api-keys.ts';
import { isOwnHost, isOwnOrigin } from './origin.ts';
import { bearerOf, digestOf, ownerOf } from './secret.ts';

export interface AccessOptions {
  readonly keys: ApiKeys;
  /** What this machine's own commands bring: it may do everything. */
  readonly token: string;
  /** Whether only this machine can reach the daemon. */
  readonly local: boolean;
  readonly allowedHosts: readonly string[];
  readonly allowedOrigins: readonly string[];
}

/** Seconds that a browser remembers what it was allowed. */
const PREFLIGHT_SECONDS = '600';

export class Access {
  readonly #options: AccessOptions;
  readonly #own: { readonly digest: Buffer };

  constructor(options: AccessOptions) {
    this.#options = options;
    this.#own = { digest: digestOf(options.token) };
  }

  /** Whether local programs need no key: none was made, and nobody else can come. */
  get open(): boolean {
    return this.#options.local && !this.#options.keys.any;
  }

  /**
   * Lets through what brings the daemon's own token or a key for everything, whatever the address.
   * @throws GraftError `INVALID_API_KEY`, `SCOPE_MISSING`
   */
  requireAdmin({ headers }: FastifyRequest): void {
    this.#require(bearerOf(headers.authorization), 'admin');
  }

  /**
   * Keeps pages out that a browser on this machine shows, by what it has to say of them, where nobody needs a key.
   * @throws GraftError `HOST_FORBIDDEN`, `ORIGIN_FORBIDDEN`
   */
  requireNear({ headers, socket }: FastifyRequest): void {
    const { allowedHosts, allowedOrigins } = this.#options;
    if (!this.open) return;
    if (!isOwnHost(headers.host, socket.localPort, allowedHosts)) {
      throw new GraftError('HOST_FORBIDDEN', 'This request was sent to a name that is not of this machine.', { hint: 'Send it to 127.0.0.1 or localhost with the right port, name the host as http.allowed_hosts in the daemon\'s config, or make an API key.' });
    }
    if (headers.origin !== undefined && !isOwnOrigin(headers.origin, allowedOrigins)) {
      throw new GraftError('ORIGIN_FORBIDDEN', 'This request was sent by a page of another site.', { hint: 'Name its origin as http.allowed_origins in the daemon\'s config.' });
    }
  }

  /**
   * Lets a request to OpenAI's routes through: with a key for what it asks for, or any local program where there are no keys.
   * @param scope undefined: any key will do
   * @throws GraftError `INVALID_API_KEY`, `SCOPE_MISSING`, `HOST_FORBIDDEN`, `ORIGIN_FORBIDDEN`
   */
  require(request: FastifyRequest, scope: Scope | undefined): void {
    if (this.open) this.requireNear(request);
    else this.#require(bearerOf(request.headers.authorization), scope);
  }

  /**
   * Tells a browser that a page may read the answer, where it may.
   * @returns whether the request only asked for that, and has its answer
   */
  shareWithPages({ headers, method }: FastifyRequest, reply: FastifyReply): boolean {
    const { origin } = headers;
    const asks = method === 'OPTIONS' && headers['access-control-request-method'] !== undefined;
    if (origin === undefined || !isOwnOrigin(origin, this.#options.allowedOrigins)) return false;
    // On the answer itself: some of them are written past fastify.
    const { raw } = reply;
    raw.setHeader('access-control-allow-origin', origin);
    raw.setHeader('access-control-expose-headers', 'x-request-id, retry-after, x-should-retry');
    raw.setHeader('vary', 'origin');
    if (!asks) return false;
    raw.setHeader('access-control-allow-methods', 'GET, POST, DELETE');
    raw.setHeader('access-control-allow-headers', headers['access-control-request-headers'] ?? 'authorization, content-type');
    raw.setHeader('access-control-max-age', PREFLIGHT_SECONDS);
    return true;
  }

  #require(secret: string, scope: Scope | undefined): void {
    const { keys } = this.#options;
    if (ownerOf(secret, [this.#own]) !== undefined) return;
    const key = keys.find(secret);
    if (key === undefined) throw new GraftError('INVALID_API_KEY', secret === '' ? 'No API key provided. Send it in the Authorization header, as Bearer YOUR_KEY.' : 'Incorrect API key provided.');
    if (scope === undefined || key.scopes.includes('admin') || key.scopes.includes(scope)) return;
    throw new GraftError('SCOPE_MISSING', `The key ${key.name} is for ${key.scopes.join(', ')}, and this takes one for ${scope}.`);
  }
}
