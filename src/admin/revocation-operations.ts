/**
 * Revocation by an operator: one token with all that came from it, or everything about somebody, through a client, at a
 * resource, vouched for by an issuer, signed with a key, or everything at all. It cuts what was issued until now; who may
 * get new tokens is another question (`disable`). A revocation and its record are one commit.
 */
import type { RecordRow } from '../audit/record.ts';
import type { Principal } from '../core/principal.ts';
import { issValues, issValuesOfSubject } from '../objects/issuer.ts';
import { registryOf } from '../objects/registry.ts';
import { egressUri, targetByUri, upstreamNameOf } from '../objects/target.ts';
import type { RevocationRow } from '../store/commitment.ts';
import type { ObjectStore } from '../store/objects.ts';
import { OWN_TOKEN_ALIVE_SECONDS, REVOCATION_LIFETIME_SECONDS } from '../store/revocations.ts';
import type { RevokedNow } from '../store/revocations.ts';
import { KEY_REVOKED_SECONDS } from '../store/signing-keys.ts';
import type { SigningKeyState } from '../store/signing-keys.ts';
import { canonicalResource, principalDigest } from '../tokens/revocation.ts';
import type { RevocationKind } from '../tokens/revocation.ts';
import { splitSubject } from './change-record.ts';
import { refused } from './outcome.ts';
import type { Outcome } from './outcome.ts';

/** Servers that verify offline learn of a revocation within this many seconds, by the defaults of both sides. */
export const OFFLINE_WITHIN_SECONDS = 6;

const SHOWN_TOKENS_MAX = 1000;
/** How tokens of trusted issuers are named in records (`tokenIdentity`). */
const EXTERNAL_IDENTITY = /^(jti|claims):/;

export interface RevokeArguments {
  readonly by: RevocationKind;
  /**
   * `token`: a `jti` of ours, or the identity of an external token as records name it. `subject`, `actor`: `issuer:sub`, or
   * a client id. `client`: its id. `resource`: name or URI of it or of an upstream. `issuer`: short name. `key`: kid. `all`: absent.
   * What was removed or changed goes by the names that it had, too.
   */
  readonly value?: string | undefined;
  /** RFC 3339: only what was issued before; absent = everything until now. Not for `token` and `key`. */
  readonly issuedBefore?: string | undefined;
}

export interface Revoked {
  readonly kind: RevocationKind;
  /** How many predicates it came to: an issuer may have several `iss`. */
  readonly predicates: number;
  /** RFC 3339; `null` = whenever it was issued. */
  readonly issued_until: string | null;
  readonly offline_within_seconds: number;
}

export interface ListedRevocation {
  readonly kind: RevocationKind;
  /** Persons by digest. */
  readonly value: string;
  readonly issued_until: string | null;
}

export interface RevocationOperations {
  revoke(args: RevokeArguments): Promise<Outcome<Revoked>>;
  /** What can still hit a living token of ours. */
  listRevocations(args: object): Promise<
    Outcome<{
      readonly predicates: readonly ListedRevocation[];
      /** Living tokens that were revoked or descend from one that was; at most 1000. */
      readonly tokens: readonly string[];
      /** Clients with so many of them that theirs are not in that list. */
      readonly clients_with_more: readonly string[];
    }>
  >;
}

export interface RevocationOperationsParts {
  readonly objects: Past;
  /** Whether a token of that `jti` is remembered. */
  isIssued(jti: string): Promise<boolean>;
  /** State of the key of that `kid`; `undefined` = there is none. */
  keyState(kid: string): SigningKeyState | undefined;
  inForce(options: { readonly ownLifetimeSeconds: number; readonly tokensMax: number }): Promise<RevokedNow>;
  /** Fetches what seals the persons concerned; what it returns builds the record. */
  prepareChange(persons: readonly Principal[]): Promise<(change: Readonly<Record<string, unknown>>) => RecordRow>;
  commitRevocation(record: RecordRow, revocations: readonly RevocationRow[]): Promise<void>;
  readonly ownIssuer: string;
  readonly author: string;
}

/** What is registered, and what was: tokens of what was removed, or had another URI or `iss`, may still be alive. */
type Past = Pick<ObjectStore, 'current' | 'specsEver' | 'namesEver'>;

