/**
 * What the revocation document says of everything but single tokens. As exact as it can be and never longer than a reader
 * takes: what would be too long is said in fewer words, which hit more and never less.
 */
import { CLOCK_MARGIN_SECONDS } from '../core/clock.ts';
import { issValues, issValuesOfSubject } from '../objects/issuer.ts';
import type { Specs } from '../objects/kinds.ts';
import type { Registry } from '../objects/registry.ts';
import type { RevokedNow, SwitchedOff } from '../store/revocations.ts';
import { canonicalResource, predicateKey, principalDigest } from '../tokens/revocation.ts';
import type { Predicate } from '../tokens/revocation.ts';
import { REVOCATION_DOCUMENT_MAX_BYTES } from '../tokens/revocation-document.ts';

/** More than that cannot be in a document, however short their values are. */
const PREDICATES_MAX = Math.floor(REVOCATION_DOCUMENT_MAX_BYTES / 40);

/**
 * The same in fewer and fewer words: everything by its name; people who were switched off by their issuers, up to when that
 * was (they can have got nothing since); `all` up to the last moment that is meant, with what has no such moment by name.
 */
export async function* contentsOf(found: RevokedNow, registry: Registry): AsyncGenerator<readonly Predicate[]> {
  const crowded = found.crowded.map(({ clientId, issuedUntilSeconds }): Predicate => ({
    kind: 'client',
    value: clientId,
    issuedUntilSeconds,
  }));
  const listed = [...found.predicates, ...crowded];
  for (const peopleAs of ['people', 'issuers'] as const) {
    const off = await predicatesOf(found.switchedOff, registry, peopleAs);
    if (off !== undefined) yield widest([...listed, ...off]);
  }
  const isTimeless = ({ issuedUntilSeconds }: Predicate) => issuedUntilSeconds === null;
  const untils = [
    ...listed.flatMap(({ issuedUntilSeconds }) => issuedUntilSeconds ?? []),
    ...found.switchedOff.map(untilItWasOff),
  ];
  const last = untils.reduce((latest, until) => Math.max(latest, until), 0);
  yield widest([...listed.filter(isTimeless), { kind: 'all', value: '', issuedUntilSeconds: last }]);
}

/** Of all of them; `undefined` where there are more than any document can hold. */
async function predicatesOf(
  objects: readonly SwitchedOff[],
  registry: Registry,
  peopleAs: 'people' | 'issuers',
): Promise<readonly Predicate[] | undefined> {
  const byKey = new Map<string, Predicate>();
  for (const object of objects) {
    for (const predicate of await predicatesOfOne(object, registry, peopleAs)) keepWider(byKey, predicate);
    if (byKey.size > PREDICATES_MAX) return undefined;
  }
  return [...byKey.values()];
}

/** What was disabled or removed, whenever its tokens were issued: while it is off, none of them counts. */
async function predicatesOfOne(
  object: SwitchedOff,
  registry: Registry,
  peopleAs: 'people' | 'issuers',
): Promise<readonly Predicate[]> {
  const { kind, spec } = object;
  if (spec === null) return [];
  const all = (of: Predicate['kind'], values: readonly string[], issuedUntilSeconds: number | null = null) =>
    values.map((value): Predicate => ({ kind: of, value, issuedUntilSeconds }));
  switch (kind) {
    case 'client':
      return all('client', [(spec as Specs['client']).id]);
    case 'resource':
      return all('resource', [canonicalResource((spec as Specs['resource']).uri)]);
    case 'issuer':
      return all('issuer', issValues(spec as Specs['issuer']));
    case 'subject': {
      const { issuer: name, sub } = spec as Specs['subject'];
      const issuer = await registry.issuerByName(name);
      const values = issuer === undefined ? [] : issValuesOfSubject(issuer.spec, sub);
      if (peopleAs === 'issuers') return all('issuer', values, untilItWasOff(object));
      const digests = values.map((iss) => principalDigest({ issuer: iss, sub }));
      return [...all('subject', digests), ...all('actor', digests)];
    }
    // Its tokens are for our own egress alone, which asks what is registered now.
    case 'upstream':
    case 'policy':
    case 'role':
      return [];
  }
}

function untilItWasOff({ atSeconds }: SwitchedOff): number {
  return atSeconds + CLOCK_MARGIN_SECONDS;
}

/** One predicate per kind and value: the one that hits most. */
function widest(predicates: readonly Predicate[]): readonly Predicate[] {
  const byKey = new Map<string, Predicate>();
  for (const predicate of predicates) keepWider(byKey, predicate);
  return [...byKey.values()];
}

function keepWider(byKey: Map<string, Predicate>, predicate: Predicate): void {
  const key = predicateKey(predicate);
  const before = byKey.get(key);
  const until = ({ issuedUntilSeconds }: Predicate) => issuedUntilSeconds ?? Infinity;
  if (before === undefined || until(before) < until(predicate)) byKey.set(key, predicate);
}
