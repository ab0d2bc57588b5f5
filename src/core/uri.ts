/**
 * URIs as they are compared: the one form of a target, and what counts as this machine.
 */

/**
 * The one form in which a target URI is compared (RFC 8707 §2: absolute, no fragment). Scheme and host in lower case,
 * default port removed, a trailing slash ignored. `undefined` for what is not an absolute URI without a fragment.
 */
export function canonicalTarget(uri: string): string | undefined {
  if (uri.length > 2048 || /[\s\\#]/.test(uri) || !/^[A-Za-z][A-Za-z0-9+.-]*:[^\s]/.test(uri)) return undefined;
  if (!/^https?:/i.test(uri)) return uri;
  if (!URL.canParse(uri)) return undefined;
  const url = new URL(uri);
  if (url.username !== '' || url.password !== '') return undefined;
  // What the parser would repair (missing slashes, dot segments, an empty query) names nothing here.
  const rest = /^https?:\/\/[^/?]+([/?].*)?$/i.exec(uri);
  if (rest === null || (rest[1] ?? '/') !== url.pathname + url.search) return undefined;
  const path = url.pathname.endsWith('/') ? url.pathname.slice(0, -1) : url.pathname;
  return `${url.protocol}//${url.host}${path}${url.search}`;
}

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/;

/** Is this URL's host the loopback interface? */
export function isLoopbackUrl(url: string): boolean {
  return URL.canParse(url) && LOOPBACK.test(new URL(url).hostname);
}
