/**
 * Profile `jwt-access-token`: issued access tokens that are JWTs, held against RFC 9068 and RFC 7519.
 */
import { audiences, decodeJwt, nowSeconds, verifiesWith } from '../wire/jwt.ts';
import { isRecord } from '../wire/http.ts';
import type { DecodedJwt } from '../wire/jwt.ts';
import type { Answer } from '../wire/http.ts';
import { exchange, expectedAudience, honestExchange, mainResource, textMember, shown } from './asking.ts';
import type { Probe, Scenario } from './scenario.ts';

const OPAQUE_TOKEN = 'the target issues opaque access tokens';
const CLOCK_TOLERANCE_SECONDS = 10;

const CLAIM_IDS = {
  iss: 'rfc9068-2.2-iss',
  exp: 'rfc9068-2.2-exp',
  aud: 'rfc9068-2.2-aud',
  sub: 'rfc9068-2.2-sub',
  client_id: 'rfc9068-2.2-client-id',
  iat: 'rfc9068-2.2-iat',
  jti: 'rfc9068-2.2-jti',
} as const;

const claims: Scenario = {
  id: 'jwt-access-token/claims',
  profile: 'jwt-access-token',
  title: 'Header and claims of an issued access token',
  requests: 5,
  async run(probe) {
    const answer = await honestExchange(probe);
    const token = decodeJwt(textMember(answer, 'access_token'));
    const rest = ['rfc9068-2.1-typ', 'rfc9068-2.1-signed', 'rfc9068-3-aud-is-resource', 'field-expires-in-agrees'];
    if (token === undefined) {
      for (const id of [...rest, ...Object.values(CLAIM_IDS)]) probe.skip(id, OPAQUE_TOKEN);
      return;
    }
    const { typ, alg } = token.header;
    const typed = typeof typ === 'string' && /^(application\/)?at\+jwt$/i.test(typ);
    probe.holds('rfc9068-2.1-typ', typed, `typ is ${shown(typ)}`, answer);
    const signed = typeof alg === 'string' && alg.toLowerCase() !== 'none' && token.signature !== '';
    probe.holds('rfc9068-2.1-signed', signed, `alg is ${JSON.stringify(alg)}`, answer);
    judgeClaims(probe, token, answer);
    const wanted = expectedAudience(mainResource(probe.target)) ?? '';
    const aud = audiences(token.claims);
    probe.holds(
      'rfc9068-3-aud-is-resource',
      aud.includes(wanted),
      `aud is ${JSON.stringify(token.claims['aud'])}`,
      answer,
    );
    const [exp, iat, expiresIn] = [token.claims['exp'], nowSeconds(), answer.json?.['expires_in']];
    const agrees =
      typeof exp !== 'number' ||
      typeof expiresIn !== 'number' ||
      Math.abs(exp - iat - expiresIn) <= CLOCK_TOLERANCE_SECONDS;
    probe.holds(
      'field-expires-in-agrees',
      agrees,
      `exp is in ${String(Number(exp) - iat)} s, expires_in is ${String(expiresIn)}`,
      answer,
    );
  },
};

/** RFC 9068 §2.2: seven claims must be there, each of its own kind. */
function judgeClaims(probe: Probe, token: DecodedJwt, answer: Answer): void {
  const now = nowSeconds();
  const text = (value: unknown): value is string => typeof value === 'string' && value !== '';
  const rules: Record<keyof typeof CLAIM_IDS, (value: unknown) => boolean> = {
    iss: (value) => value === probe.target.issuer,
    exp: (value) => typeof value === 'number' && value > now,
    aud: (value) => text(value) || (Array.isArray(value) && value.length > 0 && value.every(text)),
    sub: text,
    client_id: (value) => value === probe.target.config.clients.requester?.client_id,
    iat: (value) => typeof value === 'number' && value <= now + CLOCK_TOLERANCE_SECONDS,
    jti: text,
  };
  for (const [name, id] of Object.entries(CLAIM_IDS)) {
    const value = token.claims[name];
    const ok = rules[name as keyof typeof CLAIM_IDS](value);
    probe.holds(id, ok, `${name} is ${shown(value)}`, answer);
  }
}

const uniqueness: Scenario = {
  id: 'jwt-access-token/unique',
  profile: 'jwt-access-token',
  title: 'Two tokens have two names',
  requests: 6,
  async run(probe) {
    const answers = [await honestExchange(probe), await honestExchange(probe)];
    const tokens = answers.map((answer) => decodeJwt(textMember(answer, 'access_token')));
    const [first, second] = tokens.map((token) => token?.claims['jti']);
    if (tokens.includes(undefined)) probe.skip('rfc7519-4.1.7-jti-unique', OPAQUE_TOKEN);
    else if (first === undefined) probe.blocked('rfc7519-4.1.7-jti-unique', 'there is no jti');
    else
      probe.holds('rfc7519-4.1.7-jti-unique', first !== second, `jti ${shown(first)} and ${shown(second)}`, ...answers);
  },
};

const verifiable: Scenario = {
  id: 'jwt-access-token/verify',
  profile: 'jwt-access-token',
  title: 'Anybody can verify the token with the published keys',
  requests: 6,
  async run(probe) {
    const answer = await honestExchange(probe);
    const token = textMember(answer, 'access_token');
    const id = 'rfc9068-4-verifies';
    if (decodeJwt(token) === undefined) {
      probe.skip(id, OPAQUE_TOKEN);
      return;
    }
    const jwksUri = probe.target.metadata['jwks_uri'];
    if (typeof jwksUri !== 'string') {
      if (probe.target.discovery.metadata === undefined) probe.skip(id, 'the target publishes no metadata');
      else probe.holds(id, false, 'the metadata have no jwks_uri', answer);
      return;
    }
    const keys = await probe.fetch({ url: jwksUri });
    const published = keys.json?.['keys'];
    const verified = Array.isArray(published) && published.filter(isRecord).some((key) => verifiesWith(token, key));
    const kid = JSON.stringify(decodeJwt(token)?.header['kid']);
    probe.holds(
      id,
      verified,
      verified ? `verifies (kid ${kid})` : `no key of jwks_uri verifies it (kid ${kid})`,
      answer,
      keys,
    );
  },
};

const scoped: Scenario = {
  id: 'jwt-access-token/scope',
  profile: 'jwt-access-token',
  title: 'The scope that was asked for stands in the token',
  requests: 5,
  lacks: (target) =>
    mainResource(target).scopes.length === 0 ? 'the configuration names no scopes of the first resource' : undefined,
  async run(probe) {
    const [scope = ''] = mainResource(probe.target).scopes;
    const answer = probe.accepted(await exchange(probe, { scope }), `an exchange for the scope ${scope}`);
    const token = decodeJwt(textMember(answer, 'access_token'));
    const held = token?.claims['scope'];
    if (token === undefined) probe.skip('rfc9068-2.2.3-scope', OPAQUE_TOKEN);
    else probe.holds('rfc9068-2.2.3-scope', typeof held === 'string' && held !== '', `scope is ${shown(held)}`, answer);
  },
};

export const jwtAccessTokenScenarios: readonly Scenario[] = [claims, uniqueness, verifiable, scoped];
