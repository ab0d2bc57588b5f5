/**
 * A JWT as a person reads it: header and claims line by line, times in words, and who acts for whom. It says nothing about
 * whether any of it is true.
 */
import { readChain } from '../tokens/chain.ts';
import type { UnverifiedJwt } from '../tokens/compact.ts';
import { isFault } from '../tokens/fault.ts';
import type { Fault, FaultCode } from '../tokens/fault.ts';
import { isJsonObject } from '../tokens/strict-json.ts';
import type { JsonObject } from '../tokens/strict-json.ts';

const TIMES = new Set(['iat', 'nbf', 'exp', 'auth_time', 'updated_at']);

/** The lines of a token. */
export function describeToken({ header, unverifiedClaims }: UnverifiedJwt, nowSeconds: number): string[] {
  return [
    'header',
    ...fieldLines(header, nowSeconds),
    'claims',
    ...fieldLines(unverifiedClaims, nowSeconds),
    'in words',
    ...inWords(unverifiedClaims, nowSeconds).map((line) => `  ${line}`),
  ];
}

function fieldLines(fields: JsonObject, nowSeconds: number): string[] {
  const names = Object.keys(fields);
  const width = Math.max(0, ...names.map((name) => name.length));
  return names.map((name) => {
    const value = fields[name];
    const time = TIMES.has(name) && typeof value === 'number' ? `  ${describeTime(value, nowSeconds)}` : '';
    const shown = typeof value === 'string' ? value : JSON.stringify(value);
    return `  ${name.padEnd(width)}  ${shown}${time}`;
  });
}

/** Who, for whom, where, what, how long: each a sentence, as far as the claims say it. */
export function inWords(claims: JsonObject, nowSeconds: number): string[] {
  const { sub, iss, aud, scope, exp, iat, client_id: clientId } = claims;
  const own = typeof iss === 'string' ? iss : '';
  const chain = readChain(claims.act, own);
  const about = `It is about ${nameOf(sub)}${subjectOf(claims)}, says ${nameOf(iss)}.`;
  const audience = (Array.isArray(aud) ? aud : [aud]).map(nameOf).join(' and ');
  return [
    about,
    ...(isFault(chain)
      ? ['Its act claim cannot be read, so nobody can tell who acts.']
      : actorSentences(chain, sub, own)),
    ...(clientId === undefined ? [] : [`It was issued to ${nameOf(clientId)}.`]),
    ...(aud === undefined ? [] : [`It is meant for ${audience}, and for nobody else.`]),
    ...(typeof scope === 'string'
      ? [`It may be used for: ${scope === '' ? 'nothing' : scope.split(' ').join(', ')}.`]
      : []),
    ...(typeof exp === 'number' ? [lifeSentence(exp, iat, nowSeconds)] : ['It does not say when it expires.']),
  ];
}

function actorSentences(chain: readonly { sub: string; issuer: string }[], subject: unknown, own: string): string[] {
  const [current, ...earlier] = chain.map(({ sub, issuer }) => (issuer === own ? sub : `${sub} of ${issuer}`));
  if (current === undefined) return ['Nobody acts for it: who presents it is it.'];
  const before =
    earlier.length === 0
      ? ''
      : ` Before that, the latest first: ${earlier.join(', then ')}; they count for nothing now.`;
  return [`${current} acts for ${nameOf(subject)}.${before}`];
}

/** RFC 9493 §3.2.3: the pair that our `sub` stands for. */
function subjectOf({ sub_id: subId, iss, sub }: JsonObject): string {
  if (!isJsonObject(subId) || subId.format !== 'iss_sub' || (subId.iss === iss && subId.sub === sub)) return '';
  return ` (${nameOf(subId.sub)} of ${nameOf(subId.iss)})`;
}

function lifeSentence(exp: number, iat: unknown, nowSeconds: number): string {
  const whole = typeof iat === 'number' ? `; it was issued for ${duration(exp - iat)}` : '';
  return nowSeconds >= exp
    ? `It expired ${duration(nowSeconds - exp)} ago${whole}.`
    : `It expires in ${duration(exp - nowSeconds)}${whole}.`;
}

function nameOf(value: unknown): string {
  if (value === undefined) return '(nobody named)';
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** NumericDate as a date, and how far from now. */
export function describeTime(seconds: number, nowSeconds: number): string {
  const at = new Date(seconds * 1000);
  if (Number.isNaN(at.getTime())) return '(no time that can be)';
  const apart = seconds - nowSeconds;
  const words = apart > 0 ? `in ${duration(apart)}` : apart === 0 ? 'now' : `${duration(-apart)} ago`;
  return `${at.toISOString().replace('.000Z', 'Z')}, ${words}`;
}

const UNITS: readonly (readonly [name: string, seconds: number])[] = [
  ['day', 86_400],
  ['hour', 3600],
  ['minute', 60],
  ['second', 1],
];

/** A span in its two largest units. */
export function duration(seconds: number): string {
  let rest = Math.abs(Math.floor(seconds));
  const parts: string[] = [];
  for (const [name, size] of UNITS) {
    const number = Math.floor(rest / size);
    rest -= number * size;
    if (number > 0) parts.push(`${number} ${name}${number === 1 ? '' : 's'}`);
    else if (parts.length > 0) break;
    if (parts.length === 2) break;
  }
  return parts.length === 0 ? '0 seconds' : parts.join(' ');
}

const WORDS: { readonly [C in FaultCode]?: string } = {
  malformed: 'it is not a JWT in compact form (three base64url parts, JSON in the first two, no key twice)',
  too_large: 'it is larger than any token that is read here',
  critical_header: 'its header has an extension that must be understood, and is not here (crit or b64)',
  algorithm_not_allowed: 'its algorithm is not the one of the key, or none that may be used',
  key_unknown: 'its issuer publishes no key of its kid',
  signature_invalid: 'its signature does not match',
  expired: 'it has expired',
  not_yet_valid: 'it is not valid yet (nbf)',
  issued_in_future: 'it was issued in the future (iat): one of two clocks is wrong',
  claim_missing: 'a claim is missing',
  claim_invalid: 'a claim has a value that it cannot have',
  issuer_mismatch: 'it is of another issuer',
  audience_mismatch: 'it is meant for another audience',
};

/** A fault in words, with the claim that is at fault. */
export function describeFault({ code, claim }: Fault): string {
  return `${WORDS[code] ?? code}${claim === undefined ? '' : ` (${claim})`}`;
}