/** What a revocation names, in values of predicates; `persons` are those whose names the record has to seal. */
interface Aim {
  readonly values: readonly string[];
  readonly persons?: readonly Principal[];
  /** How it stands in the record; absent for persons. */
  readonly named?: string;
}

export function createRevocationOperations(parts: RevocationOperationsParts): RevocationOperations {
  return {
    async revoke({ by, value, issuedBefore }) {
      const until = untilOf(by, issuedBefore);
      if (typeof until === 'object' && until !== null) return until;
      if ((by === 'all') !== (value === undefined || value === ''))
        return refused('argument_invalid', by === 'all' ? 'all takes no value' : `${by} needs a value`);
      const aim = await aimOf(parts, by, value ?? '');
      if ('ok' in aim) return aim;
      const lifetimeSeconds = lifetimeOf(by, value ?? '');
      const rows = aim.values.map((aimed): RevocationRow => ({
        kind: by,
        value: aimed,
        issuedUntil: until,
        lifetimeSeconds,
      }));
      const recordOf = await parts.prepareChange(aim.persons ?? []);
      const record = recordOf({
        author: parts.author,
        origin: 'command',
        changes: [
          {
            action: 'revoke',
            kind: by,
            ...(aim.named === undefined ? {} : { name: aim.named }),
            ...(aim.persons === undefined ? {} : { persons: aim.persons.length }),
            issued_until: until,
          },
        ],
      });
      // It would kill what is issued from now on as well, until then.
      if (typeof until === 'number' && until * 1000 > record.recordedAtMs)
        return refused('argument_invalid', '"issued before" must not be in the future: leave it away for "until now"');
      await parts.commitRevocation(record, rows);
      const issuedUntil =
        until === 'now' ? timeOf(Math.floor(record.recordedAtMs / 1000)) : until === null ? null : timeOf(until);
      return {
        ok: true,
        value: {
          kind: by,
          predicates: rows.length,
          issued_until: issuedUntil,
          offline_within_seconds: OFFLINE_WITHIN_SECONDS,
        },
      };
    },
    async listRevocations() {
      const { predicates, tokens, crowded } = await parts.inForce({
        ownLifetimeSeconds: OWN_TOKEN_ALIVE_SECONDS,
        tokensMax: SHOWN_TOKENS_MAX,
      });
      const listed = predicates.map(({ kind, value, issuedUntilSeconds }) => ({
        kind,
        value,
        issued_until: issuedUntilSeconds === null ? null : timeOf(issuedUntilSeconds),
      }));
      return {
        ok: true,
        value: {
          predicates: listed,
          tokens: tokens.map(({ jti }) => jti),
          clients_with_more: crowded.map(({ clientId }) => clientId),
        },
      };
    },
  };
}

/** With its offset: what is left to the time zone of a machine is an hour wrong twice a year. */
const RFC_3339 = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$/;

/** How long there can be something that it hits. */
function lifetimeOf(by: RevocationKind, value: string): number {
  if (by === 'key') return KEY_REVOKED_SECONDS;
  return by === 'token' && !EXTERNAL_IDENTITY.test(value) ? OWN_TOKEN_ALIVE_SECONDS : REVOCATION_LIFETIME_SECONDS;
}

/** Tokens and keys are dead whenever they were issued; the rest up to a moment. */
function untilOf(by: RevocationKind, issuedBefore: string | undefined): RevocationRow['issuedUntil'] | Outcome<never> {
  const timeless = by === 'token' || by === 'key';
  if (issuedBefore === undefined) return timeless ? null : 'now';
  if (timeless) return refused('argument_invalid', `${by} is revoked whole: leave "issued before" away`);
  const ms = RFC_3339.test(issuedBefore) ? Date.parse(issuedBefore) : Number.NaN;
  // Written so that what is no number is refused too.
  if (!(ms > 0))
    return refused('argument_invalid', '"issued before" must be a time such as 2026-11-23T14:02:00Z (RFC 3339)');
  // Before that second: `issued_until` is inclusive.
  return Math.ceil(ms / 1000) - 1;
}

