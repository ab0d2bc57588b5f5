/**
 * Back to a backup, with a real PostgreSQL: what was signed, used up or revoked around the backup must not come back to
 * life, and whoever comes again must be served.
 */
import { randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  createLocalJWKSet,
  errors,
  exportJWK,
  generateKeyPair,
  jwtVerify,
  SignJWT,
  decodeJwt,
  decodeProtectedHeader,
} from 'jose';
import type { CryptoKey, JSONWebKeySet } from 'jose';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { freePort } from '../../conformance/targets/process.ts';
import { createLogger } from '../../src/core/log.ts';
import { takeBackup } from '../../src/store/backup.ts';
import type { Database } from '../../src/store/database.ts';
import { createEnvelope } from '../../src/store/envelope.ts';
import { openDatabase } from '../../src/store/open.ts';
import type { RestoreSummary } from '../../src/store/restore.ts';
import { spawnCambist, startCambist, TEST_KEY } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import { startPostgres, withPostgres } from '../support/databases.ts';
import type { PostgresCluster } from '../support/databases.ts';
import { postForm } from '../support/token-client.ts';
import type { TokenAnswer } from '../support/token-client.ts';
import { startWireTap } from '../support/wire-tap.ts';
import { restoreInPlace } from './restoring.ts';

const CORP = 'https://corp.test';
const NOTES = 'https://notes.test/mcp';
const KID = 'key-of-the-test';
const objects = (jwk: unknown) => `
issuers:
  - {name: corp, issuer: '${CORP}', jwks: {keys: [${JSON.stringify(jwk)}]}, algorithms: [ES256]}
clients:
  - {id: agent, auth: [client_secret_basic]}
  - {id: signer, auth: [private_key_jwt], jwks: {keys: [${JSON.stringify(jwk)}]}, algorithms: [ES256]}
  - {id: notes-server, auth: [client_secret_basic]}
resources: [{name: notes, uri: '${NOTES}', scopes: {read: Read}, default_scopes: [read], served_by: [notes-server]}]
policies:
  - id: all
    cedar: |
      permit (principal, action == Action::"access", resource in Resource::"${NOTES}");
      permit (principal == Client::"agent", action == Action::"act", resource in Resource::"${NOTES}");
`;
const silent = createLogger('silent');
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const TYPE = 'urn:ietf:params:oauth:token-type:';
/** The restored node runs a little later than the restore: what was issued in its first seconds is refused too. */
const LATER_MS = 30_000;

