/**
 * Profile `metadata`: what the target publishes about itself (RFC 8414), whether it is true, and what RFC 9700 says
 * that a server should no longer offer.
 */
import { listed, metadataUrls } from '../target/discover.ts';
import type { Target } from '../target/target.ts';
import { isLoopback, isRecord } from '../wire/http.ts';
import type { Answer } from '../wire/http.ts';
import type { Json } from '../wire/jwt.ts';
import { EXCHANGE_GRANT, honestExchange, shown } from './asking.ts';
import type { Probe, Scenario } from './scenario.ts';

const JWT_METHODS = ['private_key_jwt', 'client_secret_jwt'];

const withoutMetadata = (target: Target) =>
  target.discovery.metadata === undefined ? 'the target publishes no metadata' : undefined;

const location: Scenario = {
  id: 'metadata/location',
  profile: 'metadata',
  title: 'Where the metadata are',
  requests: 3,
  async run(probe) {
    const { issuer, discovery } = probe.target;
    const [place] = metadataUrls(issuer);
    if (place === undefined) return;
    const answer = await probe.fetch({ url: place.url, headers: { accept: 'application/json' } });
    const found = answer.status === 200 && answer.json !== undefined;
    const absent = answer.status === 404;
    if (absent) probe.skip('rfc8414-3-location', 'the target publishes no RFC 8414 metadata');
    else probe.holds('rfc8414-3-location', found, `${place.url}: ${answer.status}`, answer);
    probe.holds(
      'rfc9700-2.6-metadata',
      discovery.metadata !== undefined,
      discovery.metadata?.url ?? 'no metadata',
      answer,
    );
  },
};

const document: Scenario = {
  id: 'metadata/document',
  profile: 'metadata',
  title: 'What the metadata must hold',
  requests: 1,
  lacks: withoutMetadata,
  run(probe) {
    const { metadata, issuer, discovery } = probe.target;
    const answers = discovery.metadata === undefined ? [] : [discovery.metadata.answer];
    const judge = (id: string, ok: boolean, seen: string) => probe.holds(id, ok, seen, ...answers);
    const type = answers[0]?.headers['content-type'] ?? '';
    judge('rfc8414-3.2-json', /^application\/json\b/i.test(type), `Content-Type is "${type}"`);
    judge(
      'rfc8414-3.3-issuer-identical',
      metadata['issuer'] === issuer,
      `issuer is ${JSON.stringify(metadata['issuer'])}, asked ${issuer}`,
    );
    judge('rfc8414-2-issuer-form', isIssuer(metadata['issuer']), `issuer is ${JSON.stringify(metadata['issuer'])}`);
    judge(
      'rfc8414-2-token-endpoint',
      isEndpoint(metadata['token_endpoint']),
      `token_endpoint is ${JSON.stringify(metadata['token_endpoint'])}`,
    );
    const responseTypes = metadata['response_types_supported'];
    judge(
      'rfc8414-2-response-types',
      Array.isArray(responseTypes),
      `response_types_supported is ${shown(responseTypes)}`,
    );
    const grants = listed(metadata, 'grant_types_supported');
    judge(
      'rfc8414-2-grant-listed',
      grants.includes(EXCHANGE_GRANT),
      `grant_types_supported is ${JSON.stringify(grants)}`,
    );
    const empty = Object.entries(metadata).filter(([, value]) => Array.isArray(value) && value.length === 0);
    judge(
      'rfc8414-3.2-no-empty-lists',
      empty.length === 0,
      empty.length === 0 ? 'no empty lists' : `empty: ${empty.map(([name]) => name).join(', ')}`,
    );
    judgeAlgorithms(judge, metadata);
    judgeEndpoints(judge, metadata);
    judgeOldGrants(judge, metadata, grants);
    return Promise.resolve();
  },
};

type Judge = (id: string, ok: boolean, seen: string) => void;

/** RFC 8414 §2: algorithms are listed for each endpoint that takes JWT client authentication, and `none` never. */
function judgeAlgorithms(judge: Judge, metadata: Json): void {
  const faults: string[] = [];
  for (const endpoint of ['token', 'revocation', 'introspection']) {
    const methods = listed(metadata, `${endpoint}_endpoint_auth_methods_supported`);
    const algorithms = listed(metadata, `${endpoint}_endpoint_auth_signing_alg_values_supported`);
    if (methods.some((method) => JWT_METHODS.includes(method)) && algorithms.length === 0)
      faults.push(`${endpoint}_endpoint_auth_signing_alg_values_supported is missing`);
    if (algorithms.includes('none')) faults.push(`${endpoint} endpoint lists none`);
  }
  judge(
    'rfc8414-2-signing-algorithms',
    faults.length === 0,
    faults.length === 0 ? 'listed where they must be' : faults.join('; '),
  );
}

