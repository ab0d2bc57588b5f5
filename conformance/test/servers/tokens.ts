/**
 * Tokens of the little server: how it checks a JWT (by hand, so that every check can be left out) and how it mints one.
 */
import { createHmac, createPublicKey, constants, randomUUID, verify } from 'node:crypto';
import type { JsonWebKey as NodeJwk } from 'node:crypto';
import type { JWK } from 'jose';
import { publicKeyPem } from '../../issuer/attacks.ts';
import { isRecord } from '../../wire/http.ts';
import { audiences, decodeJwt, nowSeconds, signJwt, unsignedJwt } from '../../wire/jwt.ts';
import type { DecodedJwt, Json } from '../../wire/jwt.ts';
import { broken, Refused } from './world.ts';
import type { World } from './world.ts';

const invalid = () => new Refused('invalid_request');

/** Fetches a key set; an address that does not answer has none. */
export async function fetchKeys(url: string): Promise<JWK[]> {
  try {
    const document: unknown = await (await fetch(url)).json();
    const keys = isRecord(document) ? document['keys'] : undefined;
    return Array.isArray(keys) ? (keys as JWK[]) : [];
  } catch {
    return [];
  }
}

async function keysOf(world: World, issuer: string): Promise<JWK[]> {
  const kept = world.keys.get(issuer) ?? (await fetchKeys(`${issuer}/jwks`));
  world.keys.set(issuer, kept);
  return kept;
}

function verifies(token: string, jwk: JWK, alg: string): boolean {
  const [header = '', payload = '', signature = ''] = token.split('.');
  const input = Buffer.from(`${header}.${payload}`);
  const key = createPublicKey({ key: jwk as NodeJwk, format: 'jwk' });
  const bytes = Buffer.from(signature, 'base64url');
  if (alg === 'RS256') return verify('sha256', input, key, bytes);
  if (alg === 'ES256') return verify('sha256', input, { key, dsaEncoding: 'ieee-p1363' }, bytes);
  if (alg === 'PS256')
    return verify('sha256', input, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }, bytes);
  return false;
}

function hmacVerifies(token: string, secrets: readonly string[]): boolean {
  const [header = '', payload = '', signature = ''] = token.split('.');
  return secrets.some(
    (secret) => createHmac('sha256', secret).update(`${header}.${payload}`).digest('base64url') === signature,
  );
}

/** A JWT of the trusted issuer, or a refusal. */
export async function checkExternal(world: World, token: string): Promise<Json> {
  const compact = broken(world, 'json-serialization') ? fromJson(token) : token;
  const decoded = decodeJwt(compact);
  if (decoded === undefined) throw invalid();
  await checkIssuer(world, compact, decoded);
  checkClaims(world, decoded.claims);
  return decoded.claims;
}

function fromJson(token: string): string {
  try {
    const value: unknown = JSON.parse(token);
    return isRecord(value)
      ? `${String(value['protected'])}.${String(value['payload'])}.${String(value['signature'])}`
      : token;
  } catch {
    return token;
  }
}

async function checkIssuer(world: World, token: string, { header, claims, signature }: DecodedJwt): Promise<void> {
  const iss = claims['iss'];
  let issuer = world.trustedIssuer;
  if (iss !== world.trustedIssuer) {
    if (typeof iss === 'string' && iss.startsWith('http') && broken(world, 'fetch-for-strangers'))
      await fetchKeys(`${iss}/jwks`);
    if (typeof iss !== 'string' || !broken(world, 'strangers-trusted')) throw invalid();
    issuer = iss;
  }
  if (broken(world, 'no-signature-check')) return;
  if (header['crit'] !== undefined && !broken(world, 'crit-ignored')) throw invalid();
  const keys = [...(await keysOf(world, issuer))];
  if (broken(world, 'keys-pooled')) keys.push(...(await fetchKeys(`${issuer.replace('/trusted', '/untrusted')}/jwks`)));
  const alg = String(header['alg']);
  if (/^none$/i.test(alg) && broken(world, 'alg-none')) return;
  if (signature === '' && !/^none$/i.test(alg) && broken(world, 'signature-cut')) return;
  if (alg === 'HS256') {
    const secrets = broken(world, 'hmac-public-key')
      ? keys.flatMap((key) => [publicKeyPem(key), publicKeyPem(key).trim()])
      : [];
    if (broken(world, 'kid-injection')) secrets.push('', 'key');
    if (hmacVerifies(token, secrets)) return;
    throw invalid();
  }
  const candidates = keys.filter(
    ({ kid, alg: own }) => kid === header['kid'] && (own === alg || broken(world, 'any-algorithm')),
  );
  candidates.push(...(await keysOfHeader(world, header)));
  if (!candidates.some((key) => verifies(token, key, alg))) throw invalid();
}