withPostgres('a restore', () => {
  let cluster: PostgresCluster;
  let folder: string;
  let signingKey: CryptoKey;
  let database: Database;
  let cambist: TestCambist;
  let summary: RestoreSummary;
  /** What was valid before the restore. */
  const old = { issuedBefore: '', revokedSince: '', issuedSince: '', assertionUsedSince: '', signIn: '' };

  const open = () =>
    openDatabase({ source: { engine: 'postgresql', url: cluster.url }, migrate: true, logger: silent });
  const sign = (claims: Readonly<Record<string, unknown>>, nowMs = Date.now()) =>
    new SignJWT({ jti: randomUUID(), ...claims })
      .setProtectedHeader({ alg: 'ES256', kid: KID, typ: 'JWT' })
      .setIssuedAt(Math.floor(nowMs / 1000))
      .setExpirationTime(Math.floor(nowMs / 1000) + 300)
      .sign(signingKey);
  const assertionOf = (nowMs?: number) => sign({ iss: 'signer', sub: 'signer', aud: cambist.issuer }, nowMs);
  const signInOf = (nowMs?: number) => sign({ iss: CORP, sub: 'alice', aud: cambist.issuer }, nowMs);

  const bySecret = () =>
    cambist.token(
      { grant_type: 'client_credentials', resource: NOTES },
      { basic: ['agent', cambist.secretOf('agent')] },
    );
  const byAssertion = (assertion: string) =>
    cambist.token({
      grant_type: 'client_credentials',
      resource: NOTES,
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      client_assertion: assertion,
    });
  const exchange = (subjectToken: string, type: string) =>
    cambist.token(
      { grant_type: EXCHANGE, resource: NOTES, subject_token: subjectToken, subject_token_type: TYPE + type },
      { basic: ['agent', cambist.secretOf('agent')] },
    );
  const isActive = async (token: string) =>
    (
      await postForm(
        `${cambist.url}/oauth2/introspect`,
        { token },
        { basic: ['notes-server', cambist.secretOf('notes-server')] },
      )
    ).body.active;
  const tokenOf = ({ status, text, body }: TokenAnswer): string => {
    expect(status, text).toBe(200);
    return body.access_token;
  };

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'cambist-restore-'));
    cluster = await startPostgres();
    const pair = await generateKeyPair('ES256');
    signingKey = pair.privateKey;
    const jwk = { ...(await exportJWK(pair.publicKey)), kid: KID, alg: 'ES256', use: 'sig' };
    database = await open();
    cambist = await startCambist({ objects: objects(jwk), database });
    const envelope = createEnvelope(TEST_KEY);
    const file = join(folder, 'backup');

    old.issuedBefore = tokenOf(await bySecret());
    old.revokedSince = tokenOf(await bySecret());
    old.signIn = await signInOf();
    tokenOf(await exchange(old.signIn, 'id_token'));
    await takeBackup(database, envelope, file);
    old.issuedSince = tokenOf(await bySecret());
    old.assertionUsedSince = await assertionOf();
    tokenOf(await byAssertion(old.assertionUsedSince));
    const revoked = await postForm(
      `${cambist.url}/oauth2/revoke`,
      { token: old.revokedSince },
      { basic: ['agent', cambist.secretOf('agent')] },
    );
    expect(revoked.status).toBe(200);
    expect(await isActive(old.issuedBefore)).toBe(true);
    expect(await isActive(old.issuedSince)).toBe(true);

    await cambist.stop();
    await database.close();
    summary = await restoreInPlace(cluster.url, file);

    database = await open();
    const clock = { nowMs: () => Date.now() + LATER_MS };
    cambist = await startCambist({ objects: '', database, joins: cambist, settings: { clock } });
  }, 120_000);
  afterAll(async () => {
    await cambist.stop();
    await database.close();
    await cluster.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  test('a client assertion that was used after the backup, whose mark is gone with it, is not accepted again (R5)', async () => {
    expect(await database.query('SELECT FROM replay_mark')).toEqual([]);
    const { status, body } = await byAssertion(old.assertionUsedSince);
    expect({ status, error: body.error }).toEqual({ status: 401, error: 'invalid_client' });
  });

  test.each(['issuedBefore', 'revokedSince', 'issuedSince'] as const)('a token of ours (%s) is dead', async (which) => {
    expect(await isActive(old[which])).toBe(false);
    const { status, body } = await exchange(old[which], 'access_token');
    expect({ status, error: body.error }).toEqual({ status: 400, error: 'invalid_request' });
  });

  test('a sign-in from before the restore is refused: what was revoked of it is not known any more', async () => {
    const { status, body } = await exchange(old.signIn, 'id_token');
    expect({ status, error: body.error }).toEqual({ status: 400, error: 'invalid_request' });
  });

  test('whoever comes again is served: by secret, by a new assertion, by a new sign-in', async () => {
    const later = Date.now() + LATER_MS;
    const token = tokenOf(await bySecret());
    expect(await isActive(token)).toBe(true);
    tokenOf(await byAssertion(await assertionOf(later)));
    tokenOf(await exchange(await signInOf(later), 'id_token'));
  });

  test('the keys of the backup are tainted and revoked, for whoever has the backup may have them: not published, nothing is signed with them', async () => {
    const { kid = '' } = decodeProtectedHeader(old.issuedBefore);
    const jwks = (await (await fetch(`${cambist.url}/oauth2/jwks`)).json()) as JSONWebKeySet;
    expect(jwks.keys.map((key) => key.kid)).not.toContain(kid);
    await expect(jwtVerify(old.issuedBefore, createLocalJWKSet(jwks))).rejects.toThrow(errors.JWKSNoMatchingKey);
    const states = await database.query('SELECT state, sealed_private FROM signing_key WHERE kid = $1', [kid]);
    expect(states).toEqual([{ state: 'tainted', sealed_private: null }]);
    expect(decodeProtectedHeader(tokenOf(await bySecret())).kid).not.toBe(kid);
    const document = await (await fetch(`${cambist.url}/oauth2/revocations`)).text();
    expect(decodeJwt(document)['predicates']).toContainEqual({ kind: 'key', value: kid });
  });

  test('the records from before are there, and one that says what was restored, in the new epoch', async () => {
    const rows = await database.query<any>(
      `SELECT kind, epoch, convert_from(canonical, 'UTF8') AS text FROM audit_record ORDER BY recorded_at, id`,
    );
    expect(rows.filter(({ kind, epoch }: any) => kind === 'issued' && epoch === 1)).toHaveLength(3);
    const oldKid = decodeProtectedHeader(old.issuedBefore).kid;
    const restored = rows.filter(({ text }: any) => text.includes('"restored"'));
    expect(restored).toHaveLength(1);
    expect(restored[0].epoch).toBe(summary.epoch);
    expect(JSON.parse(restored[0].text).change).toMatchObject({
      author: 'local:test',
      restored: { epoch: 2, from: summary.taken_at, tainted_keys: expect.arrayContaining([oldKid]) },
    });
  });
});

