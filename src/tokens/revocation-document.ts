/**
 * The revocation document: what is revoked now, as a signed JWT with a type and a key of its own, for servers that verify
 * offline. Written here and read here, so that the two cannot come to differ. It names persons by digest only.
 */
import { CompactSign } from 'jose';
import { checkTimes } from './claims.ts';
import { normalizeTyp } from './compact.ts';
import { fault, isFault } from './fault.ts';
import type { Fault } from './fault.ts';
import type { SigningKey } from './access-token.ts';
import { predicateKey, REVOCATION_KINDS } from './revocation.ts';
import type { Predicate, RevocationKind } from './revocation.ts';
import { isJsonObject } from './strict-json.ts';
import type { VerifiedJwt } from './verify.ts';

/** `typ` of the document (RFC 8725 §3.11): it is no token, and no token is it. */
export const TYP_REVOCATIONS = 'cambist-revocations+jwt';

/** From `iat` to `exp`. A reader gives up on it earlier, by an age of its own choice. */
export const REVOCATIONS_LIFETIME_SECONDS = 60;

/** Longest document, as it is served: a reader refuses a longer one, so the publisher makes none. */
export const REVOCATION_DOCUMENT_MAX_BYTES = 2_097_152;

export interface RevocationDocument {
  readonly iat: number;
  /** `jti` of living tokens that were revoked, or exchanged from one that was. */
  readonly tokens: readonly string[];
  readonly predicates: readonly Predicate[];
}

/** Signs the document; `iss` is ours. */
export async function signRevocationDocument(
  issuer: string,
  document: RevocationDocument,
  key: SigningKey,
): Promise<string> {
  const claims = {
    iss: issuer,
    iat: document.iat,
    exp: document.iat + REVOCATIONS_LIFETIME_SECONDS,
    tokens: document.tokens,
    predicates: document.predicates.map(({ kind, value, issuedUntilSeconds }) => ({
      kind,
      ...(value === '' ? {} : { value }),
      ...(issuedUntilSeconds === null ? {} : { issued_until: issuedUntilSeconds }),
    })),
  };
  return new CompactSign(new TextEncoder().encode(JSON.stringify(claims)))
    .setProtectedHeader({ alg: key.alg, kid: key.kid, typ: TYP_REVOCATIONS })
    .sign(key.privateKey);
}

/** Reads a document whose signature was verified with the keys for such documents and no others; valid now. */
export function readRevocationDocument(
  { header, claims }: VerifiedJwt,
  expected: { readonly issuer: string; readonly nowSeconds: number },
): RevocationDocument | Fault {
  if (normalizeTyp(header.typ) !== TYP_REVOCATIONS) return fault('type_not_allowed', 'typ');
  if (claims.iss !== expected.issuer) return fault('issuer_mismatch', 'iss');
  const times = checkTimes(claims, {
    nowSeconds: expected.nowSeconds,
    maxLifetimeSeconds: REVOCATIONS_LIFETIME_SECONDS,
    requireIat: true,
  });
  if (isFault(times)) return times;
  if (times.iat === undefined) return fault('claim_missing', 'iat');
  const { tokens, predicates } = claims;
  if (!Array.isArray(tokens) || !tokens.every((jti) => typeof jti === 'string'))
    return fault('claim_invalid', 'tokens');
  if (!Array.isArray(predicates)) return fault('claim_invalid', 'predicates');
  const read = predicates.map(readPredicate);
  // One that cannot be read might be the one that matters: the whole document is refused.
  if (read.includes(undefined)) return fault('claim_invalid', 'predicates');
  return { iat: times.iat, tokens, predicates: read as readonly Predicate[] };
}

function readPredicate(given: unknown): Predicate | undefined {
  if (!isJsonObject(given)) return undefined;
  const { kind, value = '', issued_until: issuedUntil } = given;
  if (!REVOCATION_KINDS.some((known) => known === kind) || typeof value !== 'string') return undefined;
  // Only `all` names nothing.
  if ((value === '') !== (kind === 'all')) return undefined;
  if (issuedUntil !== undefined && !Number.isSafeInteger(issuedUntil)) return undefined;
  return { kind: kind as RevocationKind, value, issuedUntilSeconds: (issuedUntil as number | undefined) ?? null };
}

/** The document as it is asked by `findRevocation`. */
export function indexDocument(document: RevocationDocument): ReadonlyMap<string, Predicate> {
  const tokens = document.tokens.map((value): Predicate => ({ kind: 'token', value, issuedUntilSeconds: null }));
  return new Map([...tokens, ...document.predicates].map((predicate) => [predicateKey(predicate), predicate]));
}
