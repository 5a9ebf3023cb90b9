/** Where a request says that it was sent to, and which page sent it: what tells a local program from a page in a local browser. */
import { isIPv4 } from 'node:net';

/** An address that only this machine reaches. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host === '[::1]' || (isIPv4(host) && host.startsWith('127.'));
}

/**
 * Whether a request's `Host` is this server: a name of this machine with the right port, or one that the config allows.
 * A page of another site whose name was made to point here (DNS rebinding) still sends that name.
 * @param allowed names, or names with a port
 */
export function isOwnHost(header: string | undefined, port: number | undefined, allowed: readonly string[]): boolean {
  const url = parsed(`http://${header ?? ''}`);
  if (url === undefined || header === undefined || url.pathname !== '/' || url.username !== '' || /[/?#@]/.test(header)) return false;
  if (allowed.some((each) => each.toLowerCase() === url.host || each.toLowerCase() === url.hostname)) return true;
  return isLoopback(url.hostname) && Number(url.port === '' ? 80 : url.port) === port;
}

/** Whether the page that sent a request is of this machine, or of a site that the config allows. */
export function isOwnOrigin(origin: string, allowed: readonly string[]): boolean {
  if (allowed.some((each) => each.toLowerCase() === origin.toLowerCase())) return true;
  const url = parsed(origin);
  return url !== undefined && url.origin === origin.toLowerCase() && isLoopback(url.hostname);
}

function parsed(url: string): URL | undefined {
  return URL.canParse(url) ? new URL(url) : undefined;
}