withPostgres('a restore behind the back of a node', () => {
  test('a node that was cut off serves nobody from what it has of before, and ends, so that it is started anew', async () => {
    const [cluster, tap, folder] = [
      await startPostgres(),
      await startWireTap(),
      mkdtempSync(join(tmpdir(), 'cambist-restore-')),
    ];
    const source = { engine: 'postgresql', url: cluster.url } as const;
    const through = new URL(cluster.url);
    tap.leadTo(Number(through.port));
    through.port = new URL(tap.url).port;
    const database = await openDatabase({ source, migrate: true, logger: silent });
    const node = await spawnCambist({ databaseUrl: through.href });
    try {
      const objects = (more: string) => {
        const file = join(folder, 'objects.yaml');
        writeFileSync(file, `clients: [{ id: agent, auth: [client_secret_basic] }${more}]`);
        return node.command('apply', '-f', file);
      };
      const secretOf = async (client: string) => {
        const file = join(folder, client);
        await node.command('client', 'secret', client, '--out', file);
        return readFileSync(file, 'utf8').trim();
      };
      await objects('');
      const secret = await secretOf('agent');
      const envelope = createEnvelope(TEST_KEY);
      await takeBackup(database, envelope, join(folder, 'backup'));
      await database.close();
      // What the restore undoes, and the node has in memory.
      await objects(', { id: later, auth: [client_secret_basic] }');
      const laterSecret = await secretOf('later');
      const askAs = async (client: string, itsSecret: string) =>
        (
          await postForm(
            `${node.url}/oauth2/token`,
            { grant_type: 'client_credentials' },
            { basic: [client, itsSecret] },
          )
        ).status;
      const askBoth = async () => [await askAs('agent', secret), await askAs('later', laterSecret)];
      const before = await askBoth();

      tap.leadTo(await freePort());
      tap.cut();
      await restoreInPlace(cluster.url, join(folder, 'backup'));
      const statuses = [await askBoth()];
      tap.leadTo(Number(new URL(cluster.url).port));
      const life = { over: false };
      void node.ended.then(() => (life.over = true));
      while (!life.over) statuses.push(await askBoth().catch(() => []));
      expect({ before, after: [...new Set(statuses.flat())] }).toEqual({ before: [200, 200], after: [503] });
      const said = readFileSync(node.logFile, 'utf8');
      expect(said).toContain('the database was restored, or replaced by another one, under this node: start it anew');
    } finally {
      node.kill();
      node.remove();
      await Promise.all([tap.stop(), cluster.stop()]);
      rmSync(folder, { recursive: true, force: true });
    }
  }, 90_000);
});
