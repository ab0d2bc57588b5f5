/**
 * Profile `external-subjects`: tokens of an issuer that the target was told to trust, here the suite's own. Every fault
 * that a validator must notice, one at a time (RFC 7519 §4.1, RFC 8725 §3).
 */
import type { Tweak } from '../issuer/own-issuer.ts';
import { mintToken } from '../issuer/own-issuer.ts';
import type { Target } from '../target/target.ts';
import type { TokenSource } from '../target/config.ts';
import { answerInWords } from '../target/target.ts';
import { decodeJwt, nowSeconds, tampered } from '../wire/jwt.ts';
import { exchange, hasClaims, honestExchange, textMember } from './asking.ts';
import { isTokenAnswer } from './scenario.ts';
import type { Probe, Scenario } from './scenario.ts';

export type SuiteSource = Extract<TokenSource, { source: 'suite' }>;

/** The subject that the suite issues itself: `default`, else the first such. */
export function suiteSubject(target: Target): { name: string; source: SuiteSource } | undefined {
  const named = Object.entries(target.config.subjects);
  const ordered = [...named.filter(([name]) => name === 'default'), ...named.filter(([name]) => name !== 'default')];
  for (const [name, source] of ordered) if (source.source === 'suite') return { name, source };
  return undefined;
}

const needsIssuer = (target: Target) =>
  target.own === undefined || target.config.suite?.trusted === false || suiteSubject(target) === undefined
    ? 'the target was not told to trust the suite’s issuer'
    : undefined;

async function exchangeTweaked(probe: Probe, tweak: Tweak) {
  const subject = suiteSubject(probe.target);
  return exchange(probe, {}, { subject: subject?.name ?? 'default', tweak });
}

async function honestExternal(probe: Probe) {
  const subject = suiteSubject(probe.target)?.name ?? 'default';
  return honestExchange(probe, { subject });
}

const accepted: Scenario = {
  id: 'external-subjects/accepted',
  profile: 'external-subjects',
  title: 'A good token of the trusted issuer is exchanged, again and again, and never outlived',
  requests: 8,
  lacks: needsIssuer,
  async run(probe) {
    const answer = await honestExternal(probe);
    probe.holds('rfc8693-1.1-external-subject', true, 'granted', answer);
    const exp = nowSeconds() + 45;
    const short = await exchangeTweaked(probe, { claims: { exp } });
    const id = 'field-never-outlives-subject';
    if (!isTokenAnswer(short)) {
      probe.byPolicy(id, `refuses a token that lives 45 s: ${answerInWords(short)}`, short);
      return;
    }
    const claims = decodeJwt(textMember(short, 'access_token'))?.claims;
    const lifetime = short.json?.['expires_in'];
    const until =
      typeof claims?.['exp'] === 'number'
        ? claims['exp']
        : nowSeconds() + (typeof lifetime === 'number' ? lifetime : 0);
    probe.holds(id, until <= exp + 2, `issued token expires ${until - exp} s after its subject token`, short);
  },
};

const issuers: Scenario = {
  id: 'external-subjects/issuer',
  profile: 'external-subjects',
  title: 'Tokens of strangers, and of strangers who say that they are the trusted issuer',
  requests: 10,
  lacks: needsIssuer,
  async run(probe) {
    const { own } = probe.target;
    const source = suiteSubject(probe.target)?.source;
    if (own === undefined || source === undefined) return;
    await honestExternal(probe);
    const before = own.hits('/untrusted');
    const stranger = mintToken(own.untrusted, source);
    probe.refused('rfc8725-3.8-issuer-is-trusted', await exchange(probe, { subject_token: stranger }));
    const fetched = own.hits('/untrusted') - before;
    probe.holds(
      'field-no-fetch-for-strangers',
      fetched === 0,
      `fetched ${fetched} times from an issuer that is not trusted`,
    );
    const disguised = await exchangeTweaked(probe, { key: own.untrusted.key, header: { kid: own.untrusted.key.kid } });
    probe.refused('rfc8725-3.8-keys-belong-to-issuer', disguised);
    const none = await exchangeTweaked(probe, { claims: { iss: undefined } });
    probe.refused('rfc8725-3.8-issuer-is-trusted', none);
  },
};

