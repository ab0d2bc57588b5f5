/**
 * What has to be said about a Vault before it can be used. Checked and completed by `config/`; secrets that stand in
 * files are read when they are needed, because agents and clusters replace them.
 */

/** How Cambist logs in as itself. */
export type VaultLogin =
  | { readonly method: 'token'; readonly token: string }
  /** The sink of a Vault Agent, or a file that something else keeps fresh. */
  | { readonly method: 'token_file'; readonly file: string }
  | {
      readonly method: 'approle';
      readonly mount: string;
      readonly roleId: string;
      /** The secret id itself, or the file that it is read from at each login. */
      readonly secretId: { readonly value: string } | { readonly file: string };
      /** What is given is a wrapping token, opened once. */
      readonly secretIdWrapped: boolean;
    }
  | {
      readonly method: 'kubernetes';
      readonly mount: string;
      readonly role: string;
      /** Projected token of the service account. */
      readonly file: string;
    }
  /** With a token that Cambist makes about itself. */
  | { readonly method: 'jwt'; readonly mount: string; readonly role: string; readonly audience: string };

/** How Cambist logs in as a subject: the JWT method, with a token about that subject. */
export interface SubjectLogin {
  readonly mount: string;
  readonly role: string;
  readonly audience: string;
}

export interface VaultSettings {
  /** Origin and nothing else: https, or http where it was said to be meant. */
  readonly address: string;
  readonly namespace: string | undefined;
  /** PEM file; where given, no other authority is trusted. */
  readonly caFile: string | undefined;
  /** KV v2 mount of upstreams that name none. */
  readonly kvMount: string;
  readonly login: VaultLogin;
  readonly subjectLogin: SubjectLogin | undefined;
  /** Token role that makes the holders of leases, for holders that do not end with our own login. */
  readonly leaseTokenRole: string | undefined;
  /** For everything that one question needs: tries, waits, a login. */
  readonly timeoutMs: number;
}
