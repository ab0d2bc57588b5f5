/**
 * R23: no secret in logs, errors or records, and no person in clear in a record. Plants canaries in everything that a
 * caller sends (secrets, assertions, tokens, parameters), lets requests succeed and fail in every way, and then greps
 * the whole log, all bodies, all records and the whole database.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { basicHeader } from '../support/token-client.ts';
import type { TokenAnswer } from '../support/token-client.ts';
import { bearer, CALENDAR, expectGranted, requestIdOf, startCompany, TYPE } from './company.ts';
import type { Company } from './company.ts';

let company: Company;
/** What must appear nowhere, by what it is. */
const secrets = new Map<string, string>();
/** What must not stand in clear in a record: persons. */
const PERSONAL = ['canary-ada', 'canary.ada@corp.example', 'Canary Lovelace', 'canary-group'];
const answers: TokenAnswer[] = [];

/** The parts of a token that are worth something: all of it, and its signature. */
function plant(name: string, token: string): string {
  secrets.set(name, token);
  const signature = token.split('.')[2];
  if (signature !== undefined) secrets.set(`${name}, its signature`, signature);
  return token;
}

beforeAll(async () => {
  company = await startCompany();
  const { cambist } = company;
  const secret = plant('client secret', cambist.secretOf('agent'));
  plant('Basic header', basicHeader('agent', secret).slice('Basic '.length));
  const claims = { sub: 'canary-ada', email: PERSONAL[1], name: PERSONAL[2], groups: ['staff', 'canary-group'] };
  const idToken = async (more = {}, options = {}) => company.idToken({ ...claims, ...more }, options);
  const wrong = plant('wrong secret', 'CANARY-wrong-secret-51c8');
  const keep = (answer: TokenAnswer) => {
    answers.push(answer);
    if (answer.status === 200) plant(`issued token ${answers.length}`, answer.body.access_token);
    return answer;
  };

  const subject_token = plant('subject token', await idToken());
  const first = keep(await company.exchange({ subject_token, scope: 'notes:write' }));
  expectGranted(first);
  const hop = { subject_token: first.body.access_token, subject_token_type: `${TYPE}access_token`, resource: CALENDAR };
  expectGranted(keep(await company.exchange(hop, { as: 'notes-server' })));
  expectGranted(keep(await company.credentials({ client_id: 'agent', client_secret: secret }, { as: null })));
  const assertion = plant('assertion', await company.assertion());
  expectGranted(keep(await company.credentials(bearer(assertion), { as: null })));
  expectGranted(keep(await company.credentials(bearer(plant('pod token', await company.podToken())), { as: null })));

  // And everything that is refused, for every kind of reason.
  const stranger = await company.corp.strangerKey();
  const actorToken = plant('actor token', await company.corp.mint({ sub: 'robot', aud: 'portal' }));
  for (const answer of [
    await company.credentials({ client_id: 'agent', client_secret: wrong }, { as: null }),
    await company.credentials({}, { as: null, headers: { authorization: basicHeader('agent', wrong) } }),
    await company.credentials(
      {},
      { as: null, headers: { authorization: `Bearer ${plant('bearer', 'CANARY-bearer-9d')}` } },
    ),
    await company.credentials({ client_secret: secret }),
    await company.credentials(bearer(assertion), { as: null }),
    await company.credentials(bearer(plant('bad assertion', `${assertion}AA`)), { as: null }),
    await company.credentials({ client_assertion: plant('untyped assertion', 'CANARY-untyped-77') }, { as: null }),
    await company.exchange({ subject_token: plant('expired token', await idToken({}, { lifetimeSeconds: 0 })) }),
    await company.exchange({ subject_token: plant('forged token', await idToken({}, { key: stranger })) }),
    await company.exchange({ subject_token: plant('malformed token', 'CANARY.malformed.token-3b') }),
    await company.exchange({ subject_token: plant('foreign token', await idToken({ aud: 'other' })) }),
    await company.exchange({ subject_token: plant('bound token', await idToken({ cnf: { jkt: 'x' } })) }),
    await company.exchange({ subject_token: [subject_token, subject_token] }),
    await company.exchange({ subject_token, actor_token: actorToken, actor_token_type: `${TYPE}id_token` }),
    await company.exchange({ subject_token, scope: 'notes:purge' }),
    await company.exchange({ subject_token, resource: 'https://unknown.example/x' }),
    await company.exchange({ subject_token }, { as: 'powerless' }),
    await company.exchange({ subject_token, password: plant('password', 'CANARY-password-4e') }),
    await cambist.token(`client_secret=${plant('secret in a broken form', 'CANARY-broken-form-a0')}&%`),
    await cambist.token(JSON.stringify({ client_secret: plant('secret in JSON', 'CANARY-json-b1') }), {
      headers: { 'content-type': 'application/json' },
    }),
    await fetch(`${cambist.url}/oauth2/token?client_secret=${plant('secret in a URL', 'CANARY-url-c2')}`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
    }).then(async (response) => ({
      status: response.status,
      headers: response.headers,
      text: await response.text(),
      body: {},
    })),
  ])
    keep(answer);
});
afterAll(() => company.stop());