function judgeEndpoints(judge: Judge, metadata: Json): void {
  const urls = Object.entries(metadata).filter(([name]) => name.endsWith('_endpoint') || name === 'jwks_uri');
  const bad = urls.filter(([, value]) => !isEndpoint(value)).map(([name]) => name);
  judge(
    'rfc8414-2-endpoint-urls',
    bad.length === 0,
    bad.length === 0 ? `${urls.length} addresses` : `no https URL: ${bad.join(', ')}`,
  );
}

/** RFC 9700 §2.1.1, §2.1.2 and §2.4: PKCE is there, the implicit and password grants are not. */
function judgeOldGrants(judge: Judge, metadata: Json, grants: readonly string[]): void {
  const implicit =
    grants.includes('implicit') ||
    listed(metadata, 'response_types_supported').some((one) => /\btoken\b/.test(one.replace('id_token', '')));
  judge('rfc9700-2.1.2-no-implicit', !implicit, implicit ? 'the implicit grant is offered' : 'not offered');
  const password = grants.includes('password');
  judge('rfc9700-2.4-no-password', !password, password ? 'the password grant is offered' : 'not offered');
  const challenges = listed(metadata, 'code_challenge_methods_supported');
  const offersCode = listed(metadata, 'response_types_supported').includes('code');
  judge(
    'rfc9700-2.1.1-pkce',
    !offersCode || challenges.includes('S256'),
    `code_challenge_methods_supported is ${JSON.stringify(challenges)}`,
  );
}

/** https, or http on loopback, which tests need. */
function isEndpoint(value: unknown): boolean {
  if (typeof value !== 'string' || !URL.canParse(value)) return false;
  const url = new URL(value);
  return url.protocol === 'https:' || (url.protocol === 'http:' && isLoopback(url));
}

function isIssuer(value: unknown): boolean {
  return isEndpoint(value) && typeof value === 'string' && !value.includes('?') && !value.includes('#');
}

const keys: Scenario = {
  id: 'metadata/keys',
  profile: 'metadata',
  title: 'The published keys',
  requests: 2,
  lacks: (target) => (typeof target.metadata['jwks_uri'] === 'string' ? undefined : 'the metadata have no jwks_uri'),
  async run(probe) {
    const answer = await probe.fetch({ url: String(probe.target.metadata['jwks_uri']) });
    const list = answer.json?.['keys'];
    const published = Array.isArray(list) ? list.filter(isRecord) : [];
    probe.holds(
      'rfc8414-2-jwks',
      answer.status === 200 && published.length > 0,
      `${answer.status}, ${published.length} keys`,
      answer,
    );
    judgeKeys(probe, published, answer);
  },
};

function judgeKeys(probe: Probe, published: readonly Json[], answer: Answer): void {
  const leaking = published.filter((key) => ['d', 'p', 'q', 'dp', 'dq', 'qi', 'k'].some((member) => member in key));
  probe.holds(
    'field-no-private-keys',
    leaking.length === 0,
    leaking.length === 0 ? 'public members only' : 'private or symmetric key members',
    answer,
  );
  const kids = published.map((key) => `${String(key['kid'])} ${String(key['kty'])}`);
  const unique = new Set(kids).size === kids.length && published.every((key) => typeof key['kid'] === 'string');
  probe.holds('rfc8414-2-unique-kids', unique, `kids ${kids.join(', ')}`, answer);
}

const spoofing: Scenario = {
  id: 'metadata/host',
  profile: 'metadata',
  title: 'The metadata do not change with what a caller says the host is',
  requests: 4,
  lacks: withoutMetadata,
  async run(probe) {
    const known = probe.target.discovery.metadata;
    if (known === undefined) return;
    const lies = [
      { 'x-forwarded-host': 'evil.example', 'x-forwarded-proto': 'https' },
      { forwarded: 'host=evil.example;proto=https' },
      { host: 'evil.example' },
    ];
    for (const headers of lies) {
      const answer = await probe.fetch({ url: known.url, headers });
      const named = Object.keys(headers)[0] ?? '';
      const repeated = answer.body.includes('evil.example');
      probe.holds(
        'field-host-is-not-believed',
        !repeated,
        repeated ? `${named} ends up in the metadata` : `${named} changes nothing (${answer.status})`,
        answer,
      );
    }
  },
};

const truth: Scenario = {
  id: 'metadata/truth',
  profile: 'metadata',
  title: 'A grant that works is advertised, and the other way round',
  requests: 5,
  lacks: withoutMetadata,
  async run(probe) {
    const listedGrant = listed(probe.target.metadata, 'grant_types_supported').includes(EXCHANGE_GRANT);
    if (!listedGrant) {
      probe.blocked('field-advertised-grant-works', 'the grant is not advertised');
      return;
    }
    const answer = await honestExchange(probe);
    probe.holds('field-advertised-grant-works', true, 'advertised and granted', answer);
  },
};

export const metadataScenarios: readonly Scenario[] = [location, document, keys, spoofing, truth];
