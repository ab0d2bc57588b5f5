/**
 * The Transit keys that wrap what seals: whether they are there and we may use them, whether what is wrapped still opens and
 * goes on to, whether their material could leave Vault. What is encrypted to find out is random, and is dropped.
 */
import { randomBytes } from 'node:crypto';
import type { VaultExamination } from '../../secrets/vault/examination.ts';
import { VaultUnavailable } from '../../secrets/vault/fault.ts';
import { TransitRefused } from '../../secrets/vault/transit.ts';
import type { TransitFacts, TransitKey } from '../../secrets/vault/transit.ts';
import { WrongKeyEncryptionKey } from '../../store/envelope.ts';
import type { KeyPlace, WrappedRootKey } from '../../store/root-keys.ts';
import { openExisting, placeName } from '../../store/root-keys.ts';
import { failed, ok, warning } from './findings.ts';
import type { Check, Found } from './findings.ts';

export interface TransitCheckParts {
  readonly examination: VaultExamination | undefined;
  /** Of the settings. */
  readonly places: readonly KeyPlace[];
  /** Of the database. */
  readonly rootKeys: readonly WrappedRootKey[];
}

const TRIAL = 'cambist doctor';

/** Every check of Transit keys; nothing to say where the settings name none. */
export function transitChecks({ examination, places, rootKeys }: TransitCheckParts): Check[] {
  if (examination === undefined) return [];
  return places.map((place) => ({
    noun: 'vault',
    name: placeName(place),
    run: () => (examination.mayLogIn ? checkKey(place, examination.transit(place), rootKeys) : []),
  }));
}

async function checkKey(place: KeyPlace, transit: TransitKey, rootKeys: readonly WrappedRootKey[]): Promise<Found[]> {
  try {
    const facts = await transit.facts();
    await transit.unwrap(await transit.wrap(randomBytes(32), TRIAL), TRIAL);
    const row = rootKeys.find((one) => placeName(one) === placeName(place));
    return [...(await versionOf(place, transit, facts, row)), ...looseness(place, facts)];
  } catch (error) {
    if (error instanceof TransitRefused) return [failed(error.problem, error.fix)];
    // Whether Vault is there, and lets us in, was said already.
    if (error instanceof VaultUnavailable) return [];
    throw error;
  }
}

async function versionOf(
  place: KeyPlace,
  transit: TransitKey,
  { type, latestVersion, minDecryptionVersion }: TransitFacts,
  row: WrappedRootKey | undefined,
): Promise<Found[]> {
  if (row === undefined) return [ok(`${type}; it encrypts and decrypts; no node has used it for this database yet`)];
  const version = transit.versionOf(row.wrapped);
  if (version < minDecryptionVersion)
    return [
      failed(
        `version ${version} wraps our root key, and Vault decrypts from version ${minDecryptionVersion} on: no node can start`,
        `vault write ${place.mount}/keys/${place.key}/config min_decryption_version=${version}; then cambist keys rewrap`,
      ),
    ];
  try {
    await openExisting([row], [place], row.id, () => transit);
  } catch (error) {
    if (!(error instanceof WrongKeyEncryptionKey)) throw error;
    return [failed('it does not open the root key of this database', 'name the Transit key that wrapped it')];
  }
  if (version < latestVersion)
    return [
      warning(
        `version ${version} wraps our root key, the newest is ${latestVersion}`,
        'cambist keys rewrap',
        placeName(place),
      ),
    ];
  return [ok(`${type}; its version ${version} wraps our root key; it encrypts and decrypts`)];
}

const LOOSE: { readonly [L in TransitFacts['loose'][number]]: { readonly message: string; readonly fix: string } } = {
  exportable: {
    message: 'it is exportable: who may export it has what is encrypted here',
    fix: 'make another one that is not, and move to it (docs/configuration.md, Keys)',
  },
  allow_plaintext_backup: {
    message: 'it allows plaintext backups: who may make one has what is encrypted here',
    fix: 'make another one that does not, and move to it (docs/configuration.md, Keys)',
  },
  deletion_allowed: {
    message: 'it may be deleted, and everything that is encrypted here with it',
    fix: 'vault write KEY/config deletion_allowed=false',
  },
};

function looseness({ mount, key }: KeyPlace, { loose }: TransitFacts): Found[] {
  return loose.map((of) => warning(LOOSE[of].message, LOOSE[of].fix.replace('KEY', `${mount}/keys/${key}`)));
}
