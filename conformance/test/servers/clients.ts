/**
 * How the little server authenticates clients: one secret in a header or in the body, or one assertion.
 */
import { createPublicKey, verify } from 'node:crypto';
import type { JsonWebKey as NodeJwk } from 'node:crypto';
import { publicKeyPem } from '../../issuer/attacks.ts';
import { ASSERTION_TYPE } from '../../target/authenticate.ts';
import { audiences, decodeJwt, hmacJwt, nowSeconds } from '../../wire/jwt.ts';
import type { DecodedJwt } from '../../wire/jwt.ts';
import { checkExternal } from './tokens.ts';
import { broken, Refused } from './world.ts';
import type { Incoming, Party, World } from './world.ts';

export async function authenticateClient(world: World, request: Incoming): Promise<Party> {
  const { form } = request;
  const header = request.headers['authorization'];
  const assertion = form.get('client_assertion');
  const secret =
    form.get('client_secret') ?? (broken(world, 'query-credentials') ? request.query.get('client_secret') : null);
  const used = [header !== undefined, secret !== null, assertion !== null];
  const tolerated =
    (broken(world, 'two-methods') && assertion === null) ||
    (broken(world, 'secret-beside-assertion') && header !== undefined && assertion !== null);
  if (used.filter(Boolean).length > 1 && !tolerated) throw new Refused('invalid_request');
  if (header !== undefined) return basic(world, header);
  const id = form.get('client_id') ?? (broken(world, 'query-credentials') ? request.query.get('client_id') : null);
  if (assertion !== null) return asserted(world, form, assertion);
  if (secret !== null && broken(world, 'post-broken')) throw new Refused('invalid_client', 401);
  const party = world.parties.find((one) => one.id === id);
  if (party === undefined) throw new Refused('invalid_client', 401);
  if (secret === null && broken(world, 'id-is-enough')) return party;
  if (party.secret === undefined || party.secret !== secret) throw new Refused('invalid_client', 401);
  return party;
}

function basic(world: World, header: string): Party {
  const decode = (part: string | undefined) => new URLSearchParams(`=${part ?? ''}`).get('') ?? '';
  const [id, secret] = Buffer.from(header.replace(/^basic /i, ''), 'base64')
    .toString('utf8')
    .split(':')
    .map(decode);
  const party = world.parties.find((one) => one.id === id);
  const challenge = broken(world, 'no-challenge') ? undefined : { 'www-authenticate': 'Basic realm="small"' };
  if (party === undefined && broken(world, 'unknown-client-code')) throw new Refused('invalid_request', 401, challenge);
  const right = party?.secret !== undefined && (party.secret === secret || broken(world, 'any-secret'));
  if (!right) {
    const told = broken(world, 'secret-echo') ? secret : undefined;
    throw new Refused('invalid_client', 401, challenge, told);
  }
  return party;
}

async function asserted(world: World, form: URLSearchParams, assertion: string): Promise<Party> {
  const failed = () => new Refused(broken(world, 'assertion-bad-code') ? 'invalid_request' : 'invalid_client', 401);
  const type = form.get('client_assertion_type');
  if (
    type === null
      ? !broken(world, 'assertion-type-optional')
      : type !== ASSERTION_TYPE && !broken(world, 'assertion-any-type')
  )
    throw failed();
  const decoded = decodeJwt(assertion);
  if (decoded === undefined) throw failed();
  if (broken(world, 'subject-as-assertion') && decoded.claims['iss'] === world.trustedIssuer) {
    await checkExternal(world, assertion);
    const named = world.parties.find((one) => one.id === form.get('client_id'));
    if (named !== undefined) return named;
  }
  const party = partyOf(world, decoded);
  if (party === undefined || !assertionClaimsFit(world, decoded) || !assertionSigned(world, party, assertion, decoded))
    throw failed();
  const id = form.get('client_id');
  if (id !== null && id !== party.id && !broken(world, 'assertion-any-client-id')) throw failed();
  const jti = String(decoded.claims['jti']);
  if (world.seenAssertions.has(jti) && !broken(world, 'assertion-replay')) throw failed();
  const doomed = form.get('subject_token') === 'this-is-no-token';
  if (!(doomed && broken(world, 'assertion-replay-after-refusal'))) world.seenAssertions.add(jti);
  return party;
}

/** The client that an assertion names; with a fault, one whose key signed it, whoever it names. */
function partyOf(world: World, { header, claims }: DecodedJwt): Party | undefined {
  const { iss, sub } = claims;
  const keyed = world.parties.find(({ key }) => key?.kid === header['kid']);
  if (iss === undefined && broken(world, 'assertion-iss-optional')) return world.parties.find(({ id }) => id === sub);
  if (sub === undefined && broken(world, 'assertion-sub-optional')) return world.parties.find(({ id }) => id === iss);
  if (broken(world, 'assertion-for-others') && typeof sub === 'string' && typeof iss === 'string') return keyed;
  return iss === sub ? world.parties.find(({ id, key }) => id === sub && key !== undefined) : undefined;
}

function assertionClaimsFit(world: World, { claims }: DecodedJwt): boolean {
  const now = nowSeconds();
  const { exp, nbf } = claims;
  if (exp === undefined && !broken(world, 'assertion-exp-optional')) return false;
  if (typeof exp === 'number' && exp <= now && !broken(world, 'assertion-expired')) return false;
  if (typeof nbf === 'number' && nbf > now && !broken(world, 'assertion-nbf-ignored')) return false;
  const aud = audiences(claims);
  if (aud.length === 0) return broken(world, 'assertion-aud-optional');
  if (aud.length > 1) return broken(world, 'assertion-two-audiences') && aud.includes(world.issuer);
  const accepted = [world.issuer];
  if (broken(world, 'assertion-token-endpoint-only')) return aud[0] === `${world.issuer}/token`;
  if (broken(world, 'assertion-token-endpoint')) accepted.push(`${world.issuer}/token`);
  if (broken(world, 'assertion-slash')) accepted.push(`${world.issuer}/`);
  if (broken(world, 'assertion-any-aud')) return !aud[0]?.startsWith(world.issuer) || accepted.includes(aud[0]);
  return accepted.includes(aud[0] ?? '');
}

function assertionSigned(world: World, party: Party, assertion: string, { header, claims }: DecodedJwt): boolean {
  if (broken(world, 'assertion-unsigned')) return true;
  const jwk = party.key?.publicJwk;
  if (jwk === undefined) return false;
  if (header['alg'] === 'none') return broken(world, 'assertion-none');
  if (header['alg'] === 'HS256')
    return broken(world, 'assertion-hmac') && hmacJwt(header, claims, publicKeyPem(jwk)) === assertion;
  const [head = '', payload = '', signature = ''] = assertion.split('.');
  const key = createPublicKey({ key: jwk as NodeJwk, format: 'jwk' });
  return verify(
    'sha256',
    Buffer.from(`${head}.${payload}`),
    { key, dsaEncoding: 'ieee-p1363' },
    Buffer.from(signature, 'base64url'),
  );
}
