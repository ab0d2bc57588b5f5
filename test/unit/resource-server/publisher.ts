/**
 * An issuer as a verifier sees it: metadata, two key sets, a signed revocation document. Served by an injected `fetch`
 * here, and by a real HTTP server in test/http. Signed with jose alone, not with the code under test.
 */
import { SignJWT, exportJWK, generateKeyPair } from 'jose';
import type { CryptoKey, JWTPayload } from 'jose';
import type { Clock } from '../../../src/core/clock.ts';

export interface TestClock extends Clock {
  readonly seconds: () => number;
  forward(seconds: number): void;
}

export function testClock(startSeconds = 1_800_000_000): TestClock {
  let ms = startSeconds * 1000;
  return {
    nowMs: () => ms,
    seconds: () => Math.floor(ms / 1000),
    forward: (seconds) => {
      ms += seconds * 1000;
    },
  };
}

export interface TestKey {
  readonly kid: string;
  readonly alg: string;
  readonly privateKey: CryptoKey;
  readonly jwk: Record<string, unknown>;
}

export async function makeKey(kid: string, alg = 'ES256'): Promise<TestKey> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  return { kid, alg, privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' } };
}

export function sign(
  claims: JWTPayload,
  key: TestKey,
  header: { readonly typ?: string; readonly kid?: string } = {},
): Promise<string> {
  return new SignJWT(claims).setProtectedHeader({ alg: key.alg, kid: key.kid, ...header }).sign(key.privateKey);
}

export interface Answer {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly body: string;
}

export const RESOURCE = 'https://mcp.example.com/mcp';

/** Everything that it publishes may be changed between two requests. */
export class Publisher {
  readonly tokenKeys: TestKey[] = [];
  readonly documentKeys: TestKey[] = [];
  readonly asked: string[] = [];
  metadata: Record<string, unknown>;
  tokens: string[] = [];
  predicates: Record<string, unknown>[] = [];
  /** Answers in place of what stands at a path. */
  readonly instead = new Map<string, (headers: Headers) => Answer | Promise<Answer>>();
  readonly issuer: string;
  readonly clock: Clock;

  constructor(issuer: string, clock: Clock) {
    this.issuer = issuer;
    this.clock = clock;
    this.metadata = {
      issuer,
      jwks_uri: `${issuer}/oauth2/jwks`,
      cambist_revocations_endpoint: `${issuer}/oauth2/revocations`,
      cambist_revocations_jwks_uri: `${issuer}/oauth2/revocations/jwks`,
    };
  }

  static async create(issuer: string, clock: Clock): Promise<Publisher> {
    const publisher = new Publisher(issuer, clock);
    publisher.tokenKeys.push(await makeKey('token-1'));
    publisher.documentKeys.push(await makeKey('document-1'));
    return publisher;
  }

  now(): number {
    return Math.floor(this.clock.nowMs() / 1000);
  }

  /** Claims of a good token. */
  claims(changes: Record<string, unknown> = {}): JWTPayload {
    const now = this.now();
    return {
      iss: this.issuer,
      sub: 'corp:alice',
      sub_id: { format: 'iss_sub', iss: 'https://idp.example.com', sub: 'alice' },
      aud: RESOURCE,
      client_id: 'agent',
      jti: 'jti-1',
      iat: now,
      exp: now + 300,
      scope: 'read write',
      act: { sub: 'agent', iss: this.issuer, client_id: 'agent' },
      ...changes,
    };
  }

  token(changes: Record<string, unknown> = {}, header: { typ?: string; kid?: string } = {}): Promise<string> {
    return sign(this.claims(changes), this.tokenKeys[0]!, { typ: 'at+jwt', ...header });
  }

  document(changes: Record<string, unknown> = {}, key = this.documentKeys[0]!, typ = 'cambist-revocations+jwt') {
    const now = this.now();
    const claims = { iss: this.issuer, iat: now, exp: now + 60, tokens: this.tokens, predicates: this.predicates };
    return sign({ ...claims, ...changes }, key, { typ });
  }

  /** Serves this in place of the document. */
  serveDocument(make: () => Promise<string>): void {
    this.instead.set('/oauth2/revocations', async () => ({
      status: 200,
      headers: { 'content-type': 'application/jwt' },
      body: await make(),
    }));
  }

  async answer(path: string, headers: Headers): Promise<Answer> {
    this.asked.push(path);
    const instead = this.instead.get(path);
    if (instead !== undefined) return instead(headers);
    const json = (value: unknown): Answer => ({
      status: 200,
      headers: { 'content-type': 'application/json', 'cache-control': 'max-age=300' },
      body: JSON.stringify(value),
    });
    const jwks = (keys: readonly TestKey[]) => json({ keys: keys.map(({ jwk }) => jwk) });
    if (path.startsWith('/.well-known/oauth-authorization-server')) return json(this.metadata);
    if (path === '/oauth2/jwks') return jwks(this.tokenKeys);
    if (path === '/oauth2/revocations/jwks') return jwks(this.documentKeys);
    if (path === '/oauth2/revocations') {
      const etag = `"${JSON.stringify([this.tokens, this.predicates]).length}-${Math.floor(this.now() / 10)}"`;
      if (headers.get('if-none-match') === etag) return { status: 304, headers: { etag }, body: '' };
      return {
        status: 200,
        headers: { 'content-type': 'application/jwt', etag, 'cache-control': 'max-age=1' },
        body: await this.document(),
      };
    }
    return { status: 404, headers: {}, body: '' };
  }

  readonly fetch: typeof fetch = async (input, init) => {
    const { status, headers, body } = await this.answer(new URL(input).pathname, new Headers(init?.headers));
    return new Response(status === 304 ? null : body, { status, headers });
  };

  count(path: string): number {
    return this.asked.filter((one) => one === path).length;
  }
}
