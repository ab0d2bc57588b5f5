/**
 * F4: the database's disk is full. A small filesystem cannot be mounted everywhere, so PostgreSQL is made to say what it
 * says then (53100, disk_full), by triggers on the tables that commits write; docs/runbooks/database-full.md was tried
 * on a disk that was full.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createLogger } from '../../src/core/log.ts';
import type { Database } from '../../src/store/database.ts';
import { openDatabase } from '../../src/store/open.ts';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import { startPostgres, withPostgres } from '../support/databases.ts';
import type { PostgresCluster } from '../support/databases.ts';
import { withClient } from '../support/postgres-cluster.ts';
import { claimsOf, postForm } from '../support/token-client.ts';
import { disagreements, openBooks } from './ledger.ts';
import type { Seen } from './ledger.ts';

const NOTES = 'https://notes.test/mcp';
const OBJECTS = `
clients:
  - {id: agent, auth: [client_secret_basic]}
  - {id: notes-server, auth: [client_secret_basic]}
resources: [{name: notes, uri: '${NOTES}', scopes: {read: Read}, default_scopes: [read], served_by: [notes-server]}]
policies: [{id: all, cedar: 'permit (principal, action == Action::"access", resource);'}]
`;
const WRITTEN = ['audit_record', 'issued_token', 'replay_mark', 'revocation', 'object_change'];

withPostgres('F4, a disk that is full (simulated: PostgreSQL answers 53100)', () => {
  let cluster: PostgresCluster;
  let database: Database;
  let cambist: TestCambist;
  const seen: Seen[] = [];

  const statements = async (...texts: readonly string[]) =>
    withClient(cluster.url, async (client) => {
      for (const text of texts) await client.query(text);
    });
  const fill = () =>
    statements(
      `CREATE OR REPLACE FUNCTION public.disk_full() RETURNS trigger LANGUAGE plpgsql AS
       $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$`,
      ...WRITTEN.map(
        (table) =>
          `CREATE TRIGGER disk_full BEFORE INSERT ON cambist.${table} FOR EACH STATEMENT EXECUTE FUNCTION public.disk_full()`,
      ),
    );
  const free = () => statements(...WRITTEN.map((table) => `DROP TRIGGER IF EXISTS disk_full ON cambist.${table}`));

  async function askToken() {
    const answer = await cambist.token(
      { grant_type: 'client_credentials', resource: NOTES },
      { basic: ['agent', cambist.secretOf('agent')] },
    );
    seen.push({
      outcome: answer.status === 200 ? 'issued' : answer.status === 503 ? 'unavailable' : 'other',
      requestId: answer.headers.get('cambist-request-id') ?? undefined,
      jti: answer.status === 200 ? claimsOf(answer.body.access_token).jti : undefined,
    });
    return answer;
  }
  const introspect = (token: string) =>
    postForm(
      `${cambist.url}/oauth2/introspect`,
      { token },
      { basic: ['notes-server', cambist.secretOf('notes-server')] },
    );

  beforeAll(async () => {
    cluster = await startPostgres();
    const source = { engine: 'postgresql' as const, url: cluster.url };
    database = await openDatabase({ source, migrate: true, logger: createLogger('silent') });
    cambist = await startCambist({ objects: OBJECTS, database });
  });
  afterAll(async () => {
    await cambist.stop();
    await database.close();
    await cluster.stop();
  });

  describe('while it is full', () => {
    let token: string;
    beforeAll(async () => {
      token = (await askToken()).body.access_token;
      await fill();
    });
    afterAll(free);

    test('no token is issued: 503 with Retry-After, and the cause is nobody’s to read', async () => {
      for (let round = 0; round < 20; round++) {
        const { status, headers, text } = await askToken();
        expect(status).toBe(503);
        expect(headers.get('retry-after')).toMatch(/^\d+$/);
        expect(text).not.toMatch(/disk|space|53100/i);
      }
      expect(await database.query('SELECT FROM issued_token')).toHaveLength(1);
    });

    test('the JWKS, the metadata and introspection by secret go on', async () => {
      for (const path of ['/oauth2/jwks', '/.well-known/oauth-authorization-server'])
        expect((await fetch(cambist.url + path)).status).toBe(200);
      expect((await introspect(token)).body).toMatchObject({ active: true, client_id: 'agent' });
    });

    test('a revocation that cannot be written is not acknowledged', async () => {
      const { status } = await postForm(
        `${cambist.url}/oauth2/revoke`,
        { token },
        { basic: ['agent', cambist.secretOf('agent')] },
      );
      expect(status).toBe(503);
      expect((await introspect(token)).body).toMatchObject({ active: true });
    });

    test('nothing is changed: a change of objects fails whole', async () => {
      await expect(cambist.disable('client', 'agent')).rejects.toMatchObject({ dependency: 'database' });
      expect(await database.query('SELECT FROM object WHERE disabled')).toEqual([]);
    });
  });

  test('when there is room again tokens are issued by themselves, and the books agree', async () => {
    const { status, body } = await askToken();
    expect(status).toBe(200);
    expect((await introspect(body.access_token)).body).toMatchObject({ active: true });
    expect(disagreements(await openBooks(cambist, seen))).toEqual([]);
  });
});