async function aimOf(
  parts: RevocationOperationsParts,
  by: RevocationKind,
  value: string,
): Promise<Aim | Outcome<never>> {
  const { objects } = parts;
  switch (by) {
    case 'all':
      return { values: [''] };
    case 'key':
      return keyAim(value, parts.keyState(value));
    case 'client':
      if (await isClient(objects, value)) return { values: [value], named: value };
      return refused('object_unknown', `there is no client ${value}, and there was none`);
    case 'token': {
      const known = EXTERNAL_IDENTITY.test(value) || (await parts.isIssued(value));
      if (known) return { values: [value], named: value };
      return refused(
        'object_unknown',
        `no token with the jti ${value} is remembered: it was never issued here, or expired`,
      );
    }
    case 'resource':
      return targetAim(parts, value);
    case 'issuer': {
      const values = unique((await objects.specsEver('issuer', value)).flatMap(issValues));
      if (values.length > 0) return { values, named: value };
      return refused('object_unknown', `there is no issuer ${value}, and there was none`);
    }
    case 'subject':
    case 'actor':
      return principalAim(parts, value);
  }
}

/** A key that goes on signing must not be revoked: every token would be born dead, and nobody would say so. */
function keyAim(kid: string, state: SigningKeyState | undefined): Aim | Outcome<never> {
  if (state === undefined) return refused('object_unknown', `there is no key ${kid}: see cambist keys list`);
  if (state === 'next' || state === 'active')
    return refused(
      'argument_invalid',
      `the key ${kid} is in use: cambist keys taint ${kid} stops it and revokes what it signed`,
    );
  return { values: [kid], named: kid };
}

async function isClient(objects: Past, id: string): Promise<boolean> {
  return (await objects.specsEver('client', id)).length > 0;
}

/** A name stands for every URI that it had; a URI for itself and who has it, or had it. */
async function targetAim(
  { objects, ownIssuer }: RevocationOperationsParts,
  value: string,
): Promise<Aim | Outcome<never>> {
  const registry = registryOf(await objects.current());
  const found = URL.canParse(value) ? await targetByUri(value, registry, ownIssuer) : undefined;
  const uri = canonicalResource(value);
  // What is an alias now may be the audience of tokens that live.
  if (found !== undefined) return { values: unique([canonicalResource(found.uri), uri]), named: found.name };
  const names = [value, ...(await objects.namesEver('resource', { namespace: 'target', key: uri }))];
  const upstreams = await objects.specsEver('upstream', upstreamNameOf(uri, ownIssuer) ?? value);
  const uris = [
    ...(await Promise.all(names.map((name) => objects.specsEver('resource', name)))).flat().map((spec) => spec.uri),
    ...upstreams.map(({ name }) => egressUri(ownIssuer, name)),
  ];
  if (uris.length > 0) return { values: unique(uris.map(canonicalResource)), named: value };
  return refused('object_unknown', `there is no resource or upstream ${value}, and there was none`);
}

/** `issuer:sub`, or the id of a client. A workload that is bound to a client is that client in tokens of ours. */
async function principalAim(
  { objects, ownIssuer }: RevocationOperationsParts,
  value: string,
): Promise<Aim | Outcome<never>> {
  if (!value.includes(':')) {
    if (!(await isClient(objects, value)))
      return refused(
        'object_unknown',
        `there is no client ${value}, and there was none; a person is named ISSUER:SUB, such as corp:alice`,
      );
    return { values: [principalDigest({ issuer: ownIssuer, sub: value })], named: value };
  }
  const { issuer: name, sub } = splitSubject(value);
  const specs = await objects.specsEver('issuer', name);
  if (specs.length === 0) return refused('object_unknown', `there is no issuer ${name}, and there was none`);
  const persons = unique(specs.flatMap((spec) => issValuesOfSubject(spec, sub))).map((iss): Principal => ({
    issuer: iss,
    sub,
  }));
  const bound = await registryOf(await objects.current()).clientByIdentity(name, sub);
  const own = bound === undefined ? [] : [{ issuer: ownIssuer, sub: bound.name }];
  return { values: [...persons, ...own].map(principalDigest), persons };
}

function unique(values: readonly string[]): readonly string[] {
  return [...new Set(values)];
}

function timeOf(seconds: number): string {
  return new Date(seconds * 1000).toISOString();
}
