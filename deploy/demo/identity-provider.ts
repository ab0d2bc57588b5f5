/**
 * A company's identity provider, in small but real: node-oidc-provider on a loopback port with people, relying parties
 * and (for access tokens) APIs that are given to it. The demo signs Ada in with it; tests take ID tokens and JWT access
 * tokens from it. Nothing of Cambist is in here: to Cambist it is one more trusted issuer.
 *
 * It refuses a wrong password and any address but loopback. Consent is given in advance: every client is first-party.
 */
import { timingSafeEqual } from 'node:crypto';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { AccountClaims, Configuration, JWK, KoaContextWithOIDC, Provider } from 'oidc-provider';

const HOST = '127.0.0.1';
const SIGN_IN_PATH = '/sign-in/';
const FORM_MAX_BYTES = 4096;

export interface Person {
  readonly sub: string;
  readonly password: string;
  /** Claims beside `sub`: name, email, groups, or whatever a test wants in its tokens. */
  readonly claims: Readonly<Record<string, unknown>>;
}

export interface RelyingParty {
  readonly id: string;
  readonly secret: string;
  readonly redirectUri: string;
}

/** An API that access tokens can be asked for (RFC 8707): they are JWTs (RFC 9068) with `aud` = its URI. */
export interface Api {
  readonly uri: string;
  readonly scopes: readonly string[];
}

export interface IdentityProviderOptions {
  /** 0 = any free port. */
  readonly port: number;
  /** The algorithm that signs everything, and its private key. */
  readonly algorithm: 'RS256' | 'ES256';
  readonly signingKey: JWK;
  readonly cookieKey: string;
  readonly people: readonly Person[];
  readonly relyingParties: readonly RelyingParty[];
  readonly apis?: readonly Api[];
  readonly idTokenLifetimeSeconds?: number;
  readonly accessTokenLifetimeSeconds?: number;
}

export interface IdentityProvider {
  readonly issuer: string;
  stop(): Promise<void>;
}

/** Starts it and resolves when it answers. Rejects with the listen error if the port is taken. */
export async function startIdentityProvider(options: IdentityProviderOptions): Promise<IdentityProvider> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, HOST, resolve);
  });
  const issuer = `http://${HOST}:${(server.address() as AddressInfo).port}`;
  const provider = await buildProvider(issuer, options);
  const answer = provider.callback();
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    const handled =
      request.url?.startsWith(SIGN_IN_PATH) === true
        ? answerSignIn(provider, options.people, request, response)
        : answer(request, response);
    handled.catch(() => {
      if (!response.headersSent) response.writeHead(500);
      response.end();
    });
  });
  return {
    issuer,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
        server.closeAllConnections();
      }),
  };
}

async function buildProvider(issuer: string, options: IdentityProviderOptions): Promise<Provider> {
  const restore = muteNotices();
  try {
    const { Provider, errors } = await import('oidc-provider');
    return new Provider(
      issuer,
      configure(options, () => new errors.InvalidTarget()),
    );
  } finally {
    restore();
  }
}

/** Its notices (memory adapter, supported Node releases) are meant for production; here they would only be noise. */
function muteNotices(): () => void {
  const { warn, info } = console;
  const unlessNotice =
    (print: (...values: unknown[]) => void) =>
    (...values: unknown[]): void => {
      if (!String(values[0]).includes('oidc-provider')) print(...values);
    };
  console.warn = unlessNotice(warn);
  console.info = unlessNotice(info);
  return () => {
    console.warn = warn;
    console.info = info;
  };
}

function configure(options: IdentityProviderOptions, invalidTarget: () => Error): Configuration {
  const accessTokenTTL = options.accessTokenLifetimeSeconds ?? 600;
  const jwt = { sign: { alg: options.algorithm } };
  const claimNames = new Set(options.people.flatMap((person) => Object.keys(person.claims)));
  return {
    jwks: { keys: [options.signingKey] },
    cookies: { keys: [options.cookieKey] },
    clients: options.relyingParties.map((party) => ({
      client_id: party.id,
      client_secret: party.secret,
      redirect_uris: [party.redirectUri],
      grant_types: ['authorization_code'],
      response_types: ['code'],
      id_token_signed_response_alg: options.algorithm,
    })),
    // Claims of a person stand in the ID token itself, as most companies' providers do it.
    conformIdTokenClaims: false,
    claims: { openid: ['sub', ...claimNames] },
    pkce: { required: () => true },
    clientBasedCORS: () => false,
    interactions: { url: (_context, interaction) => `${SIGN_IN_PATH}${interaction.uid}` },
    features: {
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_context, indicator) => {
          const api = options.apis?.find(({ uri }) => uri === indicator);
          if (api === undefined) throw invalidTarget();
          return { scope: api.scopes.join(' '), audience: api.uri, accessTokenFormat: 'jwt', accessTokenTTL, jwt };
        },
        useGrantedResource: () => true,
      },
    },
    ttl: {
      AccessToken: accessTokenTTL,
      AuthorizationCode: 60,
      Grant: 3600,
      IdToken: options.idTokenLifetimeSeconds ?? 600,
      Interaction: 300,
      Session: 3600,
    },
    findAccount: (_context, sub) => {
      const person = options.people.find((candidate) => candidate.sub === sub);
      if (person === undefined) return undefined;
      return { accountId: sub, claims: (): AccountClaims => ({ sub, ...person.claims }) };
    },
    loadExistingGrant: (context) => grantEverythingAskedFor(context, options.apis ?? []),
  };
}

async function grantEverythingAskedFor(context: KoaContextWithOIDC, apis: readonly Api[]) {
  const { provider, client, session, params } = context.oidc;
  if (client === undefined || session?.accountId === undefined) return undefined;
  const grant = new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
  if (typeof params?.['scope'] === 'string') grant.addOIDCScope(params['scope']);
  for (const api of apis) grant.addResourceScope(api.uri, api.scopes.join(' '));
  await grant.save();
  return grant;
}

/** The login form: GET shows it, POST checks name and password and goes on with the authorization request. */
async function answerSignIn(
  provider: Provider,
  people: readonly Person[],
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  if (request.method !== 'POST') {
    sendForm(response, 200, '');
    return;
  }
  const form = await readForm(request);
  const person = people.find(({ sub }) => sub === form.get('username'));
  if (person === undefined || !sameText(person.password, form.get('password') ?? '')) {
    sendForm(response, 401, '<p>Wrong name or password.</p>');
    return;
  }
  await provider.interactionFinished(request, response, { login: { accountId: person.sub, amr: ['pwd'] } });
}

function sendForm(response: ServerResponse, status: number, notice: string): void {
  response.writeHead(status, {
    'content-type': 'text/html; charset=utf-8',
    'cache-control': 'no-store',
    'content-security-policy': "default-src 'none'; form-action *; frame-ancestors 'none'",
  });
  response.end(
    `<!doctype html><title>Sign in</title>${notice}<form method="post">` +
      '<label>Name <input name="username" autocomplete="username"></label> ' +
      '<label>Password <input name="password" type="password" autocomplete="current-password"></label> ' +
      '<button>Sign in</button></form>',
  );
}

async function readForm(request: IncomingMessage): Promise<URLSearchParams> {
  let body = '';
  for await (const chunk of request) {
    body += String(chunk);
    if (body.length > FORM_MAX_BYTES) throw new RangeError('the form is too large');
  }
  return new URLSearchParams(body);
}

function sameText(expected: string, given: string): boolean {
  const a = Buffer.from(expected);
  const b = Buffer.from(given);
  return a.length === b.length && timingSafeEqual(a, b);
}