async function keysOfHeader(world: World, header: Json): Promise<JWK[]> {
  const { jwk, jku, x5u } = header;
  if (isRecord(jwk) && broken(world, 'embedded-jwk')) return [jwk];
  if (typeof jku === 'string' && broken(world, 'jku-trusted')) return fetchKeys(jku);
  if (typeof x5u === 'string' && broken(world, 'x5u-trusted')) return fetchKeys(x5u);
  if (typeof jku === 'string' && broken(world, 'jku-fetched')) await fetchKeys(jku);
  return [];
}

function checkClaims(world: World, claims: Json): void {
  const now = nowSeconds();
  const { exp, nbf, iat, sub } = claims;
  if (exp === undefined ? !broken(world, 'exp-optional') : typeof exp !== 'number' && !broken(world, 'exp-any-type'))
    throw invalid();
  const past = typeof exp === 'number' && exp <= now && !(exp <= 0 && broken(world, 'exp-zero-is-none'));
  if (past && !broken(world, 'expired-accepted')) throw invalid();
  if (typeof nbf === 'number' && nbf > now && !broken(world, 'nbf-ignored')) throw invalid();
  if (typeof iat === 'number' && iat > now + 60 && !broken(world, 'iat-ignored')) throw invalid();
  const aud = audiences(claims);
  if (
    aud.length === 0 ? !broken(world, 'aud-optional') : !aud.includes('small-server') && !broken(world, 'aud-ignored')
  )
    throw invalid();
  if ((typeof sub !== 'string' || sub === '') && !broken(world, 'sub-unchecked')) throw invalid();
}

/** A live token of our own, or a refusal. */
export function checkOwn(world: World, token: string): Json {
  const decoded = decodeJwt(token);
  if (decoded === undefined || decoded.claims['iss'] !== world.issuer || world.revoked.has(token)) throw invalid();
  const signed = [world.key, world.hiddenKey].some(({ publicJwk, alg }) => verifies(token, publicJwk, alg));
  const exp = decoded.claims['exp'];
  if (!signed || (typeof exp === 'number' && exp <= nowSeconds())) throw invalid();
  return decoded.claims;
}

const LIFETIME_SECONDS = 300;

export interface Minted {
  readonly token: string;
  readonly lifetimeSeconds: number;
}

export function mint(world: World, client: string, claims: Json, notAfter?: number): Minted {
  const now = nowSeconds();
  const capped = notAfter === undefined || broken(world, 'outlives-subject') ? Infinity : notAfter - now;
  const unbounded = broken(world, 'lifetime-unbounded') && capped !== Infinity && capped > 86_400;
  const lifetimeSeconds = unbounded ? capped : Math.min(LIFETIME_SECONDS, capped);
  const all: Json = {
    iss: world.issuer,
    iat: now,
    exp: now + lifetimeSeconds,
    jti: broken(world, 'at-same-jti') ? 'always' : randomUUID(),
    client_id: client,
    ...claims,
  };
  const left: [string, Parameters<typeof broken>[1]][] = [
    ['jti', 'at-no-jti'],
    ['client_id', 'at-no-client-id'],
    ['iat', 'at-no-iat'],
    ['exp', 'at-no-exp'],
    ['scope', 'at-no-scope'],
  ];
  for (const [name, fault] of left) if (broken(world, fault)) all[name] = undefined;
  const key = broken(world, 'at-hidden-key') ? world.hiddenKey : world.key;
  const typ = broken(world, 'at-no-typ') ? 'JWT' : 'at+jwt';
  const token = broken(world, 'at-unsigned')
    ? unsignedJwt({ alg: 'none', typ }, all)
    : signJwt({ alg: key.alg, kid: key.kid, typ }, all, key.privateKey);
  world.issuedTo.set(token, client);
  return { token, lifetimeSeconds };
}
