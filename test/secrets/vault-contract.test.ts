/** Vault keeps the contract of every secret store, on its KV v2 engine. */
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { afterAll, beforeAll, onTestFinished } from 'vitest';
import { openAdapter } from '../support/vault-adapter.ts';
import { withVault } from '../support/vault.ts';
import type { TestVault } from '../support/vault.ts';
import { declareSecretStoreContract } from './contract.ts';

withVault('Vault keeps the contract of secret stores', (start) => {
  let vault: TestVault;
  beforeAll(async () => {
    vault = await start();
  });
  afterAll(() => vault.stop());

  declareSecretStoreContract(async () => {
    const wire = await breakableWire(vault.address);
    const adapter = () => openAdapter(wire, { login: { method: 'token', token: vault.rootToken }, timeoutMs: 1_000 });
    return {
      store: adapter(),
      async write(path, fields, tags = {}) {
        await vault.root('POST', `secret/data/${path}`, { data: fields });
        await vault.root('POST', `secret/metadata/${path}`, { custom_metadata: tags });
      },
      remove: async (path) => {
        await vault.root('DELETE', `secret/metadata/${path}`);
      },
      anotherNode: () => Promise.resolve(adapter()),
      breakDown: () => wire.cut(),
    };
  });
});

/** The way to Vault, which can be cut. */
async function breakableWire(address: string): Promise<{ readonly address: string; cut(): Promise<void> }> {
  const { port } = new URL(address);
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect(Number(port), '127.0.0.1');
    for (const socket of [near, far]) sockets.add(socket.on('error', () => undefined));
    near.pipe(far).pipe(near);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const cut = () => {
    for (const socket of sockets) socket.destroy();
    return new Promise<void>((resolve) => server.close(() => resolve()));
  };
  onTestFinished(cut);
  return { address: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, cut };
}
