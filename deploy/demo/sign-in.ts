/**
 * Signs a person in as a browser would, without a browser: authorization code + PKCE (RFC 7636) as a relying party of
 * an OpenID provider, following its redirects, keeping its cookies and filling in its login form.
 *
 * The tokens come from `openid-client`, which checks state, nonce, signature and audience: what it returns was really
 * issued to this relying party for this sign-in.
 */
import * as openid from 'openid-client';

const REDIRECTS_MAX = 10;

export interface SignInOptions {
  readonly issuer: string;
  readonly clientId: string;
  readonly clientSecret: string;
  readonly redirectUri: string;
  readonly username: string;
  readonly password: string;
  /** Space-separated; `openid` is always asked for. */
  readonly scope?: string;
  /** An API to get a JWT access token for (RFC 8707). */
  readonly resource?: string;
}

export interface SignedIn {
  readonly idToken: string;
  readonly accessToken: string;
}

/** One full sign-in. Throws when the provider refuses any step of it. */
export async function signIn(options: SignInOptions): Promise<SignedIn> {
  const config = await openid.discovery(
    new URL(options.issuer),
    options.clientId,
    undefined,
    openid.ClientSecretBasic(options.clientSecret),
    { execute: options.issuer.startsWith('http://') ? [openid.allowInsecureRequests] : [] },
  );
  const pkceCodeVerifier = openid.randomPKCECodeVerifier();
  const expectedState = openid.randomState();
  const expectedNonce = openid.randomNonce();
  const start = openid.buildAuthorizationUrl(config, {
    redirect_uri: options.redirectUri,
    scope: ['openid', options.scope ?? ''].join(' ').trim(),
    state: expectedState,
    nonce: expectedNonce,
    code_challenge: await openid.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: 'S256',
    ...(options.resource === undefined ? {} : { resource: options.resource }),
  });
  const callback = await browse(start, options);
  const tokens = await openid.authorizationCodeGrant(
    config,
    callback,
    { pkceCodeVerifier, expectedState, expectedNonce, idTokenExpected: true },
    options.resource === undefined ? {} : { resource: options.resource },
  );
  if (tokens.id_token === undefined) throw new Error('the provider gave no ID token');
  return { idToken: tokens.id_token, accessToken: tokens.access_token };
}

/** Follows redirects until the provider sends the "browser" back to the relying party. */
async function browse(start: URL, options: SignInOptions): Promise<URL> {
  const cookies = new Map<string, string>();
  let url = start;
  let form: URLSearchParams | undefined;
  for (let hop = 0; hop < REDIRECTS_MAX; hop++) {
    const response = await fetch(url, {
      redirect: 'manual',
      headers: { cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join('; ') },
      ...(form === undefined ? {} : { method: 'POST', body: form }),
    });
    keepCookies(cookies, response);
    const location = response.headers.get('location');
    if (location !== null) {
      await response.body?.cancel();
      url = new URL(location, url);
      form = undefined;
      if (url.href.startsWith(`${options.redirectUri}?`)) return url;
      continue;
    }
    const page = await response.text();
    if (response.status !== 200 || !page.includes('<form')) {
      throw new Error(`sign-in of ${options.username} stopped at ${url.pathname}: HTTP ${response.status}`);
    }
    form = new URLSearchParams({ username: options.username, password: options.password });
  }
  throw new Error(`sign-in of ${options.username} did not end within ${REDIRECTS_MAX} steps`);
}

/** Names of this provider's cookies are unique within a sign-in, so that their paths need no bookkeeping. */
function keepCookies(cookies: Map<string, string>, response: Response): void {
  for (const line of response.headers.getSetCookie()) {
    const [pair = '', ...attributes] = line.split(';');
    const at = pair.indexOf('=');
    const name = pair.slice(0, at).trim();
    const expired = attributes.some((attribute) => /^\s*expires=Thu, 01 Jan 1970/i.test(attribute));
    if (expired) cookies.delete(name);
    else cookies.set(name, pair.slice(at + 1));
  }
}
