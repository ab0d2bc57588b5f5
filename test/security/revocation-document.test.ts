/**
 * The revocation document: what servers that verify offline are told. It is signed for this purpose alone, names no
 * person, holds everything that can hit a living token and nothing else, stays small, and is never made up.
 */
import { createLocalJWKSet, decodeProtectedHeader, jwtVerify } from 'jose';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createLogger } from '../../src/core/log.ts';
import { Unavailable } from '../../src/core/refusal.ts';
import type { Kind } from '../../src/objects/kinds.ts';
import { openDatabase } from '../../src/store/open.ts';
import type { Database } from '../../src/store/database.ts';
import { principalDigest } from '../../src/tokens/revocation.ts';
import { claimsOf } from '../support/token-client.ts';
import { CALENDAR, NOTES, POD, startCompany } from './company.ts';
import type { Company } from './company.ts';
import { askHop, readDocument, tokenFor, tokenOf } from './status.ts';

let company: Company;
let database: Database;
let isDown = false;
beforeAll(async () => {
  const logger = createLogger('silent');
  database = await openDatabase({ source: { engine: 'pglite', dataDir: 'memory' }, migrate: true, logger });
  company = await startCompany({
    database: {
      ...database,
      query: (text, values, options) =>
        isDown ? Promise.reject(new Unavailable('database', 'it is down')) : database.query(text, values, options),
    },
  });
});
afterAll(async () => {
  await company.stop();
  await database.close();
});
beforeEach(async () => {
  isDown = false;
  await run('DELETE FROM revocation');
  await nextDocument();
});

const url = () => `${company.cambist.url}/oauth2/revocations`;
const run = (sql: string, ...values: unknown[]) => database.query(sql, values, { name: `test ${sql}` });
const ada = () => principalDigest({ issuer: company.corp.issuer, sub: 'ada' });

describe('its form', () => {
  it('verifies with its own keys, says what it is, and lives a minute', async () => {
    const { iss, iat, exp } = await readDocument(company.cambist);
    expect({ iss, lifetime: exp - iat }).toEqual({ iss: company.cambist.issuer, lifetime: 60 });
    expect(Math.abs(iat - Date.now() / 1000)).toBeLessThan(10);
    const response = await fetch(url());
    expect(response.headers.get('content-type')).toBe('application/jwt');
    expect(decodeProtectedHeader(await response.text())).toEqual({
      alg: 'ES256',
      kid: expect.any(String),
      typ: 'cambist-revocations+jwt',
    });
  });

  it('and access tokens share no key: neither verifies with the keys of the other', async () => {
    const keysAt = async (path: string) => (await (await fetch(`${company.cambist.url}${path}`)).json()) as any;
    const [tokenKeys, documentKeys] = [await keysAt('/oauth2/jwks'), await keysAt('/oauth2/revocations/jwks')];
    const kids = ({ keys }: any): string[] => keys.map(({ kid }: any) => kid);
    expect(kids(documentKeys).length).toBeGreaterThan(0);
    expect(kids(tokenKeys).filter((kid) => kids(documentKeys).includes(kid))).toEqual([]);
    const document = await (await fetch(url())).text();
    await expect(jwtVerify(document, createLocalJWKSet(tokenKeys))).rejects.toThrow(/no applicable key/);
    const token = await tokenFor(company);
    await expect(jwtVerify(token, createLocalJWKSet(documentKeys))).rejects.toThrow(/no applicable key/);
    for (const { d } of [...tokenKeys.keys, ...documentKeys.keys]) expect(d).toBeUndefined();
  });

  it('may be kept for a second, asked for by its tag, and read by scripts', async () => {
    const first = await fetch(url());
    const etag = first.headers.get('etag') ?? '';
    expect(etag).toMatch(/^"[\w-]+"$/);
    expect(first.headers.get('cache-control')).toBe('public, max-age=1');
    expect(first.headers.get('access-control-allow-origin')).toBe('*');
    expect(first.headers.get('access-control-expose-headers')).toBe('ETag');
    const again = await fetch(url(), { headers: { 'if-none-match': etag } });
    expect([again.status, await again.text(), again.headers.get('etag')]).toEqual([304, '', etag]);
    // As after a proxy that compresses.
    expect((await fetch(url(), { headers: { 'if-none-match': `"x", W/${etag}` } })).status).toBe(304);
    expect(again.headers.get('cache-control')).toBe('public, max-age=1');
    const preflight = await fetch(url(), {
      method: 'OPTIONS',
      headers: { 'access-control-request-method': 'GET', 'access-control-request-headers': 'if-none-match' },
    });
    expect(preflight.headers.get('access-control-allow-headers')).toMatch(/If-None-Match/i);
    // A revocation makes another document.
    await company.revoke(await tokenFor(company));
    expect((await fetch(url(), { headers: { 'if-none-match': etag } })).status).toBe(200);
  });

  it('is made anew in time, also when nothing happens', async () => {
    const { iat } = await readDocument(company.cambist);
    try {
      company.holdClock(iat + 6);
      expect((await readDocument({ ...company.cambist })).iat).toBe(iat + 6);
    } finally {
      company.holdClock(undefined);
    }
  });

  it('is 503 when the database is down: never an old one, never an empty one', async () => {
    const token = await tokenFor(company);
    await company.revoke(token);
    expect((await readDocument(company.cambist)).tokens).toEqual([claimsOf(token).jti]);
    isDown = true;
    const response = await fetch(url());
    expect(response.status).toBe(503);
    expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(await response.json()).toMatchObject({ error: 'temporarily_unavailable' });
    // Its keys need no database.
    expect((await fetch(`${url()}/jwks`)).status).toBe(200);
    isDown = false;
    expect((await readDocument(company.cambist)).tokens).toEqual([claimsOf(token).jti]);
  });
});

