/**
 * Profile `security`: forged tokens, header injection, token-type confusion, polluted parameters, widening, and answers
 * that say too much (RFC 8725, and what advisories of this field taught).
 */
import {
  asJsonSerialization,
  attackerSigned,
  kidInjections,
  otherAlgorithm,
  publicKeyAsSecret,
  signatureCut,
  withoutSignature,
} from '../issuer/attacks.ts';
import { draftToken } from '../issuer/own-issuer.ts';
import { answerInWords, tokenTypeUrn } from '../target/target.ts';
import { assertionParameters, clientAssertion } from '../target/authenticate.ts';
import { isRecord } from '../wire/http.ts';
import type { Answer } from '../wire/http.ts';
import { decodeJwt, nowSeconds, scopeValues } from '../wire/jwt.ts';
import type { Form } from '../wire/form.ts';
import { ACCESS_TOKEN_TYPE, exchange, exchangeForm, honestExchange, mainResource, textMember } from './asking.ts';
import { suiteSubject } from './external-subjects.ts';
import { keyedClient } from './jwt-client-auth.ts';
import { isTokenAnswer } from './scenario.ts';
import type { Probe, Scenario } from './scenario.ts';

const DAY_SECONDS = 86_400;

/** The honest subject token; the scenario ends with skips when it is opaque. */
async function forgeable(probe: Probe, ids: readonly string[]): Promise<string | undefined> {
  await honestExchange(probe);
  const { token } = await probe.token('default');
  if (decodeJwt(token) !== undefined) return token;
  for (const id of ids) probe.skip(id, 'the subject token is opaque');
  return undefined;
}

const algorithms: Scenario = {
  id: 'security/algorithm',
  profile: 'security',
  title: 'Algorithm confusion: none, HMAC under a public key, another algorithm of the same key',
  requests: 14,
  async run(probe) {
    const ids = [
      'rfc8725-3.1-none',
      'rfc8725-3.3-signature-cut',
      'rfc8725-3.1-hmac-public-key',
      'rfc8725-3.1-one-algorithm',
    ] as const;
    const token = await forgeable(probe, ids);
    if (token === undefined) return;
    const refuse = async (id: string, subject_token: string) =>
      probe.refused(id, await exchange(probe, { subject_token }));
    for (const forged of withoutSignature(token)) await refuse(ids[0], forged);
    await refuse(ids[1], signatureCut(token));
    const key = await issuerKey(probe, token);
    if (key === undefined) probe.skip(ids[2], 'the key that signed the subject token is not published');
    else for (const forged of publicKeyAsSecret(token, key)) await refuse(ids[2], forged);
    const own = probe.target.own?.trusted;
    const subject = suiteSubject(probe.target);
    if (own?.key.alg !== 'RS256' || subject?.name !== 'default') {
      probe.skip(ids[3], 'needs a default subject that the suite signs with RS256');
      return;
    }
    const draft = draftToken(own, subject.source);
    await refuse(ids[3], otherAlgorithm(draft.header, draft.claims, own.key));
  },
};

/** The public key that the subject token's issuer publishes for it. */
async function issuerKey(probe: Probe, token: string) {
  if (probe.target.config.subjects['default']?.source === 'suite') return probe.target.own?.trusted.key.publicJwk;
  const jwksUri = probe.target.metadata['jwks_uri'];
  if (typeof jwksUri !== 'string') return undefined;
  const answer = await probe.fetch({ url: jwksUri });
  const keys = answer.json?.['keys'];
  const kid = decodeJwt(token)?.header['kid'];
  return Array.isArray(keys)
    ? keys.filter(isRecord).find((key) => key['kid'] === kid && key['kty'] !== 'oct')
    : undefined;
}

