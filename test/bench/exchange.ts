/**
 * What an exchange costs: µs per step of the road with one request at a time, throughput with 32 at a time, and both
 * beside what cannot be saved (one RS256 verification, one ES256 signature) and beside requests that do less. One run
 * on one machine: the ratios mean something, the absolute figures are this machine's. PostgreSQL with `fsync` on where
 * its binaries are found, else PGlite in memory. Run: `npm run bench -- exchange [REQUESTS]`.
 */
import { generateKeyPairSync, sign, verify } from 'node:crypto';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { freePort } from '../../conformance/targets/process.ts';
import { KINDS } from '../../src/objects/kinds.ts';
import type { Kind } from '../../src/objects/kinds.ts';
import type { Mutation } from '../../src/store/objects.ts';
import { composeService } from '../../src/compose.ts';
import { createLogger } from '../../src/core/log.ts';
import { DEFAULT_LIMITS } from '../../src/limits/bounds.ts';
import { openDatabase } from '../../src/store/open.ts';
import { findPostgresBinaries, startPostgres } from '../support/postgres-cluster.ts';

const REQUESTS = Number(process.argv[2] ?? 1000);
const CONCURRENT = 32;
const RESOURCE = 'https://notes.bench/mcp';

const cluster = findPostgresBinaries() === undefined ? undefined : await startPostgres();
const database = await openDatabase({
  source: cluster === undefined ? { engine: 'pglite', dataDir: 'memory' } : { engine: 'postgresql', url: cluster.url },
  migrate: true,
  logger: createLogger('silent'),
});
const port = await freePort();
const issuer = `http://127.0.0.1:${port}`;
const steps = new Map<string, number[]>();
const service = await composeService({
  issuer,
  nodeName: 'bench',
  database,
  keyEncryptionKey: new Uint8Array(32).map((_, index) => index * 7 + 1),
  logger: createLogger('silent'),
  // Counted, and never reached.
  limits: { ...DEFAULT_LIMITS, clientPerMinute: 1_000_000_000, subjectPerMinute: 1_000_000_000 },
  observe: (phase, ms) => {
    const durations = steps.get(phase);
    if (durations === undefined) steps.set(phase, [ms]);
    else durations.push(ms);
  },
});
await service.listen('127.0.0.1', port);

const subjectKey = await generateKeyPair('RS256', { extractable: true });
const jwk = { ...(await exportJWK(subjectKey.publicKey)), kid: 'bench', alg: 'RS256', use: 'sig' };
await service.objects.change(
  [
    put('issuer', {
      name: 'corp',
      issuer: 'https://idp.bench',
      jwks: { keys: [jwk] },
      audiences: [{ value: 'portal', clients: ['agent'] }],
      claims: { groups: 'groups' },
    }),
    put('client', { id: 'agent', auth: ['client_secret_basic'] }),
    put('resource', { name: 'notes', uri: RESOURCE, scopes: { read: 'Read' }, default_scopes: ['read'] }),
    put('policy', {
      id: 'staff',
      cedar:
        'permit (principal in Group::"corp:staff", action == Action::"access", resource); permit (principal == Client::"agent", action == Action::"act", resource);',
    }),
  ],
  { author: 'bench', origin: 'bench' },
);
const basic = `Basic ${Buffer.from(`agent:${(await service.clientSecrets.add('agent')).secret}`).toString('base64')}`;

function put(kind: Kind, written: Record<string, unknown>): Mutation {
  const noun = KINDS[kind];
  const spec = noun.schema.parse(written) as never;
  return { type: 'put', kind, name: noun.nameOf(spec), spec, keys: noun.keysOf(spec) };
}

