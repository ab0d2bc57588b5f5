/**
 * Revocations as the database keeps them: written with their record, found by any node, merged, and listed for the
 * revocation document.
 */
import { expect, test } from 'vitest';
import { createChangeFeed } from '../../src/store/change-feed.ts';
import { runCommitStatement } from '../../src/store/commit-statement.ts';
import type { IssuedRow, RevocationRow } from '../../src/store/commitment.ts';
import type { Database } from '../../src/store/database.ts';
import { createRevocations } from '../../src/store/revocations.ts';
import type { TokenFacts } from '../../src/tokens/revocation.ts';
import { principalDigest } from '../../src/tokens/revocation.ts';
import { withDatabases } from '../support/databases.ts';
import { issuedRow, mark, record } from './fixtures.ts';

const ADA = { issuer: 'https://corp.example', sub: 'ada' };

function facts(changes: Partial<TokenFacts> = {}): TokenFacts {
  return {
    identities: ['own-jti', 'parent'],
    subjects: [ADA],
    actors: [],
    clients: ['agent'],
    resources: ['https://calendar.example/mcp/'],
    issuers: [ADA.issuer],
    kid: 'k1',
    issuedAtSeconds: Math.floor(Date.now() / 1000) - 10,
    ...changes,
  };
}

async function revoke(db: Database, ...revocations: RevocationRow[]): Promise<void> {
  await runCommitStatement(db, [{ marks: [], record: record('refused'), revocations }]);
}

const soon = { issuedUntil: null, lifetimeSeconds: 300 } as const;

withDatabases('revocations', (databases) => {
  async function open() {
    const { db, anotherNode } = await databases.fresh();
    const there = await anotherNode();
    const feed = createChangeFeed(there);
    const revocations = createRevocations(there);
    return { db, find: async (token: TokenFacts) => revocations.find(token, await feed.current()), revocations };
  }

  test('nothing is revoked in the beginning, and the state says so', async () => {
    const { db, find } = await open();
    expect(await createChangeFeed(db).current()).toMatchObject({ revocations: 0, revoking: false });
    expect(await find(facts())).toBeUndefined();
  });

  test.each([
    ['token', 'own-jti'],
    ['token', 'parent'],
    ['subject', principalDigest(ADA)],
    ['client', 'agent'],
    ['resource', 'https://calendar.example/mcp'],
    ['issuer', ADA.issuer],
    ['key', 'k1'],
    ['all', ''],
  ] as const)('a revocation by %s %s is in force on another node with its next request', async (kind, value) => {
    const { db, find } = await open();
    await revoke(db, { kind, value, ...soon });
    expect(await find(facts())).toEqual({ kind, value, issuedUntilSeconds: null });
  });

  test('what was issued up to now is hit, with a margin for clocks that are ahead; what comes later is not', async () => {
    const { db, find } = await open();
    await revoke(db, { kind: 'client', value: 'agent', issuedUntil: 'now', lifetimeSeconds: 300 });
    const now = Math.floor(Date.now() / 1000);
    expect(await find(facts({ issuedAtSeconds: now + 1 }))).toMatchObject({ kind: 'client' });
    expect(await find(facts({ issuedAtSeconds: now + 30 }))).toBeUndefined();
  });

  test('revoked twice, also within one statement, the wider of the two stands', async () => {
    const { db, find } = await open();
    const until = (issuedUntil: number | null): RevocationRow => ({
      kind: 'client',
      value: 'agent',
      issuedUntil,
      lifetimeSeconds: 300,
    });
    await revoke(db, until(100), until(200));
    expect(await find(facts({ issuedAtSeconds: 200 }))).toMatchObject({ issuedUntilSeconds: 200 });
    await revoke(db, until(150));
    expect(await find(facts({ issuedAtSeconds: 200 }))).toMatchObject({ issuedUntilSeconds: 200 });
    await revoke(db, until(null));
    expect(await find(facts())).toMatchObject({ issuedUntilSeconds: null });
    await revoke(db, until(50));
    expect(await find(facts())).toMatchObject({ issuedUntilSeconds: null });
  });

  test('a revocation that is over hits nothing', async () => {
    const { db, find } = await open();
    await revoke(db, { kind: 'key', value: 'k1', issuedUntil: null, lifetimeSeconds: 0 });
    await revoke(db, { kind: 'key', value: 'another', ...soon });
    expect(await find(facts())).toBeUndefined();
  });

  test('a request that lost its mark revokes nothing', async () => {
    const { db, find } = await open();
    const [first, second] = [record('issued'), record('refused')];
    const revocations = [{ kind: 'client', value: 'agent', ...soon }] as const;
    await runCommitStatement(db, [{ marks: [mark('m', first)], record: first }]);
    await runCommitStatement(db, [{ marks: [mark('m', second)], record: second, revocations }]);
    expect(await find(facts())).toBeUndefined();
  });

  test('the document is told of live tokens that descend from a revoked one, also of those committed later', async () => {
    const { db, revocations } = await open();
    const issue = ({ jti = '', ...row }: Partial<IssuedRow>) =>
      runCommitStatement(db, [{ marks: [], record: record('issued'), issued: issuedRow(jti, row) }]);
    const live = {
      issuedAtSeconds: Math.floor(Date.now() / 1000),
      expiresAtSeconds: Math.floor(Date.now() / 1000) + 300,
    };
    await issue({ jti: 'a', ancestors: ['root'], ...live });
    await issue({ jti: 'b', ancestors: ['a', 'root'], ...live });
    await issue({ jti: 'dead', ancestors: ['a'], issuedAtSeconds: 1, expiresAtSeconds: 2 });
    await issue({ jti: 'other', ancestors: ['root'], ...live });
    await revoke(db, { kind: 'token', value: 'a', ...soon }, { kind: 'key', value: 'k', ...soon });
    await issue({ jti: 'late', ancestors: ['b', 'a'], ...live });
    const inForce = await revocations.inForce({ ownLifetimeSeconds: 900, tokensMax: 10 });
    expect(inForce.tokens.map(({ jti }) => jti)).toEqual(['a', 'b', 'late']);
    expect(inForce.predicates).toEqual([{ kind: 'key', value: 'k', issuedUntilSeconds: null }]);
  });

  test('predicates that can hit no living token of ours are not in the document', async () => {
    const { db, revocations } = await open();
    const now = Math.floor(Date.now() / 1000);
    const until = (value: string, issuedUntil: number): RevocationRow => ({
      kind: 'client',
      value,
      issuedUntil,
      lifetimeSeconds: 86_400,
    });
    await revoke(db, until('old', now - 1000), until('recent', now - 100));
    const { predicates } = await revocations.inForce({ ownLifetimeSeconds: 900, tokensMax: 10 });
    expect(predicates.map(({ value }) => value)).toEqual(['recent']);
  });
});
