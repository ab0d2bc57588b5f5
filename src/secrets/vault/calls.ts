/**
 * The one place that calls node-vault, and only its generic `request`: what it generates from commands encodes no path,
 * shares headers between calls, takes a child's token for its own and renews in a loop (its faults are listed, with a
 * test each, in test/secrets/vault-faults.test.ts). Each call here has headers of its own, names its token and its
 * namespace, and its path is made of checked segments.
 */
import nodeVault from 'node-vault';
import { createTransport } from './transport.ts';
import type { VaultAnswer } from './transport.ts';

export interface VaultCall {
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** Below `/v1/`: segments with `/` between them, unencoded. A segment that could leave its place throws. */
  readonly path: string;
  readonly body?: Readonly<Record<string, unknown>>;
  /** `undefined` for logins and what needs none. */
  readonly token: string | undefined;
  readonly timeoutMs: number;
  /** For how much longer Vault may go on with what nobody waits for any more; default 0. */
  readonly lingerMs?: number;
  /** For what only the root namespace answers. */
  readonly rootNamespace?: true;
}

export interface VaultCalls {
  /** Whatever Vault answers, but for redirects, comes back as it is; throws VaultUnavailable where nothing did. */
  call(call: VaultCall): Promise<VaultAnswer>;
  close(): Promise<void>;
}

export interface VaultEndpoint {
  readonly address: string;
  readonly namespace: string | undefined;
  readonly caFile: string | undefined;
}

/** Opens no connection yet. */
export function createVaultCalls({ address, namespace, caFile }: VaultEndpoint): VaultCalls {
  const transport = createTransport({ caFile });
  const client = nodeVault({
    endpoint: address,
    apiVersion: 'v1',
    'request-promise': transport,
    // Its own debug output shows bodies.
    debug: () => undefined,
  });
  // What it takes from VAULT_TOKEN, VAULT_NAMESPACE and VAULT_PREFIX by itself.
  Object.assign(client, { token: '', namespace: '', pathPrefix: '' });

  return {
    async call({ method, path, body, token, timeoutMs, lingerMs, rootNamespace }) {
      return (await client.request({
        method,
        path: `/${encodedPath(path)}`,
        headers: {
          // An agent or proxy of Vault may insist on it: a browser cannot send it to another origin.
          'X-Vault-Request': 'true',
          ...(token === undefined ? {} : { 'X-Vault-Token': token }),
          ...(namespace === undefined || rootNamespace === true ? {} : { 'X-Vault-Namespace': namespace }),
        },
        ...(body === undefined ? {} : { json: body }),
        timeoutMs,
        lingerMs,
      })) as VaultAnswer;
    },
    close: () => transport.close(),
  };
}

/** Segments of the grammar of `secretPath` (objects/upstream-templates.ts): none that a server could read otherwise. */
export function isPlainPath(path: string): boolean {
  return path.split('/').every((segment) => /^[A-Za-z0-9._~=@:+-]+$/.test(segment) && !/^\.+$/.test(segment));
}

function encodedPath(path: string): string {
  if (!isPlainPath(path)) throw new Error('a path for Vault has a segment that could lead elsewhere');
  return path.split('/').map(encodeURIComponent).join('/');
}