/** Names of the canaries that are in a text. */
const found = (text: string) => [...secrets].filter(([, value]) => text.includes(value)).map(([name]) => name);

describe('R23 canaries', () => {
  it('R23 the ground is what it should be: requests succeeded, were refused, and were logged', () => {
    expect(answers.filter(({ status }) => status === 200).length).toBeGreaterThanOrEqual(6);
    expect(answers.filter(({ status }) => status >= 400).length).toBeGreaterThanOrEqual(18);
    expect(answers.filter(({ status }) => status >= 500)).toEqual([]);
    const log = company.log.join('');
    for (const answer of answers.filter(({ status }) => status >= 400)) expect(log).toContain(requestIdOf(answer));
    expect(secrets.size).toBeGreaterThan(30);
    expect(found(`x${secrets.get('password') ?? ''}`)).toEqual(['password']);
  });

  it('R23 no log line holds a secret or a token', () => {
    for (const line of company.log) expect(found(line), line).toEqual([]);
  });

  it('R23 no log line names a person', () => {
    for (const line of company.log) for (const text of PERSONAL) expect(line).not.toContain(text);
  });

  it('R23 no error body or header holds what was sent', () => {
    for (const answer of answers.filter(({ status }) => status >= 400)) {
      const all = answer.text + JSON.stringify([...answer.headers]);
      expect(found(all), all).toEqual([]);
      for (const text of PERSONAL) expect(all).not.toContain(text);
    }
  });

  it('R23 no record holds a secret or a token, and persons stand in it sealed alone', async () => {
    let persons = 0;
    for (const answer of answers)
      for (const record of await company.cambist.records(requestIdOf(answer))) {
        expect(found(record.canonical), record.canonical).toEqual([]);
        for (const text of PERSONAL) expect(record.canonical).not.toContain(text);
        persons += record.persons.filter(({ sub }) => sub === 'canary-ada').length;
      }
    // Sealed, not missing.
    expect(persons).toBeGreaterThan(5);
  });

  it('R23 nothing in the database holds a secret, a token or a person in clear', async () => {
    const { database } = company.cambist;
    const tables = await database.query<{ name: string }>(
      `SELECT table_name AS name FROM information_schema.tables WHERE table_schema = $1`,
      [database.schema],
    );
    expect(tables.length).toBeGreaterThan(5);
    let rows = 0;
    for (const { name } of tables) {
      const contents = await database.query<{ text: string }>(
        `SELECT t::text AS text FROM ${database.schema}."${name}" t`,
      );
      rows += contents.length;
      for (const { text } of contents) {
        // A bytea is printed in hex.
        const all = `${text} ${Buffer.from(text.replace(/[^0-9a-f]/g, ''), 'hex').toString('latin1')}`;
        expect(found(all), name).toEqual([]);
        for (const personal of PERSONAL) expect(all.includes(personal), `${personal} in ${name}`).toBe(false);
      }
    }
    expect(rows).toBeGreaterThan(20);
  });
});