/** A fresh token per request, signed beforehand, of one of 1000 people. */
function subjectTokens(count: number): Promise<string[]> {
  return Promise.all(
    Array.from({ length: count }, (_, index) =>
      new SignJWT({ groups: ['staff'], email: `user${index % 1000}@bench` })
        .setProtectedHeader({ alg: 'RS256', kid: 'bench' })
        .setIssuer('https://idp.bench')
        .setSubject(`user${index % 1000}`)
        .setAudience('portal')
        .setIssuedAt()
        .setExpirationTime('10m')
        .setJti(`${index}-${Math.random()}`)
        .sign(subjectKey.privateKey),
    ),
  );
}

async function post(form: Record<string, string>): Promise<void> {
  const response = await fetch(`${issuer}/oauth2/token`, {
    method: 'POST',
    headers: { authorization: basic },
    body: new URLSearchParams(form),
  });
  const text = await response.text();
  if (response.status !== 200) throw new Error(`${response.status} ${text}`);
}

const exchange = (subjectToken: string) =>
  post({
    grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
    subject_token: subjectToken,
    subject_token_type: 'urn:ietf:params:oauth:token-type:id_token',
    resource: RESOURCE,
  });

/** Requests per second with CONCURRENT at a time. */
async function rate(work: (index: number) => Promise<void>): Promise<number> {
  let next = 0;
  const began = performance.now();
  await Promise.all(
    Array.from({ length: CONCURRENT }, async () => {
      while (next < REQUESTS) await work(next++);
    }),
  );
  return (REQUESTS / (performance.now() - began)) * 1000;
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
const micros = (ms: number) => `${Math.round(ms * 1000)}`.padStart(7);

const warm = await subjectTokens(REQUESTS);
for (const token of warm.slice(0, 300)) await exchange(token);

steps.clear();
const single = await subjectTokens(300);
const began = performance.now();
for (const token of single) await exchange(token);
const wholeMs = (performance.now() - began) / single.length;

console.log(`${database.engine}, ${REQUESTS} requests, Node ${process.version}`);
console.log('\none at a time, µs (mean of 300)');
for (const [phase, durations] of steps) console.log(`  ${phase.padEnd(14)}${micros(mean(durations))}`);
const inside = [...steps.values()].reduce((sum, durations) => sum + mean(durations), 0);
console.log(`  ${'HTTP, client'.padEnd(14)}${micros(wholeMs - inside)}   (fetch in this very process included)`);
console.log(`  ${'whole'.padEnd(14)}${micros(wholeMs)}`);

const floor = floorMs();
console.log(
  `  floor: RS256 verify + ES256 sign, synchronous: ${micros(floor).trim()} (whole = ${(wholeMs / floor).toFixed(1)} x)`,
);

const rates = {
  exchange: await rate((index) => exchange(warm[index] ?? '')),
  'client_credentials, identity token': await rate(() => post({ grant_type: 'client_credentials' })),
  'GET /oauth2/jwks (no database)': await rate(async () => {
    await (await fetch(`${issuer}/oauth2/jwks`)).text();
  }),
};
console.log(`\n${CONCURRENT} at a time, requests/s (client and server in one process)`);
for (const [name, perSecond] of Object.entries(rates))
  console.log(
    `  ${name.padEnd(36)}${perSecond.toFixed(0).padStart(6)}   exchange = ${(rates.exchange / perSecond).toFixed(2)} x`,
  );

const [rows] = await database.query<{ n: number }>(`SELECT count(*)::int AS n FROM audit_record WHERE kind = 'issued'`);
const expected = 300 + 300 + 2 * REQUESTS;
console.log(
  `\nrecords ${rows?.n ?? 0}, answers 200: ${expected}${rows?.n === expected ? '' : '  MISMATCH: this run is void'}`,
);
await service.stop();
await database.close();
await cluster?.stop();

function floorMs(): number {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const data = Buffer.alloc(600, 1);
  const signature = sign('sha256', data, rsa.privateKey);
  const rounds = 500;
  const start = performance.now();
  for (let i = 0; i < rounds; i++) {
    verify('sha256', data, rsa.publicKey, signature);
    sign('sha256', data, { key: ec.privateKey, dsaEncoding: 'ieee-p1363' });
  }
  return (performance.now() - start) / rounds;
}