const headers: Scenario = {
  id: 'security/header',
  profile: 'security',
  title: 'Header members that point at keys, or attack whoever looks a key up',
  requests: 14,
  lacks: (target) => (target.own === undefined ? 'the configuration has no `suite` to serve canaries' : undefined),
  async run(probe) {
    const ids = [
      'rfc8725-3.10-embedded-jwk',
      'rfc8725-3.10-jku',
      'rfc8725-3.10-x5u',
      'rfc8725-3.10-no-fetch',
      'rfc8725-3.10-kid-injection',
      'rfc7519-7.2-unknown-crit',
    ];
    const token = await forgeable(probe, ids);
    const { own } = probe.target;
    if (token === undefined || own === undefined) return;
    const attacker = own.attackerKey;
    const refuse = async (id: string, header: Record<string, unknown>) =>
      probe.refused(id, await exchange(probe, { subject_token: attackerSigned(token, attacker, header) }));
    await refuse('rfc8725-3.10-embedded-jwk', { jwk: attacker.publicJwk, kid: attacker.kid });
    await refuse('rfc8725-3.10-jku', { jku: own.canaryUrl('jku'), kid: attacker.kid });
    await refuse('rfc8725-3.10-x5u', { x5u: own.canaryUrl('x5u'), kid: attacker.kid });
    const fetched = own.hits('/canary/');
    probe.holds('rfc8725-3.10-no-fetch', fetched === 0, `addresses in a token's header were fetched ${fetched} times`);
    for (const forged of kidInjections(token))
      probe.refused('rfc8725-3.10-kid-injection', await exchange(probe, { subject_token: forged }));
    if (suiteSubject(probe.target)?.name !== 'default')
      probe.skip('rfc7519-7.2-unknown-crit', 'the suite does not sign the default subject');
    else {
      const header = { crit: ['suite-unknown'], 'suite-unknown': true };
      const critical = await exchange(probe, {}, { tweak: { header } });
      probe.refused('rfc7519-7.2-unknown-crit', critical);
    }
  },
};

const confusion: Scenario = {
  id: 'security/token-type',
  profile: 'security',
  title: 'A token of one kind is worthless as another',
  requests: 14,
  async run(probe) {
    const ids = [
      'rfc7519-3-compact-only',
      'rfc8725-3.12-declared-type',
      'rfc8725-3.12-subject-as-assertion',
      'rfc8725-3.12-assertion-as-subject',
    ];
    const token = await forgeable(probe, ids);
    if (token === undefined) return;
    probe.refused('rfc7519-3-compact-only', await exchange(probe, { subject_token: asJsonSerialization(token) }));
    const { type } = await probe.token('default');
    const other = type === ACCESS_TOKEN_TYPE ? tokenTypeUrn('id_token') : ACCESS_TOKEN_TYPE;
    if (type === tokenTypeUrn('jwt'))
      probe.skip('rfc8725-3.12-declared-type', 'the default subject is declared as any JWT');
    else probe.refused('rfc8725-3.12-declared-type', await exchange(probe, { subject_token_type: other }));
    const asAssertion = { ...assertionParameters(token), client_id: probe.target.config.clients.requester?.client_id };
    const confused = await exchange(probe, asAssertion, {}, { client: 'nobody' });
    probe.refused('rfc8725-3.12-subject-as-assertion', confused);
    const keyed = keyedClient(probe.target);
    if (keyed === undefined) {
      probe.skip('rfc8725-3.12-assertion-as-subject', 'the configuration has no client with private_key_jwt');
      return;
    }
    for (const kind of ['jwt', 'access_token', 'id_token']) {
      const assertion = await clientAssertion(keyed.client, keyed.how, probe.target);
      const changes = { subject_token: assertion, subject_token_type: tokenTypeUrn(kind) };
      probe.refused('rfc8725-3.12-assertion-as-subject', await exchange(probe, changes));
    }
  },
};

const timeEdges: Scenario = {
  id: 'security/time-edges',
  profile: 'security',
  title: 'Subject tokens at the edges of time',
  requests: 8,
  lacks: (target) =>
    target.config.suite?.trusted === false || suiteSubject(target)?.name !== 'default'
      ? 'the suite does not sign the default subject'
      : undefined,
  async run(probe) {
    await honestExchange(probe);
    const withExp = (exp: number) => exchange(probe, {}, { tweak: { claims: { exp } } });
    for (const exp of [0, -1, -1e15]) probe.refused('rfc7519-4.1.4-zero-and-negative', await withExp(exp));
    const century = await withExp(nowSeconds() + 100 * 365 * DAY_SECONDS);
    const id = 'field-bounded-lifetime';
    if (!isTokenAnswer(century)) {
      probe.byPolicy(id, `refuses it: ${answerInWords(century)}`, century);
      return;
    }
    const exp = (await probe.claims(century))?.['exp'];
    const lifetime = century.json?.['expires_in'] ?? (typeof exp === 'number' ? exp - nowSeconds() : undefined);
    if (typeof lifetime !== 'number') probe.blocked(id, 'neither the answer nor the token says how long it lives');
    else probe.holds(id, lifetime <= DAY_SECONDS, `lives ${lifetime} s`, century);
  },
};

