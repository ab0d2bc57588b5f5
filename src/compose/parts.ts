/**
 * What a service is built from. Everything that has a default is the default of the settings, so that a test that says
 * nothing runs what a first run runs.
 */
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import type { Telemetry } from '../core/telemetry.ts';
import type { Phase } from '../exchange/phases.ts';
import type { KeyTimes } from '../keys/due.ts';
import type { LimitSettings } from '../limits/bounds.ts';
import type { Resolve } from '../net/guard.ts';
import type { VaultSettings } from '../secrets/vault/settings.ts';
import type { Database } from '../store/database.ts';
import type { KeyEncryptionKey } from '../store/root-keys.ts';
import type { Credentials } from '../upstream/credential.ts';

export interface ServiceParts {
  readonly issuer: string;
  readonly nodeName: string;
  /** Runs as the runtime role, migrated already. */
  readonly database: Database;
  /** 32 bytes, or a key of the Transit engine of `vault`. */
  readonly keyEncryptionKey: KeyEncryptionKey;
  /** What else may have sealed the database; none of them seals. */
  readonly previousKeyEncryptionKeys?: readonly KeyEncryptionKey[];
  /** How long a start waits for a Vault that has to unwrap the key; default 0. */
  readonly vaultPatienceMs?: number;
  /** When signing keys change; default every 30 days, published a day before. */
  readonly keyTimes?: KeyTimes;
  readonly logger: Logger;
  readonly clock?: Clock;
  readonly limits?: LimitSettings;
  readonly housekeeping?: {
    readonly intervalSeconds: number;
    /** `undefined` = audit records are kept for ever. */
    readonly auditRetentionDays: number | undefined;
  };
  /** How long a secret that is injected is used without being read again; default 5, 0 = not at all. */
  readonly secretCacheSeconds?: number;
  /** Told what each step of the road cost. */
  readonly observe?: (phase: Phase, durationMs: number) => void;
  /** Default: of this service alone, with an SDK where one was registered with the API of OpenTelemetry. */
  readonly telemetry?: Telemetry;
  /** Of this program, for metrics. */
  readonly version?: string;
  /** Where the credentials of upstreams come from; default the secret stores of the settings. */
  readonly credentials?: Credentials;
  /** How names of upstreams become addresses; default the system's resolver. */
  readonly resolve?: Resolve;
  /** CIDR ranges whose `X-Forwarded-For` is believed; default none. */
  readonly trustedProxies?: readonly string[];
  /** Beyond it this node is not ready; default 2000. */
  readonly clockSkewLimitMs?: number;
  /** Default: there is no Vault. */
  readonly vault?: VaultSettings | undefined;
}
