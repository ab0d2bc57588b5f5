/**
 * The secrets of the demo company, made once per clone and kept under `.cambist/demo/`, readable by their owner only:
 * Ada's password, the travel portal's client secret, the identity provider's keys. None of them is in the repository.
 */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { JWK } from 'oidc-provider';

export interface DemoIdentities {
  readonly adaPassword: string;
  readonly portalSecret: string;
  readonly cookieKey: string;
  /** Private, RS256: what most companies' providers sign with. */
  readonly providerKey: JWK;
}

/** Reads the secrets of this clone, or makes them. */
export function loadIdentities(file: string): DemoIdentities {
  if (existsSync(file)) return JSON.parse(readFileSync(file, 'utf8')) as DemoIdentities;
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const identities: DemoIdentities = {
    adaPassword: randomBytes(18).toString('base64url'),
    portalSecret: randomBytes(32).toString('base64url'),
    cookieKey: randomBytes(32).toString('base64url'),
    providerKey: {
      ...(privateKey.export({ format: 'jwk' }) as JWK),
      alg: 'RS256',
      use: 'sig',
      kid: randomBytes(8).toString('hex'),
    },
  };
  writePrivately(file, `${JSON.stringify(identities, undefined, 2)}\n`);
  return identities;
}

/** Makes a folder that only its owner may enter. */
export function makePrivateFolder(folder: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  chmodSync(folder, 0o700);
}

/** Writes a file with mode 0600 at once: a reader sees the old content or the new one, never half of it. */
export function writePrivately(file: string, content: string): void {
  makePrivateFolder(dirname(file));
  writeFileSync(`${file}.new`, content, { mode: 0o600 });
  renameSync(`${file}.new`, file);
}