const replay: Scenario = {
  id: 'security/replay',
  profile: 'security',
  title: 'What was seen before: subject tokens, and assertions that served a refused request',
  requests: 8,
  async run(probe) {
    const form = await exchangeForm(probe);
    probe.accepted(await probe.ask({ form }), 'the first exchange of a subject token');
    const again = await probe.ask({ form });
    probe.holds('field-subject-token-again', isTokenAnswer(again), answerInWords(again), again);
    const id = 'field-assertion-replay-elsewhere';
    const keyed = keyedClient(probe.target);
    if (keyed === undefined || !probe.target.config.expectations.assertions_are_single_use) {
      probe.skip(id, 'the target does not claim that assertions are single use');
      return;
    }
    const assertion = assertionParameters(await clientAssertion(keyed.client, keyed.how, probe.target));
    const bare = { client: 'nobody' } as const;
    const failed = await exchange(probe, { ...assertion, subject_token: 'this-is-no-token' }, {}, bare);
    probe.controlled(!isTokenAnswer(failed), 'an exchange of garbage', failed);
    const fresh = assertionParameters(await clientAssertion(keyed.client, keyed.how, probe.target));
    probe.accepted(await exchange(probe, fresh, {}, bare), 'a fresh assertion');
    probe.refused(id, await exchange(probe, assertion, {}, bare));
  },
};

const pollution: Scenario = {
  id: 'security/parameters',
  profile: 'security',
  title: 'Parameters twice, in the query, or blank',
  requests: 18,
  async run(probe) {
    await honestExchange(probe);
    const garbage = 'this-is-no-token';
    for (const order of [(honest: string) => [honest, garbage], (honest: string) => [garbage, honest]]) {
      const { token } = await probe.token('default');
      probe.refused('field-two-subject-tokens', await exchange(probe, { subject_token: order(token) }));
    }
    const form = await exchangeForm(probe);
    const grant = form.filter(([name]) => name === 'grant_type');
    probe.refused('field-two-grant-types', await probe.ask({ form: [...form, ['grant_type', 'client_credentials']] }));
    probe.refused('field-two-grant-types', await probe.ask({ form: [['grant_type', 'client_credentials'], ...form] }));
    const inQuery = await exchangeForm(probe);
    probe.refused(
      'field-nothing-from-the-query',
      await probe.ask({ form: grant, query: inQuery.filter(([name]) => name !== 'grant_type') }),
    );
    for (const blank of ['', ' ', '\t'])
      probe.refused('field-blank-subject-token', await exchange(probe, { subject_token: blank }));
    for (const value of ['null', 'undefined'])
      probe.refused('field-blank-subject-token', await exchange(probe, { subject_token: value }));
  },
};

const widening: Scenario = {
  id: 'security/widening',
  profile: 'security',
  title: 'Tokens of others, and tokens that should not grow',
  requests: 12,
  async run(probe) {
    const first = await honestExchange(probe);
    const issued = textMember(first, 'access_token');
    const asSubject = { subject_token: issued, subject_token_type: ACCESS_TOKEN_TYPE };
    await judgeForeignSubject(probe, asSubject);
    const [narrow, wide] = mainResource(probe.target).scopes;
    if (narrow === undefined || wide === undefined) {
      probe.skip('field-rescope-not-wider', 'the configuration names fewer than two scopes of the first resource');
      return;
    }
    probe.accepted(await exchange(probe, { scope: wide }), `an exchange for the scope ${wide}`);
    const narrowed = probe.accepted(await exchange(probe, { scope: narrow }), `an exchange for the scope ${narrow}`);
    const again = { ...asSubject, subject_token: textMember(narrowed, 'access_token'), scope: wide };
    const answer = await exchange(probe, again);
    if (!isTokenAnswer(answer)) {
      probe.refused('field-rescope-not-wider', answer);
      return;
    }
    const claims = await probe.claims(answer);
    const held = scopeValues(claims?.['scope'] ?? answer.json?.['scope'] ?? wide);
    probe.holds(
      'field-rescope-not-wider',
      !held.includes(wide),
      `a token for "${narrow}" became one for "${held.join(' ')}"`,
      answer,
      narrowed,
    );
  },
};