const signatures: Scenario = {
  id: 'external-subjects/signature',
  profile: 'external-subjects',
  title: 'Signatures that do not verify',
  requests: 8,
  lacks: needsIssuer,
  async run(probe) {
    const { own } = probe.target;
    const subject = suiteSubject(probe.target);
    if (own === undefined || subject === undefined) return;
    await honestExternal(probe);
    probe.refused('rfc8725-3.3-wrong-key', await exchangeTweaked(probe, { key: own.attackerKey }));
    const honest = (await probe.token(subject.name)).token;
    const changed = tampered(honest, { ...decodeJwt(honest)?.claims, sub: 'suite-somebody-else' });
    probe.refused('rfc8725-3.3-tampered', await exchange(probe, { subject_token: changed }));
  },
};

const times: Scenario = {
  id: 'external-subjects/times',
  profile: 'external-subjects',
  title: 'Tokens of another time',
  requests: 14,
  lacks: needsIssuer,
  async run(probe) {
    await honestExternal(probe);
    const now = nowSeconds();
    const expired = { claims: { iat: now - 7200, exp: now - 3600 } };
    probe.refused('rfc7519-4.1.4-expired', await exchangeTweaked(probe, expired));
    probe.refused('rfc7519-4.1.5-not-before', await exchangeTweaked(probe, { claims: { nbf: now + 3600 } }));
    for (const exp of [String(now + 300), [now + 300], true])
      probe.refused('rfc7519-2-numeric-date', await exchangeTweaked(probe, { claims: { exp } }));
    probe.refused('field-exp-required', await exchangeTweaked(probe, { claims: { exp: undefined } }));
    probe.refused(
      'field-iat-in-future',
      await exchangeTweaked(probe, { claims: { iat: now + 3600, exp: now + 7200 } }),
    );
    const barely = await exchangeTweaked(probe, { claims: { iat: now - 120, exp: now - 5 } });
    const id = 'rfc7519-4.1.4-small-leeway';
    if (isTokenAnswer(barely)) probe.byPolicy(id, 'a leeway of at least five seconds for exp', barely);
    else probe.refused(id, barely);
  },
};

const claims: Scenario = {
  id: 'external-subjects/claims',
  profile: 'external-subjects',
  title: 'Tokens for somebody else, or about nobody',
  requests: 14,
  lacks: needsIssuer,
  async run(probe) {
    const honest = await honestExternal(probe);
    const foreign = { claims: { aud: 'https://some-other-party.example' } };
    probe.refused('rfc7519-4.1.3-audience', await exchangeTweaked(probe, foreign));
    probe.refused('rfc7519-4.1.3-audience', await exchangeTweaked(probe, { claims: { aud: [foreign.claims.aud] } }));
    probe.refused('rfc8725-3.9-audience-present', await exchangeTweaked(probe, { claims: { aud: undefined } }));
    for (const sub of [undefined, '', { name: 'alice' }, ['alice'], 7])
      probe.refused('rfc8725-3.8-subject', await exchangeTweaked(probe, { claims: { sub } }));
    const issuedClaims = await probe.claims(honest);
    const expected = probe.target.config.expectations.subject;
    const id = 'rfc8693-1.1-external-subject-named';
    if (issuedClaims === undefined || expected === undefined)
      probe.skip(id, 'the token is opaque, or the configuration does not say what it should hold');
    else probe.holds(id, hasClaims(issuedClaims, expected), `sub is ${JSON.stringify(issuedClaims['sub'])}`, honest);
  },
};

export const externalSubjectScenarios: readonly Scenario[] = [accepted, issuers, signatures, times, claims];