describe('its content', () => {
  it('a revoked token, all that was exchanged from it, and what is exchanged from it meanwhile', async () => {
    const first = await tokenFor(company, { scope: 'notes:write' });
    const hop = tokenOf(await askHop(company, first));
    await company.revoke(first);
    const { tokens, predicates } = await readDocument(company.cambist);
    expect([...tokens].sort()).toEqual([claimsOf(first).jti, claimsOf(hop).jti].sort());
    expect(predicates).toEqual([]);
  });

  it('R23 what an operator revoked, and no person in clear', async () => {
    await company.operations.revoke({ by: 'subject', value: 'corp:ada' });
    await company.operations.revoke({ by: 'actor', value: `kubernetes:${POD}` });
    await company.operations.revoke({ by: 'resource', value: 'notes' });
    await company.operations.revoke({ by: 'all', issuedBefore: new Date(Date.now() - 5000).toISOString() });
    const document = await readDocument(company.cambist);
    const until = expect.any(Number);
    expect(document.predicates).toEqual(
      expect.arrayContaining([
        { kind: 'subject', value: ada(), issued_until: until },
        {
          kind: 'actor',
          value: principalDigest({ issuer: company.kubernetes.issuer, sub: POD }),
          issued_until: until,
        },
        { kind: 'resource', value: NOTES, issued_until: until },
        { kind: 'all', issued_until: until },
      ]),
    );
    const clear = JSON.stringify(document);
    for (const name of ['ada', POD]) expect(clear).not.toContain(name);
  });

  it.each<[Kind, string, () => readonly unknown[]]>([
    ['client', 'agent', () => [{ kind: 'client', value: 'agent' }]],
    ['resource', 'calendar', () => [{ kind: 'resource', value: CALENDAR }]],
    ['issuer', 'corp', () => [{ kind: 'issuer', value: company.corp.issuer }]],
    [
      'subject',
      'corp:ada',
      () => [
        { kind: 'subject', value: ada() },
        { kind: 'actor', value: ada() },
      ],
    ],
  ])('A4 a %s from when it is disabled until it is enabled', async (kind, name, expected) => {
    expect((await readDocument(company.cambist)).predicates).toEqual([]);
    await company.cambist.disable(kind, name);
    try {
      expect((await readDocument(company.cambist)).predicates).toEqual(expected());
    } finally {
      await company.cambist.enable(kind, name);
    }
    expect((await readDocument(company.cambist)).predicates).toEqual([]);
  });

  it('A4 a client and a resource that were removed; not a subject, who may go on without an entry', async () => {
    const { service } = company.cambist;
    const passing = `
clients: [{ id: passing, auth: [client_secret_basic] }]
resources: [{ name: passing, uri: 'https://passing.example/mcp', scopes: { 'p:read': Read } }]
subjects: [{ issuer: corp, sub: passing }]
`;
    await company.cambist.apply(passing);
    const by = { author: 'test', origin: 'test' };
    await service.objects.change([{ type: 'remove', kind: 'subject', name: 'corp:passing' }], by);
    expect((await readDocument(company.cambist)).predicates).toEqual([]);
    await service.objects.change([{ type: 'remove', kind: 'client', name: 'passing' }], by);
    await service.objects.change([{ type: 'remove', kind: 'resource', name: 'passing' }], by);
    expect((await readDocument(company.cambist)).predicates).toEqual([
      { kind: 'client', value: 'passing' },
      { kind: 'resource', value: 'https://passing.example/mcp' },
    ]);
    await company.cambist.apply(passing);
    expect((await readDocument(company.cambist)).predicates).toEqual([]);
  });

  it('A4 what `apply` says is disabled, as what `disable` does', async () => {
    const visitor = (disabled: boolean) => `
clients: [{ id: visitor, auth: [client_secret_basic], disabled: ${disabled} }]
subjects: [{ issuer: corp, sub: ada, disabled: ${disabled} }]
`;
    await company.cambist.apply(visitor(false));
    expect((await readDocument(company.cambist)).predicates).toEqual([]);
    await company.cambist.apply(visitor(true));
    try {
      expect((await readDocument(company.cambist)).predicates).toEqual([
        { kind: 'client', value: 'visitor' },
        { kind: 'subject', value: ada() },
        { kind: 'actor', value: ada() },
      ]);
    } finally {
      await company.cambist.apply(visitor(false));
    }
    expect((await readDocument(company.cambist)).predicates).toEqual([]);
  });

  it('a token stays until a minute after its end, when no clock that may be trusted takes it any more, and leaves then', async () => {
    const root = await tokenFor(company);
    await company.revoke(root);
    for (const [jti, endedSeconds] of [
      ['short-ago', 55],
      ['long-ago', 61],
    ])
      await run(
        `INSERT INTO issued_token (jti, ancestors, subject_ref, client_id, actors, resources, kid, issued_at, expires_at)
         VALUES ($1, ARRAY[$2::text], 'client:x', 'agent', '{}', '{}', 'k', now() - interval '400 s', now() - $3 * interval '1 s')`,
        jti,
        claimsOf(root).jti,
        endedSeconds,
      );
    expect((await readDocument(company.cambist)).tokens).toEqual([claimsOf(root).jti, 'short-ago'].sort());
  });

  it('what can hit no living token leaves it', async () => {
    const token = await tokenFor(company);
    await company.revoke(token);
    await company.operations.revoke({ by: 'client', value: 'second' });
    expect(await readDocument(company.cambist)).toMatchObject({ tokens: [claimsOf(token).jti], predicates: [{}] });
    await run("UPDATE revocation SET issued_until = issued_until - 1000 WHERE kind = 'client'");
    await run("UPDATE revocation SET expires_at = now() WHERE kind = 'token'");
    await nextDocument();
    expect(await readDocument(company.cambist)).toMatchObject({ tokens: [], predicates: [] });
  });
});

