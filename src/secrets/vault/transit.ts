/**
 * A key of Vault's Transit engine that wraps our root key. Bound to its row by associated data, and by the context for
 * keys that are derived: a wrapped key in another row does not open. `transit/rewrap` knows no associated data, so a key
 * is wrapped anew from memory. It never makes a key at Vault: `encrypt` would, where the policy lets it and a name is
 * misspelt.
 */
import { Unavailable } from '../../core/refusal.ts';
import { WrongKeyEncryptionKey } from '../../store/envelope.ts';
import type { KeyPlace, KeyWrapper } from '../../store/root-keys.ts';
import { placeName } from '../../store/root-keys.ts';
import { isJsonObject } from '../../tokens/strict-json.ts';
import { saidBy } from './fault.ts';
import type { VaultSession } from './session.ts';
import type { VaultAnswer } from './transport.ts';

/** Vault answers, and does not let us use the key. */
export class TransitRefused extends Unavailable {
  override readonly name = 'TransitRefused';
  readonly problem: string;
  readonly fix: string;

  constructor(problem: string, fix: string) {
    super('vault', `${problem}: ${fix}`);
    this.problem = problem;
    this.fix = fix;
  }
}

/** What Vault tells of a key, without its material. */
export interface TransitFacts {
  readonly type: string;
  readonly latestVersion: number;
  readonly minDecryptionVersion: number;
  /** Ways by which the material could leave Vault, or the key be lost, by the name of the setting at Vault. */
  readonly loose: readonly ('exportable' | 'allow_plaintext_backup' | 'deletion_allowed')[];
}

export interface TransitKey extends KeyWrapper {
  /** Throws TransitRefused where there is no such key, it may not be read, or it cannot wrap. */
  facts(): Promise<TransitFacts>;
}

/** Those that bind what they encrypt to associated data. */
const AEAD_TYPES = /^(aes(128|192|256)-gcm96|x?chacha20-poly1305)$/;

export function createTransitKey(session: Pick<VaultSession, 'ask'>, place: KeyPlace): TransitKey {
  const { mount, key } = place;
  const name = placeName(place);
  const pathOf = (verb: string) => `${mount}/${verb}/${key}`;
  const ask = (verb: string, body: Record<string, string>) =>
    session.ask({ method: 'POST', path: pathOf(verb), body, repeat: 'safe' });

  function refused(verb: string, answer: VaultAnswer): Error {
    const path = pathOf(verb);
    const said = saidBy(answer.body) ?? `status ${answer.status}`;
    if (answer.status === 403)
      return new TransitRefused(
        `the policy of Vault does not let Cambist use the Transit key ${name}`,
        `add to the policy: path "${path}" { capabilities = ["${verb === 'keys' ? 'read' : 'update'}"] }`,
      );
    if (answer.status === 404 || /key not found/.test(said))
      return new TransitRefused(
        `there is no Transit key ${name}`,
        `correct key_encryption.transit, or make it: vault secrets enable -path=${mount} transit; ` +
          `vault write -f ${mount}/keys/${key}`,
      );
    if (/too old/.test(said))
      return new TransitRefused(
        `min_decryption_version of the Transit key ${name} is above the version that wrapped our root key`,
        `lower it (vault write ${mount}/keys/${key}/config min_decryption_version=…), then run cambist keys rewrap`,
      );
    return new TransitRefused(`the Transit key ${name} cannot be used (${said})`, 'cambist doctor says more');
  }

  async function facts(): Promise<TransitFacts> {
    const answer = await session.ask({ method: 'GET', path: pathOf('keys'), repeat: 'safe' });
    const data = answer.body?.['data'];
    if (answer.status !== 200 || !isJsonObject(data)) throw refused('keys', answer);
    const { type, latest_version: latest, min_decryption_version: least } = data;
    if (typeof type !== 'string' || !AEAD_TYPES.test(type))
      throw new TransitRefused(
        `the Transit key ${name} is of type ${String(type)}, which cannot bind what it wraps to its row`,
        'make another one, of type aes256-gcm96',
      );
    const loose = (['exportable', 'allow_plaintext_backup', 'deletion_allowed'] as const).filter(
      (of) => data[of] === true,
    );
    return { type, latestVersion: Number(latest), minDecryptionVersion: Number(least), loose };
  }

  return {
    facts,
    async wrap(bytes, boundTo) {
      await facts();
      const answer = await ask('encrypt', { plaintext: base64(bytes), ...binding(boundTo) });
      const wrapped = textOf(answer, 'ciphertext');
      if (wrapped === undefined) throw refused('encrypt', answer);
      return wrapped;
    },
    async unwrap(wrapped, boundTo) {
      const answer = await ask('decrypt', { ciphertext: wrapped, ...binding(boundTo) });
      const plaintext = textOf(answer, 'plaintext');
      if (plaintext !== undefined) return new Uint8Array(Buffer.from(plaintext, 'base64'));
      if (answer.status === 400 && /authentication failed|invalid ciphertext/.test(saidBy(answer.body) ?? ''))
        throw new WrongKeyEncryptionKey(
          `the Transit key ${name} is not the one that the root key was wrapped by: give the key that it was wrapped ` +
            'by in key_encryption.transit (or previous_transit); or what is wrapped was altered. ' +
            'There is no way to read the keys of this database without it.',
        );
      throw refused('decrypt', answer);
    },
    versionOf: (wrapped) => Number(/^vault:v(\d+):/.exec(wrapped)?.[1]),
  };
}

function binding(boundTo: string): { associated_data: string; context: string } {
  return { associated_data: base64(Buffer.from(boundTo)), context: base64(Buffer.from(boundTo)) };
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}

function textOf({ status, body }: VaultAnswer, field: string): string | undefined {
  const data = body?.['data'];
  const text = isJsonObject(data) ? data[field] : undefined;
  return status === 200 && typeof text === 'string' ? text : undefined;
}
