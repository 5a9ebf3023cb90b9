/** Secrets that nobody can guess: kept as digests, compared in a time that tells nothing, and left out of what is logged. */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';

/** Bytes of a secret; so many that its plain digest can't be searched for. */
const BYTES = 32;
const KEY_PREFIX = 'graft_sk_';
const KEYS = new RegExp(`${KEY_PREFIX}[\\w-]+`, 'g');
const BEARERS = /\b(Bearer\s+)[\w.~+/=-]{16,}/gi;
/** Fields of a log line that are never written, at the top of it or up to two deep in what it holds. */
export const SECRET_FIELDS = ['authorization', 'token', 'apiKey', 'api_key', 'secret', 'cookie'] as const;

/** 256 random bits, for a process of this host. */
export function newToken(): string {
  return randomBytes(BYTES).toString('base64url');
}

/** 256 random bits, told apart from other services' keys by how they begin. */
export function newApiKey(): string {
  return `${KEY_PREFIX}${newToken()}`;
}

/** SHA-256, which is enough for what is random: there is no list of likely secrets to try. */
export function digestOf(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}

/**
 * The owner of the digest that a secret has.
 * Every digest is compared, each in constant time: how long it takes does not tell how close a guess is.
 */
export function ownerOf<T extends { readonly digest: Buffer }>(secret: string, owners: Iterable<T>): T | undefined {
  const given = digestOf(secret);
  let found: T | undefined;
  for (const owner of owners) if (timingSafeEqual(given, owner.digest)) found = owner;
  return found;
}

/** What a request's `Authorization: Bearer` says; empty where it says nothing. */
export function bearerOf(header: string | undefined): string {
  return /^Bearer\s+(\S+)\s*$/i.exec(header ?? '')?.[1] ?? '';
}

/** A text with API keys, and whatever is sent as a bearer's token, made unreadable. */
export function withoutSecrets(text: string): string {
  return text.replaceAll(BEARERS, '$1[redacted]').replaceAll(KEYS, `${KEY_PREFIX}[redacted]`);
}
