/**
 * The world of the little servers of these tests: who is registered, what for, and which single fault is switched on.
 * Without a fault it is a small but correct RFC 8693 server; the suite must find nothing in it.
 */
import type { JWK } from 'jose';
import type { SigningKey } from '../../issuer/keys.ts';
import type { Fault } from './faults.ts';

export interface Party {
  readonly id: string;
  readonly secret?: string;
  readonly key?: SigningKey;
  readonly mayExchange: boolean;
}

export interface SmallResource {
  readonly uri: string;
  readonly server: string;
  readonly scopes: readonly string[];
  readonly denied: readonly string[];
  /** Where its server may exchange on to. */
  readonly calls: readonly string[];
}

export interface World {
  readonly issuer: string;
  readonly faults: ReadonlySet<Fault>;
  /** Issuer whose tokens count, by the claim `iss`. */
  readonly trustedIssuer: string;
  readonly parties: readonly Party[];
  readonly resources: readonly SmallResource[];
  /** Signs access tokens. */
  readonly key: SigningKey;
  /** Is published nowhere. */
  readonly hiddenKey: SigningKey;
  /** Keys of issuers, as they were fetched first. */
  readonly keys: Map<string, JWK[]>;
  readonly seenAssertions: Set<string>;
  readonly revoked: Set<string>;
  readonly issuedTo: Map<string, string>;
}

/** What a request brought, after the transport was looked at. */
export interface Incoming {
  readonly method: string;
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly query: URLSearchParams;
  readonly form: URLSearchParams;
  readonly contentType: string;
}

export interface Reply {
  readonly status: number;
  readonly body: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

export const broken = (world: World, fault: Fault): boolean => world.faults.has(fault);

/** A refusal in the shape of RFC 6749 §5.2. */
export class Refused extends Error {
  readonly code: string;
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly description: string | undefined;
  constructor(code: string, status = 400, headers: Readonly<Record<string, string>> = {}, description?: string) {
    super(code);
    this.code = code;
    this.status = status;
    this.headers = headers;
    this.description = description;
  }
}
