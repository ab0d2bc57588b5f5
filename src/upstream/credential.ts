/**
 * What a credential is to those who use it (egress, and the exchange that hands one out), and what they have to say to get
 * one. Where it comes from is the business of the other files of this room.
 */
import type { Principal } from '../core/principal.ts';
import type { Refusal } from '../core/refusal.ts';
import type { StoredObject } from '../objects/kinds.ts';
import type { TokenFacts } from '../tokens/revocation.ts';

/** For whom, through whom, on the strength of which token. Everything in it was verified. */
export interface CredentialUse {
  readonly upstream: StoredObject<'upstream'>;
  readonly purpose: 'inject' | 'fetch';
  readonly subject: Principal;
  /** `sub` of our tokens for the subject: `corp:ada`, or a client's id. */
  readonly subjectName: string;
  /** The client that uses the credential now. */
  readonly clientId: string;
  /** Name of the resource whose token opened the way; `undefined` where there was none. */
  readonly resource: string | undefined;
  /** Its end, and that of those that it descends from, is the end of a lease. */
  readonly token: {
    readonly identity: string;
    readonly ancestors: readonly string[];
    readonly expiresAtSeconds: number;
    /** What a revocation can hit of it; without them, what is said here, as issued just now. */
    readonly facts?: TokenFacts | undefined;
  };
}

export interface Credential {
  /** Values by name: those that the spec names; of a lease that is fetched, all of them. */
  readonly fields: Readonly<Record<string, string>>;
  /** What is injected; `undefined` where the upstream's credential can only be fetched. */
  readonly secret: string | undefined;
  readonly username: string | undefined;
  /** NumericDate; `undefined` = it does not expire by itself. */
  readonly expiresAtSeconds: number | undefined;
  readonly mark: CredentialMark;
  /** It did not reach anybody (the commit failed): a lease is ended now. Never throws. */
  discard(): Promise<void>;
}

/** What a record may say of a credential: which one it was, never what. */
export interface CredentialMark {
  readonly kind: 'static' | 'dynamic' | 'oauth_client_credentials';
  readonly store: 'vault' | 'embedded';
  /** Path as it is configured, placeholders unfilled: filled ones may name a person. */
  readonly path: string;
  /** Version of the secret; of a lease, the id of its row here. */
  readonly version: string;
}

export interface Credentials {
  /** Throws Unavailable where the store or the upstream's token endpoint cannot be asked. */
  obtain(use: CredentialUse): Promise<Credential | Refusal>;
  /** The upstream answered 401: what is kept of this credential is forgotten, and the next `obtain` is fresh. */
  reject(use: CredentialUse, credential: Credential): void;
}
