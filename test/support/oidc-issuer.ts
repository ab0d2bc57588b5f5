/**
 * A real OpenID provider for tests (node-oidc-provider on a free loopback port) and people who sign in with it.
 *
 * Every token that it hands out went through authorization code + PKCE over HTTP, so that what Cambist is given is what
 * a company's provider issues. For tokens that no honest provider would issue, use `jwks-issuer.ts`.
 */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { startIdentityProvider } from '../../deploy/demo/identity-provider.ts';
import type { Api, Person } from '../../deploy/demo/identity-provider.ts';
import { signIn } from '../../deploy/demo/sign-in.ts';

export interface OidcIssuerOptions {
  /** Who can sign in, by `sub`, with the claims of each; default: ada, in staff and engineering. */
  readonly people?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** Client ids of the relying parties: the `aud` of ID tokens. Default: `portal`. */
  readonly relyingParties?: readonly string[];
  /** APIs that `accessToken` can be asked for. */
  readonly apis?: readonly Api[];
  readonly algorithm?: 'RS256' | 'ES256';
  readonly idTokenLifetimeSeconds?: number;
  readonly accessTokenLifetimeSeconds?: number;
  /** Fixed port, for a test that stops the issuer and starts it again at the same place. */
  readonly port?: number;
}

export interface OidcIssuer {
  readonly issuer: string;
  /** A fresh ID token of a person for a relying party (default: the first one). */
  idToken(sub: string, relyingParty?: string): Promise<string>;
  /** A fresh JWT access token (RFC 9068) of a person for one of `apis`, by its URI, with all or some of its scopes. */
  accessToken(sub: string, api: string, scope?: string, relyingParty?: string): Promise<string>;
  stop(): Promise<void>;
}

const ADA = {
  ada: { name: 'Ada Lovelace', email: 'ada@corp.example', groups: ['staff', 'engineering'] },
};

/** Starts the provider; stop it in the test's own clean-up. */
export async function startOidcIssuer(options: OidcIssuerOptions = {}): Promise<OidcIssuer> {
  const algorithm = options.algorithm ?? 'RS256';
  const people: Person[] = Object.entries(options.people ?? ADA).map(([sub, claims]) => ({
    sub,
    password: randomBytes(16).toString('base64url'),
    claims,
  }));
  const parties = (options.relyingParties ?? ['portal']).map((id) => ({
    id,
    secret: randomBytes(32).toString('base64url'),
    redirectUri: `https://${id}.example/callback`,
  }));
  const apis = options.apis ?? [];
  const provider = await startIdentityProvider({
    port: options.port ?? 0,
    algorithm,
    signingKey: signingKey(algorithm),
    cookieKey: randomBytes(32).toString('base64url'),
    people,
    relyingParties: parties,
    apis,
    ...(options.idTokenLifetimeSeconds === undefined ? {} : { idTokenLifetimeSeconds: options.idTokenLifetimeSeconds }),
    ...(options.accessTokenLifetimeSeconds === undefined
      ? {}
      : { accessTokenLifetimeSeconds: options.accessTokenLifetimeSeconds }),
  });

  async function sign(sub: string, relyingParty: string | undefined, wish: { scope?: string; resource?: string }) {
    const person = people.find((candidate) => candidate.sub === sub);
    const party = parties.find(({ id }) => relyingParty === undefined || id === relyingParty);
    if (person === undefined || party === undefined) throw new Error(`no such person or relying party: ${sub}`);
    return signIn({
      issuer: provider.issuer,
      clientId: party.id,
      clientSecret: party.secret,
      redirectUri: party.redirectUri,
      username: sub,
      password: person.password,
      ...wish,
    });
  }

  return {
    issuer: provider.issuer,
    idToken: async (sub, relyingParty) => (await sign(sub, relyingParty, {})).idToken,
    accessToken: async (sub, api, scope, relyingParty) => {
      const wanted = scope ?? apis.find(({ uri }) => uri === api)?.scopes.join(' ') ?? '';
      return (await sign(sub, relyingParty, { scope: wanted, resource: api })).accessToken;
    },
    stop: () => provider.stop(),
  };
}

function signingKey(algorithm: 'RS256' | 'ES256') {
  const { privateKey } =
    algorithm === 'RS256'
      ? generateKeyPairSync('rsa', { modulusLength: 2048 })
      : generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return {
    ...privateKey.export({ format: 'jwk' }),
    alg: algorithm,
    use: 'sig',
    kid: randomBytes(8).toString('base64url'),
  } as const;
}
