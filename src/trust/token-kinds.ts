/**
 * How the kinds of tokens of a trusted issuer are told apart (RFC 8725 §3.11–12, R10). Each kind has safe defaults; a
 * field that the configuration gives replaces its default.
 *
 * The default for ID tokens forbids what the access tokens of known products carry and their ID tokens do not, because
 * many of them give both the same `typ`: `scope` (Keycloak, Auth0, Cognito), `scp` (Entra, Okta), `cid` (Okta),
 * `appidacr`/`azpacr` (Entra, app-only tokens without `scp`), `gty` (Auth0 machine tokens), `events` (logout and
 * security event tokens), a `typ` claim other than `ID` (Keycloak) and a `token_use` other than `id` (Cognito).
 * `client_id` and `azp` are not forbidden: ZITADEL, Google and Keycloak write them into ID tokens.
 */
import type { ExternalTokenType, TokenTypeRule, TrustedIssuer } from '../objects/issuer.ts';
import { claimAt } from '../tokens/claims.ts';
import { normalizeTyp } from '../tokens/compact.ts';
import { fault, isFault } from '../tokens/fault.ts';
import type { Fault } from '../tokens/fault.ts';
import type { JsonObject } from '../tokens/strict-json.ts';

/** One kind of token of one trusted issuer, defaults filled in. */
export interface TokenKind {
  readonly name: ExternalTokenType;
  /** Normalised `typ` values; empty string = no `typ`. */
  readonly typ: readonly string[];
  readonly require: Readonly<Record<string, string | number | boolean>>;
  readonly forbid: readonly string[];
  /** Claims that, if they are there, must have this value. */
  readonly onlyAs: Readonly<Record<string, string>>;
  readonly requireIat: boolean;
}

type Defaults = Omit<TokenKind, 'name'>;

const DEFAULTS: Readonly<Record<ExternalTokenType, Defaults>> = {
  // RFC 9068 §4: resource servers MUST check the type, so that no ID token passes for an access token.
  access_token: { typ: ['at+jwt'], require: {}, forbid: [], onlyAs: {}, requireIat: false },
  id_token: {
    typ: ['', 'jwt'],
    require: {},
    forbid: ['scope', 'scp', 'cid', 'appidacr', 'azpacr', 'gty', 'events'],
    onlyAs: { typ: 'ID', token_use: 'id' },
    requireIat: true, // OpenID Connect Core §2
  },
  jwt: { typ: ['', 'jwt'], require: {}, forbid: ['events'], onlyAs: {}, requireIat: false },
};

/** What a request declared a token to be; `platform`: a workload's client assertion, which is of kind `jwt` only. */
export type DeclaredType = ExternalTokenType | 'platform';

/** The kinds that a token with this header may be, given what the request declared (`jwt`: any that is listed). */
export function candidateKinds(
  spec: TrustedIssuer,
  declared: DeclaredType,
  typ: string | undefined,
): readonly TokenKind[] {
  const names = namesOf(declared);
  const normalized = normalizeTyp(typ);
  return names.flatMap((name) => {
    const rule = spec.token_types[name];
    if (rule === undefined) return [];
    const kind = kindOf(name, rule, spec.issuer.startsWith('spiffe://'));
    return kind.typ.includes(normalized) ? [kind] : [];
  });
}

function namesOf(declared: DeclaredType): readonly ExternalTokenType[] {
  if (declared === 'platform') return ['jwt'];
  return declared === 'jwt' ? ['access_token', 'id_token', 'jwt'] : [declared];
}

/** The first kind whose claim rules the token meets, else the fault of the last that was tried. */
export function checkKind(claims: JsonObject, kinds: readonly TokenKind[]): TokenKind | Fault {
  let outcome: TokenKind | Fault = fault('type_not_allowed', 'typ');
  for (const kind of kinds) {
    outcome = faultOfKind(claims, kind) ?? kind;
    if (!isFault(outcome)) return outcome;
  }
  return outcome;
}

/** Claims that must be there: `true` = present, else equal to the value. */
export function faultOfRequired(
  claims: JsonObject,
  required: Readonly<Record<string, string | number | boolean>>,
): Fault | undefined {
  for (const [name, wanted] of Object.entries(required)) {
    const value = claimAt(claims, name);
    if (value === undefined || value === null) return fault('claim_missing', name);
    if (wanted !== true && value !== wanted) return fault('claim_invalid', name);
  }
  return undefined;
}

function kindOf(name: ExternalTokenType, rule: TokenTypeRule, spiffe: boolean): TokenKind {
  const defaults = DEFAULTS[name];
  // SPIFFE JWT-SVID §2.3 allows `JOSE` beside `JWT`.
  const typ = spiffe && name === 'jwt' ? [...defaults.typ, 'jose'] : defaults.typ;
  return {
    name,
    typ: rule.typ?.map(normalizeTyp) ?? typ,
    require: rule.require ?? defaults.require,
    forbid: rule.forbid ?? defaults.forbid,
    onlyAs: rule.forbid === undefined ? defaults.onlyAs : {},
    requireIat: defaults.requireIat,
  };
}

function faultOfKind(claims: JsonObject, kind: TokenKind): Fault | undefined {
  const missing = faultOfRequired(claims, kind.require);
  if (missing !== undefined) return missing;
  const forbidden = kind.forbid.find((name) => claimAt(claims, name) !== undefined);
  if (forbidden !== undefined) return fault('claim_forbidden', forbidden);
  for (const [name, only] of Object.entries(kind.onlyAs)) {
    const value = claimAt(claims, name);
    if (value !== undefined && value !== only) return fault('claim_forbidden', name);
  }
  return undefined;
}