describe('its size', () => {
  it('above 10,000 tokens the clients with most of them give way to their names, and no token is left out', async () => {
    const root = await tokenFor(company);
    await company.revoke(root);
    const issue = (client: string, count: number, jti: string) =>
      run(
        `INSERT INTO issued_token (jti, ancestors, subject_ref, client_id, actors, resources, kid, issued_at, expires_at)
         SELECT $1 || lpad(n::text, 6, '0'), ARRAY[$2::text], 'client:x', $3, '{}', '{}', 'k',
           to_timestamp(1700000000 + n), now() + interval '300 s' FROM generate_series(1, $4::int) AS n`,
        jti,
        claimsOf(root).jti,
        client,
        count,
      );
    // By name of the token, those of the busy clients come first: a list that is cut would lose the others.
    await issue('busy', 9_000, 'a');
    await issue('busier', 20_000, 'b');
    await issue('quiet', 700, 'c');
    await nextDocument();
    const { tokens, predicates } = await readDocument(company.cambist);
    expect(predicates).toEqual([{ kind: 'client', value: 'busier', issued_until: 1_700_020_000 }]);
    expect(tokens).toHaveLength(9_000 + 700 + 1);
    expect(new Set(tokens).size).toBe(9_701);
    expect(tokens).toContain(claimsOf(root).jti);
    const listed = await company.operations.listRevocations({});
    expect(listed).toMatchObject({ ok: true, value: { clients_with_more: ['busier', 'busy'] } });
    expect(listed.ok && listed.value.tokens).toHaveLength(701);
  });

  /** Of an issuer with 500 tenants, whose subjects begin with this claim. */
  async function disablePeople(name: string, claim: string, subs: readonly string[]): Promise<void> {
    const tenants = Array.from({ length: 500 }, (_, index) => `t${index}`);
    await company.cambist.apply(
      JSON.stringify({
        issuers: [
          {
            name,
            issuer: `https://${name}.example/{tenant}`,
            tenants,
            subject: { claims: [claim, 'oid'] },
            jwks_uri: `https://${name}.example/jwks`,
          },
        ],
        subjects: subs.map((sub) => ({ issuer: name, sub })),
      }),
    );
    await turn('disable', name, subs);
  }
  const turn = (type: 'disable' | 'enable', name: string, subs: readonly string[]) =>
    company.cambist.service.objects.change(
      subs.map((sub) => ({ type, kind: 'subject', name: `${name}:${sub}` })),
      { author: 'test', origin: 'test' },
    );

  it('somebody of one tenant among many is named as somebody of that tenant', async () => {
    await disablePeople('entra', 'tid', ['t7:ada']);
    const value = principalDigest({ issuer: 'https://entra.example/t7', sub: 't7:ada' });
    expect((await readDocument(company.cambist)).predicates).toEqual([
      { kind: 'subject', value },
      { kind: 'actor', value },
    ]);
    await turn('enable', 'entra', ['t7:ada']);
    expect((await readDocument(company.cambist)).predicates).toEqual([]);
  });

  it('where people alone would be more than a reader takes, their issuers stand for them, up to when they were disabled', async () => {
    const subs = Array.from({ length: 40 }, (_, index) => `sales:${index}`);
    const begun = Math.floor(Date.now() / 1000);
    await disablePeople('many', 'department', subs);
    await company.cambist.disable('client', 'second');
    try {
      const text = await (await fetch(url())).text();
      expect(text.length).toBeLessThanOrEqual(2_097_152);
      const { predicates } = await readDocument(company.cambist);
      expect(predicates).toContainEqual({ kind: 'client', value: 'second' });
      const people = predicates.filter(({ kind }) => kind !== 'client');
      expect(people).toHaveLength(500);
      for (const { kind, value, issued_until: until = 0 } of people) {
        expect([kind, value]).toEqual(['issuer', expect.stringMatching(/^https:\/\/many\.example\/t\d+$/)]);
        expect(until).toBeGreaterThanOrEqual(begun + 2);
        expect(until).toBeLessThan(begun + 30);
      }
    } finally {
      await company.cambist.enable('client', 'second');
      await turn('enable', 'many', subs);
    }
    expect((await readDocument(company.cambist)).predicates).toEqual([]);
  });

  it('where that too would be more than a reader takes, one predicate stands for all, and keys stay', async () => {
    const [now] = (await run(
      `INSERT INTO revocation (kind, value, issued_until, expires_at, record_id)
       SELECT 'resource', 'https://r.example/' || n || repeat('x', 1000), extract(epoch FROM now())::bigint - n % 900 - 1, now() + interval '1 hour',
         gen_random_uuid() FROM generate_series(1, 3000) AS n
       UNION ALL SELECT 'key', 'leaked', NULL, now() + interval '1 hour', gen_random_uuid()
       RETURNING extract(epoch FROM now())::bigint AS now`,
    )) as any[];
    await nextDocument();
    expect((await readDocument(company.cambist)).predicates).toEqual([
      { kind: 'key', value: 'leaked' },
      { kind: 'all', issued_until: Number(now.now) - 1 },
    ]);
  });

  it('above 4,000 predicates one stands for all of them, and hits at least as much', async () => {
    await company.operations.revoke({ by: 'client', value: 'second' });
    await run(
      `INSERT INTO revocation (kind, value, issued_until, expires_at, record_id)
       SELECT 'subject', 'digest-' || n, extract(epoch FROM now())::bigint - 100, now() + interval '1 hour', gen_random_uuid()
       FROM generate_series(1, 4000) AS n`,
    );
    const [second] = (await run("SELECT issued_until FROM revocation WHERE kind = 'client'")) as any[];
    await nextDocument();
    expect((await readDocument(company.cambist)).predicates).toEqual([
      { kind: 'all', issued_until: Number(second.issued_until) },
    ]);
  });

  it('above 4,000 objects that were switched off as well', async () => {
    await run(
      `INSERT INTO object_change (version, kind, name_hash, name, spec, disabled, removed, action, author)
       SELECT 1, 'client', decode(lpad(to_hex(n), 64, '0'), 'hex'), 'gone-' || n, NULL, true, true, 'remove', 'test'
       FROM generate_series(1, 4001) AS n`,
    );
    await nextDocument();
    const { predicates } = await readDocument(company.cambist);
    expect(predicates).toEqual([{ kind: 'all', issued_until: expect.any(Number) }]);
    expect(Math.abs((predicates[0]?.issued_until ?? 0) - Date.now() / 1000)).toBeLessThan(30);
  });
});

/** What changed underneath counts from now on. */
async function nextDocument(): Promise<void> {
  await run('UPDATE state SET revocations = revocations + 1');
}
