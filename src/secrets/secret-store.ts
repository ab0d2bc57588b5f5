/**
 * What a secret store is, whichever holds the secrets: Vault, or the database under envelope encryption. Values live in
 * memory only. A store that cannot answer throws Unavailable (`vault`, `database`): never a stale secret, never a guess.
 */

/** Where a secret lies. Every segment was checked or encoded (`objects/upstream-templates.ts`). */
export interface SecretPlace {
  /** Mount of the KV v2 engine; `undefined` = the one of the settings. The embedded store has none. */
  readonly mount: string | undefined;
  readonly path: string;
}

/** One version of a secret. */
export interface Secret {
  /** Counts from 1; a rotated secret has a higher one. */
  readonly version: number;
  readonly fields: Readonly<Record<string, string>>;
  /** `custom_metadata`: `cambist_owner` and `cambist_audience` pin whose, and for what, it is. */
  readonly tags: Readonly<Record<string, string>>;
}

/** `absent`: nothing there, deleted or destroyed. `forbidden`: the store knows us and says no. */
export type SecretLookup = { readonly found: Secret } | { readonly missing: 'absent' | 'forbidden' };

/** As whom to log in to Vault, where it is not Cambist itself. */
export interface VaultUser {
  /** Tells users apart, for the logins that are kept a short while; names nobody. */
  readonly key: string;
  /** A token of ours about that subject, made for Vault alone. */
  assertion(): Promise<string>;
}

export interface SecretStore {
  read(place: SecretPlace, as?: VaultUser): Promise<SecretLookup>;
}

/** A credential that Vault made for us, and how long it lives. */
export interface LeasedSecret {
  readonly leaseId: string;
  readonly fields: Readonly<Record<string, string>>;
  readonly durationSeconds: number;
}

/**
 * Vault's leases. Each is asked for with a token of its own, the holder, whose accessor is known (and can be remembered)
 * before there is a lease: whoever revokes the holder ends the lease, also one whose id nobody got to know.
 */
export interface LeaseBroker {
  /** Makes a holder that lives so long at most. */
  openHolder(lifetimeSeconds: number, as?: VaultUser): Promise<LeaseHolder>;
  /** Ends a holder and its leases; well, too, when it has ended already. */
  revokeHolder(accessor: string): Promise<void>;
}

export interface LeaseHolder {
  readonly accessor: string;
  /** Reads `database/creds/<role>` or the like, once. */
  lease(path: string): Promise<{ readonly leased: LeasedSecret } | { readonly missing: 'absent' | 'forbidden' }>;
}

/** The stores of this node; `undefined` where the settings name none. */
export interface SecretStores {
  readonly vault: (SecretStore & LeaseBroker) | undefined;
  readonly embedded: SecretStore;
}
