/**
 * The shape of `cambist.yaml`: one line per section, each section in its own file. Also its JSON Schema for editors,
 * where any value may be a `${VARIABLE}` instead.
 */
import { z } from 'zod';
import { adminListenSection } from './sections/admin.ts';
import { databaseSection, dataDirSetting } from './sections/database.ts';
import { keyEncryptionKeySetting, keyEncryptionSection, previousKeysSetting } from './sections/encryption.ts';
import { housekeepingSection } from './sections/housekeeping.ts';
import { clockSkewLimitSetting, shutdownGraceSetting } from './sections/health.ts';
import { issuerSetting } from './sections/issuer.ts';
import { keysSection } from './sections/keys.ts';
import { limitsSection } from './sections/limits.ts';
import { listenSection, trustedProxiesSetting } from './sections/listen.ts';
import { logLevelSetting, nodeNameSetting } from './sections/node.ts';
import { upstreamSection } from './sections/upstream.ts';
import { vaultSection } from './sections/vault.ts';

export const settingsSchema = z.strictObject({
  issuer: issuerSetting.optional(),
  listen: listenSection.prefault({}),
  admin_listen: adminListenSection.prefault({}),
  trusted_proxies: trustedProxiesSetting,
  clock_skew_limit_ms: clockSkewLimitSetting,
  shutdown_grace_ms: shutdownGraceSetting,
  database: databaseSection.prefault({}),
  data_dir: dataDirSetting,
  key_encryption_key: keyEncryptionKeySetting,
  previous_key_encryption_keys: previousKeysSetting,
  key_encryption: keyEncryptionSection.prefault({}),
  keys: keysSection.prefault({}),
  housekeeping: housekeepingSection.prefault({}),
  limits: limitsSection.prefault({}),
  vault: vaultSection,
  upstream: upstreamSection.prefault({}),
  log_level: logLevelSetting,
  node_name: nodeNameSetting,
});
export type SettingsFile = z.infer<typeof settingsSchema>;

/** Settings whose value may be `file:PATH` and is never shown. */
export const SECRET_SETTINGS: readonly string[] = [
  'database.url',
  'key_encryption_key',
  'previous_key_encryption_keys',
  'vault.login.token',
  'vault.login.secret_id',
];

/** The environment variable of each setting that has one; the environment wins over the file. */
export const ENVIRONMENT_SETTINGS = {
  DATABASE_URL: 'database.url',
  CAMBIST_ISSUER: 'issuer',
  CAMBIST_LISTEN: 'listen',
  CAMBIST_PLAIN_HTTP: 'listen.plain_http',
  CAMBIST_TLS_CERT_FILE: 'listen.tls.cert_file',
  CAMBIST_TLS_KEY_FILE: 'listen.tls.key_file',
  CAMBIST_ADMIN_LISTEN: 'admin_listen',
  CAMBIST_ADMIN_PLAIN_HTTP: 'admin_listen.plain_http',
  CAMBIST_TRUSTED_PROXIES: 'trusted_proxies',
  CAMBIST_KEY_ENCRYPTION_KEY: 'key_encryption_key',
  CAMBIST_PREVIOUS_KEY_ENCRYPTION_KEYS: 'previous_key_encryption_keys',
  CAMBIST_KEY_ENCRYPTION_TRANSIT_KEY: 'key_encryption.transit.key',
  CAMBIST_LIMITS_CLIENT_PER_MINUTE: 'limits.client_per_minute',
  CAMBIST_LIMITS_SUBJECT_PER_MINUTE: 'limits.subject_per_minute',
  CAMBIST_LIMITS_RESOURCE_PER_MINUTE: 'limits.resource_per_minute',
  CAMBIST_LIMITS_STATUS_PER_MINUTE: 'limits.status_per_minute',
  CAMBIST_LIMITS_FAILED_AUTHENTICATIONS_PER_MINUTE: 'limits.failed_authentications_per_minute',
  CAMBIST_LIMITS_REQUESTS_UNDER_WAY_MAX: 'limits.requests_under_way_max',
  CAMBIST_LIMITS_EGRESS_CALLS_MAX: 'limits.egress_calls_max',
  CAMBIST_LIMITS_EGRESS_CALLS_PER_CLIENT_MAX: 'limits.egress_calls_per_client_max',
  CAMBIST_UPSTREAM_CREDENTIAL_CACHE_SECONDS: 'upstream.credential_cache_seconds',
  // The names that Vault's own tools use.
  VAULT_ADDR: 'vault.address',
  VAULT_NAMESPACE: 'vault.namespace',
  VAULT_CACERT: 'vault.ca_file',
  VAULT_TOKEN: 'vault.login.token',
  CAMBIST_VAULT_SECRET_ID: 'vault.login.secret_id',
  CAMBIST_LOG_LEVEL: 'log_level',
  CAMBIST_DATA_DIR: 'data_dir',
  CAMBIST_NODE_NAME: 'node_name',
} as const;

const INTERPOLATED = { type: 'string', pattern: '\\$\\{[A-Za-z_]' };

/** The types of the settings, as JSON Schema. */
export function plainJsonSchema(): Record<string, unknown> {
  return z.toJSONSchema(settingsSchema, { io: 'input' });
}

/** JSON Schema (2020-12) of `cambist.yaml`, for editors. */
export function settingsJsonSchema(): Record<string, unknown> {
  return { title: 'cambist.yaml', ...(allowInterpolation(plainJsonSchema()) as Record<string, unknown>) };
}

/** Lets every leaf that is not any string be a `${VARIABLE}` as well. */
function allowInterpolation(node: unknown): unknown {
  if (typeof node !== 'object' || node === null) return node;
  const shape = node as Record<string, unknown>;
  const properties = shape['properties'];
  if (typeof properties === 'object' && properties !== null) {
    const entries = Object.entries(properties).map(([key, value]) => [key, allowInterpolation(value)] as const);
    return { ...shape, properties: Object.fromEntries(entries) };
  }
  const { description, default: preset, ...rest } = shape;
  const open = rest['type'] === 'string' && rest['pattern'] === undefined && rest['enum'] === undefined;
  return open ? shape : { description, default: preset, anyOf: [rest, INTERPOLATED] };
}
