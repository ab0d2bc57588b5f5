/**
 * The core of the service and its records, on PGlite and on a real PostgreSQL alike: every 200 has exactly one `issued`
 * record with the inputs of its decision and the policies that decided; every refusal of an authenticated caller has its
 * record with the exact reason; nothing personal and no token stands in clear.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import { withDatabases } from '../support/databases.ts';
import { startJwksIssuer } from '../support/jwks-issuer.ts';
import type { JwksIssuer } from '../support/jwks-issuer.ts';
import { ACCESS_TOKEN, actors, exchange, EXCHANGE, forItself, granted, recordOf, refused, tokenOf } from './asking.ts';
import { ALPHA, BETA, companyYaml } from './company.ts';

withDatabases('exchange and record', (databases) => {
  let corp: JwksIssuer;
  let cluster: JwksIssuer;
  let cambist: TestCambist;
  beforeAll(async () => {
    [corp, cluster] = await Promise.all([startJwksIssuer(), startJwksIssuer()]);
    const database = (await databases.fresh()).db;
    cambist = await startCambist({ objects: companyYaml(corp, cluster) + DENYING, database });
  });
  afterAll(async () => {
    await cambist.stop();
    await Promise.all([corp.stop(), cluster.stop()]);
  });

  const ada = () =>
    corp.mint({ aud: cambist.issuer, sub: 'ada', groups: ['staff'], email: 'ada@corp.example', name: 'Ada Lovelace' });

  describe('a permit', () => {
    it('has one record: who, for whom, what was asked, decided and given, by which policies', async () => {
      const answer = await exchange(cambist, {
        client: 'agent',
        subject: await ada(),
        resource: `${ALPHA}/`,
        scope: 'alpha:read',
      });
      const claims = await granted(cambist, answer);
      const { body, persons } = await recordOf(cambist, answer);
      expect(body).toMatchObject({
        v: 1,
        kind: 'issued',
        request_id: answer.headers.get('cambist-request-id'),
        client: { id: 'agent', method: 'client_secret_basic' },
        grant: EXCHANGE,
        asked: {
          resource: [`${ALPHA}/`],
          scope: 'alpha:read',
          subject_token_type: 'urn:ietf:params:oauth:token-type:id_token',
        },
        target: [ALPHA],
        act: ['client:agent'],
        token: {
          jti: claims.jti,
          aud: ALPHA,
          scope: 'alpha:read',
          iat: claims.iat,
          exp: claims.exp,
          kid: expect.any(String),
        },
        source_prefix: '127.0.0.0/24',
        state_version: expect.any(Number),
      });
      const decision = body['decision'] as { inputs: any[]; answers: any[] };
      expect(decision.inputs).toMatchObject([
        {
          subject: { type: 'User' },
          actor: { type: 'Client', id: 'agent' },
          resource: { name: 'alpha', uri: ALPHA },
          scopes: ['alpha:read'],
          context: { depth: 1, via: null },
        },
      ]);
      expect(decision.answers).toMatchObject([
        {
          policy_digest: expect.stringMatching(/^[\w-]{43}$/),
          verdicts: [
            {
              scope: 'alpha:read',
              permitted: true,
              subject: { permitted: true, policies: ['everyone.1'], errors: [] },
              actor: { permitted: true, policies: ['everyone.2'], errors: [] },
            },
          ],
        },
      ]);
      expect(persons).toMatchObject([
        {
          iss: corp.issuer,
          sub: 'ada',
          email: 'ada@corp.example',
          name: 'Ada Lovelace',
          groups: ['corp:staff'],
          source: '127.0.0.1',
        },
      ]);
    });

    it('R23 shows nothing personal and no token in the canonical bytes, which are canonical (RFC 8785)', async () => {
      // With dots: neither a UUID nor base64 can hold them by chance.
      const personal = {
        sub: 'ada.lovelace',
        groups: ['team.engines'],
        email: 'al@corp.example',
        name: 'Ada Lovelace',
      };
      const subject = await corp.mint({ aud: cambist.issuer, ...personal });
      const answer = await exchange(cambist, { client: 'agent', subject, resource: ALPHA });
      const { canonical, body, persons } = await recordOf(cambist, answer);
      for (const secret of [
        'ada.lovelace',
        'Ada Lovelace',
        'corp.example',
        'team.engines',
        '"127.0.0.1"',
        cambist.secretOf('agent'),
        subject.split('.')[2]!,
        tokenOf(answer).split('.')[2]!,
      ])
        expect(canonical).not.toContain(secret);
      expect(persons).toMatchObject([{ ...personal, groups: ['corp:team.engines'] }]);
      const members = [...canonical.matchAll(/"([a-z_]+)":/g)].map(([, name]) => name);
      expect(members[0]).toBe(Object.keys(body).sort()[0]);
      expect(canonical).not.toMatch(/[\n\t]|": /);
    });

    it('of a hop names what it came from', async () => {
      const first = await exchange(cambist, { client: 'agent', subject: await ada(), resource: ALPHA });
      const { jti } = await granted(cambist, first);
      const second = await exchange(cambist, {
        client: 'server-a',
        subject: tokenOf(first),
        as: ACCESS_TOKEN,
        resource: BETA,
      });
      expect(actors(await granted(cambist, second))).toEqual(['server-a', 'agent']);
      expect((await recordOf(cambist, second)).body).toMatchObject({
        subject_token: { identity: jti },
        act: ['client:server-a', 'client:agent'],
        decision: { inputs: [{ context: { depth: 2, via: ALPHA } }] },
      });
    });

    it('of client_credentials, with and without a resource, is recorded as well', async () => {
      const own = await recordOf(cambist, await forItself(cambist, 'second', { resource: ALPHA }));
      expect(own.body).toMatchObject({
        kind: 'issued',
        subject: 'client:second',
        act: [],
        target: [ALPHA],
        persons: [],
      });
      const identity = await recordOf(cambist, await forItself(cambist, 'second'));
      expect(identity.body).toMatchObject({ kind: 'issued', target: [], token: { aud: cambist.issuer, scope: null } });
    });
  });

  describe('a refusal', () => {
    it('is recorded with its reason and what was asked, by policy with the policies that forbade it', async () => {
      const answer = await exchange(cambist, {
        client: 'agent',
        subject: await ada(),
        resource: ALPHA,
        scope: 'alpha:write',
      });
      const { body, persons } = await refused(cambist, answer, 'invalid_target', 'all_scopes_denied');
      expect(body).toMatchObject({
        kind: 'refused',
        asked: { resource: [ALPHA], scope: 'alpha:write' },
        refusal: { reason: 'all_scopes_denied', detail: { scopes: ['alpha:write'] } },
        decision: {
          answers: [
            {
              verdicts: [
                {
                  permitted: false,
                  subject: { permitted: true },
                  actor: { permitted: false, policies: ['no-writing'] },
                },
              ],
            },
          ],
        },
      });
      expect(body).not.toHaveProperty('token');
      expect(persons).toMatchObject([{ sub: 'ada' }]);
    });

    it.each<[string, () => Promise<string>, string, string]>([
      [
        'of an expired token',
        () => corp.mint({ aud: cambist.issuer, sub: 'ada', exp: 1 }),
        'invalid_request',
        'subject_token_invalid',
      ],
      ['of a token that is none', () => Promise.resolve('not.a.token'), 'invalid_request', 'subject_token_invalid'],
      [
        'of a token of nobody we know',
        () => corp.mint({ iss: 'https://unknown.example', aud: cambist.issuer, sub: 'ada' }),
        'invalid_request',
        'subject_token_issuer_unknown',
      ],
      [
        'of a token for somebody else',
        () => corp.mint({ aud: 'https://elsewhere.example', sub: 'ada' }),
        'invalid_request',
        'subject_token_not_meant_for_client',
      ],
    ])('%s is recorded, and the answer says no more than its code', async (_, subject, error, reason) => {
      const answer = await exchange(cambist, { client: 'agent', subject: await subject(), resource: ALPHA });
      await refused(cambist, answer, error, reason);
      expect(answer.body).toEqual({
        error,
        error_description: 'The request is malformed, or a token in it is missing, invalid or not acceptable.',
      });
      expect(answer.headers.get('cache-control')).toBe('no-store');
    });

    it('of an unknown grant is recorded as of an authenticated client', async () => {
      const answer = await forItself(cambist, 'agent', { grant_type: 'password' });
      expect(answer.body.error).toBe('unsupported_grant_type');
      expect((await recordOf(cambist, answer)).body).toMatchObject({
        kind: 'refused',
        refusal: { reason: 'grant_unsupported' },
      });
    });

    it('of a caller that did not prove who it is has no record of its own', async () => {
      const answer = await cambist.token({ grant_type: 'client_credentials' }, { basic: ['agent', 'wrong'] });
      expect([answer.status, answer.body.error]).toEqual([401, 'invalid_client']);
      expect(await cambist.records(answer.headers.get('cambist-request-id') ?? '')).toEqual([]);
    });
  });

  it('fifty requests at once have fifty tokens and fifty records, none shared', async () => {
    const subject = await ada();
    const answers = await Promise.all(
      Array.from({ length: 50 }, () => exchange(cambist, { client: 'agent', subject, resource: ALPHA })),
    );
    const records = await Promise.all(answers.map((answer) => recordOf(cambist, answer)));
    const jtis = await Promise.all(answers.map(async (answer) => (await granted(cambist, answer)).jti));
    expect(new Set(jtis).size).toBe(50);
    expect(records.map(({ body }) => (body['token'] as { jti: string }).jti)).toEqual(jtis);
    expect(new Set(records.map(({ body }) => body.id)).size).toBe(50);
  });
});

const DENYING = `
  - id: no-writing
    cedar: |
      forbid (principal, action == Action::"act", resource == Scope::"alpha#alpha:write");
`;
