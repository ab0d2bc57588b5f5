/**
 * Finds the target's metadata where RFC 8414 puts it, then where OpenID Connect Discovery does. Every address that was
 * tried is kept, because where the document is found is itself a requirement.
 */
import type { Answer, Wire } from '../wire/http.ts';
import type { Json } from '../wire/jwt.ts';

export type MetadataPlace = 'rfc8414' | 'openid' | 'openid-inserted';

export interface Metadata {
  readonly place: MetadataPlace;
  readonly url: string;
  readonly document: Json;
  readonly answer: Answer;
}

/** Addresses where metadata of an issuer may be, in the order in which clients look. */
export function metadataUrls(issuer: string): readonly { place: MetadataPlace; url: string }[] {
  const { origin, pathname } = new URL(issuer);
  const path = pathname.replace(/\/$/, '');
  return [
    { place: 'rfc8414', url: `${origin}/.well-known/oauth-authorization-server${path}` },
    { place: 'openid', url: `${origin}${path}/.well-known/openid-configuration` },
    { place: 'openid-inserted', url: `${origin}/.well-known/openid-configuration${path}` },
  ];
}

export interface Discovery {
  /** The first document found. */
  readonly metadata: Metadata | undefined;
  readonly tried: readonly Answer[];
}

export async function discover(wire: Wire, issuer: string): Promise<Discovery> {
  const tried: Answer[] = [];
  for (const { place, url } of metadataUrls(issuer)) {
    const answer = await wire.send({ method: 'GET', url, headers: { accept: 'application/json' }, body: undefined });
    tried.push(answer);
    if (answer.status === 200 && typeof answer.json?.['issuer'] === 'string')
      return { metadata: { place, url, document: answer.json, answer }, tried };
  }
  return { metadata: undefined, tried };
}

/** A member of the metadata as a list of strings; empty when it is absent. */
export function listed(document: Json, member: string): string[] {
  const value = document[member];
  return Array.isArray(value) ? value.filter((one): one is string => typeof one === 'string') : [];
}