/** A token that is neither about, nor for, nor issued to the client that presents it. */
async function judgeForeignSubject(probe: Probe, asSubject: Record<string, string>): Promise<void> {
  const id = 'field-foreign-subject-token';
  if (probe.target.config.clients.other === undefined) {
    probe.skip(id, 'the configuration has no client `other`');
    return;
  }
  probe.accepted(await exchange(probe, {}, {}, { client: 'other' }), 'an honest exchange by the other client');
  const answer = await exchange(probe, asSubject, {}, { client: 'other' });
  probe.refused(id, answer);
}

const robustness: Scenario = {
  id: 'security/robustness',
  profile: 'security',
  title: 'Garbage is refused politely, and nothing of it comes back',
  requests: 20,
  async run(probe) {
    await honestExchange(probe);
    const marker = 'SuiteSecretMarker0123456789';
    const token = `${marker}.${'A'.repeat(40)}.${'B'.repeat(40)}`;
    const answers: Answer[] = [];
    const garbage = async (changes: Record<string, string>) => answers.push(await exchange(probe, changes));
    await garbage({ subject_token: token });
    await garbage({ scope: `<script>${marker}</script>` });
    await garbage({ subject_token_type: marker });
    await garbage({ grant_type: `${marker}"\r\nX-Suite-Injected: 1` });
    await garbage({ resource: `https://${marker}.example/\r\nX-Suite-Injected: 1` });
    await garbage({ client_id: `${marker}\r\nX-Suite-Injected: 1` });
    await garbage({ subject_token: '\u0000\ufffe' });
    await garbage({ subject_token: `eyJ${'A'.repeat(20_000)}.e30.c2ln` });
    await garbage({ subject_token: deepJwt() });
    const raw = (body: string) => probe.ask({ form: [], body });
    for (const body of ['', '%', 'grant_type=%ff%fe&subject_token=%00', 'a'.repeat(10_000)])
      answers.push(await raw(body));
    const failures = answers.filter(({ status }) => status === 0 || status >= 500);
    const seen =
      failures.length === 0 ? `${answers.length} times garbage, no failure` : failures.map(answerInWords).join(', ');
    probe.holds(
      'field-garbage-is-refused',
      failures.length === 0,
      seen,
      ...(failures.length === 0 ? answers.slice(0, 1) : failures),
    );
    // What was sent may stand in a JSON error, where it is harmless, unless it is a token.
    const [tokenAnswer] = answers;
    const echoing = answers.filter(
      (one) =>
        one.body.includes(marker) && (one === tokenAnswer || !/\bjson\b/.test(one.headers['content-type'] ?? '')),
    );
    probe.holds(
      'field-no-echo',
      echoing.length === 0,
      echoing.length === 0 ? 'no answer repeats what was sent' : 'an answer repeats what was sent',
      ...echoing,
    );
    const injected = answers.filter(({ headers: got }) => 'x-suite-injected' in got);
    probe.holds(
      'field-no-header-injection',
      injected.length === 0,
      `${injected.length} answers with an injected header`,
      ...injected,
    );
    await judgeSecretEcho(probe);
  },
};

function deepJwt(): string {
  const deep = `{"a":${'['.repeat(3000)}${']'.repeat(3000)}}`;
  const encode = (text: string) => Buffer.from(text).toString('base64url');
  return `${encode('{"alg":"RS256"}')}.${encode(deep)}.c2ln`;
}

/** A wrong client secret must not come back in the refusal either. */
async function judgeSecretEcho(probe: Probe): Promise<void> {
  const client = probe.target.config.clients.requester;
  const method = client?.auth.find((auth) => auth.method !== 'private_key_jwt')?.method;
  if (client === undefined || method === undefined) return;
  const secret = 'SuiteWrongSecret9876543210';
  const form: Form = await exchangeForm(probe);
  const answer = await probe.ask({ form, client: { ...client, auth: [{ method, secret }] } });
  probe.holds('field-no-echo', !answer.body.includes(secret), 'a refused secret', answer);
}

export const securityScenarios: readonly Scenario[] = [
  algorithms,
  headers,
  confusion,
  timeEdges,
  replay,
  pollution,
  widening,
  robustness,
];
