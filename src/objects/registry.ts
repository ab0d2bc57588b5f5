/**
 * How the road reads registered objects: by name or key, disabled ones included (the caller says what disabled means).
 * The store implements `ObjectReader` with a cache that is never older than the request; `cambist policy check`
 * implements it over a file.
 */
import { identityKey, subjectName } from './kinds.ts';
import type { Kind, ObjectKey, StoredObject } from './kinds.ts';
import { canonicalTarget } from '../core/uri.ts';

/** What a request learns of the database before anything else; counters that only grow, but for a restore. */
export interface StateSeen {
  /** Of registered objects. */
  readonly version: number;
  readonly revocations: number;
  /** Of our signing keys. */
  readonly keys: number;
  /** Clock of the database when this was read; milliseconds since the epoch. */
  readonly databaseMs: number;
  /** Something that was revoked is, or may be, still in force. */
  readonly revoking: boolean;
}

export interface ObjectReader {
  /** State that these reads are at least as new as. */
  readonly state: StateSeen;
  get<K extends Kind>(kind: K, name: string): Promise<StoredObject<K> | undefined>;
  find(key: ObjectKey): Promise<StoredObject | undefined>;
  /** Every object of a kind, by name. For kinds that are few: policies and roles. */
  all<K extends Kind>(kind: K): Promise<readonly StoredObject<K>[]>;
}

export interface Registry {
  readonly state: StateSeen;
  client(id: string): Promise<StoredObject<'client'> | undefined>;
  /** The client that a trusted issuer's subject is bound to (`identities`). */
  clientByIdentity(issuerName: string, sub: string): Promise<StoredObject<'client'> | undefined>;
  /** The trusted issuer whose tokens carry exactly this `iss`. */
  issuer(iss: string): Promise<StoredObject<'issuer'> | undefined>;
  issuerByName(name: string): Promise<StoredObject<'issuer'> | undefined>;
  resource(name: string): Promise<StoredObject<'resource'> | undefined>;
  /** The resource that a URI or one of its aliases names; a trailing slash makes no difference. */
  resourceByUri(uri: string): Promise<StoredObject<'resource'> | undefined>;
  upstream(name: string): Promise<StoredObject<'upstream'> | undefined>;
  subject(issuerName: string, sub: string): Promise<StoredObject<'subject'> | undefined>;
  roles(): Promise<readonly StoredObject<'role'>[]>;
  policies(): Promise<readonly StoredObject<'policy'>[]>;
}

export function registryOf(reader: ObjectReader): Registry {
  async function findAs<K extends Kind>(kind: K, key: ObjectKey): Promise<StoredObject<K> | undefined> {
    const found = await reader.find(key);
    return found?.kind === kind ? (found as StoredObject<K>) : undefined;
  }
  return {
    state: reader.state,
    client: (id) => reader.get('client', id),
    clientByIdentity: (issuerName, sub) =>
      findAs('client', { namespace: 'identity', key: identityKey(issuerName, sub) }),
    issuer: (iss) => findAs('issuer', { namespace: 'iss', key: iss }),
    issuerByName: (name) => reader.get('issuer', name),
    resource: (name) => reader.get('resource', name),
    resourceByUri: async (uri) => {
      const key = canonicalTarget(uri);
      return key === undefined ? undefined : findAs('resource', { namespace: 'target', key });
    },
    upstream: (name) => reader.get('upstream', name),
    subject: (issuerName, sub) => reader.get('subject', subjectName(issuerName, sub)),
    roles: () => reader.all('role'),
    policies: () => reader.all('policy'),
  };
}
