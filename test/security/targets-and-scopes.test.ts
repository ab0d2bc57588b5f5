/**
 * What is asked for and what is given: R6 (targets), R7, A2, A5 and A9 of the security reference. Never another
 * audience, never a scope more, and a decision that fails to be made is a denial.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CALENDAR, expectGranted, expectRefused, MAIL, NOTES, PAYROLL, startCompany, TYPE } from './company.ts';
import type { Company } from './company.ts';

let company: Company;
beforeAll(async () => {
  company = await startCompany();
});
afterAll(() => company.stop());

const ACCESS = `${TYPE}access_token`;
const target = (reason: string) => ({ error: 'invalid_target', reason });
const scopeError = (reason: string) => ({ error: 'invalid_scope', reason });

/** A token of ours for notes with these scopes, in the hands of the notes server. */
async function hop(scope: string, fields: Record<string, string | undefined>) {
  const first = await company.exchange({ scope });
  expectGranted(first);
  const token = { subject_token: first.body.access_token, subject_token_type: ACCESS };
  return company.exchange({ ...token, resource: CALENDAR, ...fields }, { as: 'notes-server' });
}

describe('R6 targets (RFC 8693 §2.2.2, RFC 8707 §2)', () => {
  it('R6 no target at an exchange → invalid_target', async () => {
    expectGranted(await company.exchange());
    await expectRefused(company, await company.exchange({ resource: undefined }), target('target_missing'));
    await expectRefused(company, await company.exchange({ resource: '' }), target('target_missing'));
  });

  it('R6 an unknown target → invalid_target, also beside a known one; nothing else is issued instead', async () => {
    const unknown = [
      'https://unknown.example/mcp',
      `${NOTES}/sub`,
      'https://notes.example',
      'http://notes.example/mcp',
      `${NOTES}?x=1`,
      'https://notes.example:8443/mcp',
      company.cambist.issuer,
      'urn:notes',
    ];
    for (const resource of unknown) {
      await expectRefused(company, await company.exchange({ resource }), target('target_unknown'));
      await expectRefused(company, await company.exchange({ resource: [NOTES, resource] }), target('target_unknown'));
    }
    for (const audience of ['unknown', 'NOTES', 'agent', company.cambist.issuer, '*'])
      await expectRefused(company, await company.exchange({ audience }), target('target_unknown'));
  });

  it('R6 a relative URI, one with a fragment or a user name → invalid_target', async () => {
    for (const resource of [
      'notes',
      '/mcp',
      '//notes.example/mcp',
      `${NOTES}#`,
      `${NOTES}#x`,
      'https://a@notes.example/mcp',
      'https:\\\\notes.example/mcp',
      'x'.repeat(2049),
    ])
      await expectRefused(company, await company.exchange({ resource }), target('target_malformed'));
    await expectRefused(
      company,
      await company.exchange({ resource: Array<string>(17).fill(NOTES) }),
      target('target_malformed'),
    );
    expectGranted(await company.exchange({ resource: Array<string>(16).fill(NOTES) }));
  });

  it('R6 resource and audience may be repeated; different resources need a common audience group', async () => {
    expect(expectGranted(await company.exchange({ resource: [NOTES, `${NOTES}/`], audience: 'notes' })).aud).toBe(
      NOTES,
    );
    const group = expectGranted(await company.exchange({ resource: [CALENDAR, MAIL] }));
    expect(group).toMatchObject({ aud: [CALENDAR, MAIL], scope: 'calendar:read mail:read' });
    for (const resource of [
      [NOTES, CALENDAR],
      [NOTES, PAYROLL],
      [CALENDAR, MAIL, NOTES],
    ])
      await expectRefused(company, await company.exchange({ resource }), target('targets_not_grouped'));
    await expectRefused(
      company,
      await company.exchange({ resource: NOTES, audience: 'mail' }),
      target('targets_not_grouped'),
    );
  });
});

describe('R7 never wider', () => {
  it('R7 without scope the permitted defaults; an explicit scope that is not permitted is refused, never dropped', async () => {
    expect(expectGranted(await company.exchange()).scope).toBe('notes:read');
    expect(expectGranted(await company.exchange({ scope: 'notes:write notes:read' })).scope).toBe(
      'notes:write notes:read',
    );
    await expectRefused(
      company,
      await company.exchange({ scope: 'notes:read notes:purge' }),
      scopeError('some_scopes_denied'),
    );
    await expectRefused(company, await company.exchange({ scope: 'notes:purge' }), target('all_scopes_denied'));
    await expectRefused(company, await company.exchange({ resource: PAYROLL }), scopeError('no_default_scope_left'));
    await expectRefused(
      company,
      await company.exchange({ resource: PAYROLL, scope: 'payroll:read' }),
      target('all_scopes_denied'),
    );
  });

  it('R7 both questions must be answered with yes: the subject alone or the actor alone is not enough', async () => {
    const scope = 'notes:read';
    expectGranted(await company.exchange({ scope }));
    const stranger = await company.idToken({ sub: 'eve', groups: ['guests'] });
    await expectRefused(
      company,
      await company.exchange({ subject_token: stranger, scope }),
      target('all_scopes_denied'),
    );
    await expectRefused(company, await company.exchange({ scope }, { as: 'powerless' }), target('all_scopes_denied'));
  });

  it('R7 a scope that nobody registered, or that is not spelled as one, → invalid_scope', async () => {
    for (const scope of ['unknown', 'Notes:read', 'notes:read unknown', 'calendar:read', '__proto__', 'constructor'])
      await expectRefused(company, await company.exchange({ scope }), scopeError('scope_unknown'));
    for (const scope of [
      ' ',
      ' notes:read',
      'notes:read ',
      'notes:read  notes:write',
      'notes:"read"',
      'notes\\read',
      'nötes',
    ])
      await expectRefused(company, await company.exchange({ scope }), scopeError('scope_malformed'));
  });

  it('R7 a hop follows a declared call edge and needs its scopes', async () => {
    expect(expectGranted(await hop('notes:write', {}))).toMatchObject({ aud: CALENDAR, scope: 'calendar:read' });
    await expectRefused(company, await hop('notes:read', {}), target('call_edge_missing'));
    await expectRefused(company, await hop('notes:read notes:write', { resource: MAIL }), target('call_edge_missing'));
    await expectRefused(company, await hop('notes:write', { resource: PAYROLL }), target('call_edge_missing'));
  });

  it('R7 a hop gives no more than the edge gives, whatever policy would permit', async () => {
    await company.cambist.apply(
      JSON.stringify({
        policies: [
          { id: 'generous', cedar: 'permit (principal == Client::"notes-server", action == Action::"act", resource);' },
        ],
      }),
    );
    expectGranted(await hop('notes:write', { scope: 'calendar:read' }));
    await expectRefused(company, await hop('notes:write', { scope: 'calendar:write' }), target('all_scopes_denied'));
    await expectRefused(
      company,
      await hop('notes:write', { scope: 'calendar:read calendar:write' }),
      scopeError('some_scopes_denied'),
    );
    // At its own resource no scope can be added either.
    expect(expectGranted(await hop('notes:write', { resource: NOTES, scope: 'notes:write' })).scope).toBe(
      'notes:write',
    );
    await expectRefused(
      company,
      await hop('notes:write', { resource: NOTES, scope: 'notes:read' }),
      target('all_scopes_denied'),
    );
    await company.cambist.disable('policy', 'generous');
  });

  it('R7 a chain of exchanges never leaves the closure of the edges', async () => {
    const second = await hop('notes:write', {});
    const token = { subject_token: second.body.access_token, subject_token_type: ACCESS };
    const back = { ...token, resource: NOTES, scope: 'notes:write' };
    expectGranted(await company.exchange(back, { as: 'calendar-server' }));
    // notes:read was never given, and the edge from the calendar does not give it.
    await expectRefused(
      company,
      await company.exchange({ ...back, scope: 'notes:read' }, { as: 'calendar-server' }),
      target('all_scopes_denied'),
    );
    await expectRefused(
      company,
      await company.exchange({ ...token, resource: MAIL }, { as: 'calendar-server' }),
      target('call_edge_missing'),
    );
  });

  it('R7 R9 of a token for several resources a server has only what is its own', async () => {
    const group = await company.exchange({ resource: [CALENDAR, MAIL] });
    expect(expectGranted(group).scope).toBe('calendar:read mail:read');
    const token = { subject_token: group.body.access_token, subject_token_type: ACCESS };
    const server = { as: 'calendar-server' };
    expectGranted(await company.exchange({ ...token, resource: NOTES, scope: 'notes:write' }, server));
    await expectRefused(
      company,
      await company.exchange({ ...token, resource: MAIL }, server),
      target('call_edge_missing'),
    );
    await expectRefused(company, await company.exchange({ ...token, resource: NOTES }, { as: 'notes-server' }), {
      error: 'invalid_request',
      reason: 'subject_token_not_meant_for_client',
    });
  });

  it('R7 where a mapping says what an external scope means here, it is a ceiling, and call edges do not lift it', async () => {
    const iss = 'https://mapped.example';
    const meaning = [{ resource: NOTES, scopes: ['notes:write'] }];
    await company.cambist.apply(
      JSON.stringify({
        issuers: [
          {
            name: 'mapped',
            issuer: iss,
            jwks: { keys: [company.signer.keys[0]!.publicJwk] },
            token_types: { access_token: {} },
            claims: { scope: { values: { write: meaning } } },
          },
        ],
        policies: [
          {
            id: 'mapped',
            cedar: `permit (principal is User, action == Action::"access", resource) when { principal.issuer == "${iss}" };`,
          },
        ],
      }),
    );
    const ask = async (scope: string, fields: Record<string, string>) => {
      const claims = { iss, sub: 'grace', aud: company.cambist.issuer, scope };
      const subject_token = await company.signer.mint(claims, { header: { typ: 'at+jwt' } });
      return company.exchange({ subject_token, subject_token_type: ACCESS, ...fields });
    };
    expect(expectGranted(await ask('write', { scope: 'notes:write' })).scope).toBe('notes:write');
    await expectRefused(company, await ask('write', { scope: 'notes:read' }), target('all_scopes_denied'));
    await expectRefused(company, await ask('other', { scope: 'notes:write' }), target('call_edge_missing'));
    await expectRefused(company, await ask('write', { resource: CALENDAR }), target('call_edge_missing'));
  });
});

describe('A2 a low-scope token does not open another application (ZITADEL CVE-2026-56668)', () => {
  it('A2 a scope of another application → invalid_scope, another application → invalid_target', async () => {
    expectGranted(await hop('notes:write', { scope: 'calendar:read' }));
    await expectRefused(company, await hop('notes:write', { scope: 'mail:read' }), scopeError('scope_unknown'));
    await expectRefused(
      company,
      await hop('notes:write', { scope: 'calendar:read mail:read' }),
      scopeError('scope_unknown'),
    );
    await expectRefused(
      company,
      await hop('notes:write', { resource: MAIL, scope: 'mail:read' }),
      target('call_edge_missing'),
    );
    const toMail = { resource: MAIL, scope: 'notes:write' };
    await expectRefused(company, await hop('notes:write', toMail), scopeError('scope_unknown'));
  });

  it('A2 the scopes of an external token mean nothing here unless its issuer has a mapping', async () => {
    const at = { header: { typ: 'at+jwt' } };
    const token = await company.corp.mint(
      { sub: 'ada', aud: 'portal', groups: ['staff'], scope: 'notes:purge payroll:read' },
      at,
    );
    const fields = { subject_token: token, subject_token_type: ACCESS };
    expect(expectGranted(await company.exchange(fields)).scope).toBe('notes:read');
    await expectRefused(
      company,
      await company.exchange({ ...fields, scope: 'notes:purge' }),
      target('all_scopes_denied'),
    );
    await expectRefused(
      company,
      await company.exchange({ ...fields, resource: PAYROLL }),
      scopeError('no_default_scope_left'),
    );
  });
});

describe('A5 A9 decisions', () => {
  it('A5 a condition that fails to evaluate denies, in a forbid as well (Keycloak CVE-2026-9792)', async () => {
    expectGranted(await company.exchange({ scope: 'notes:write' }));
    const cedar = `forbid (principal, action == Action::"access", resource == Scope::"notes#notes:write")
      when { context.depth + 9223372036854775807 < 0 };`;
    await company.cambist.apply(JSON.stringify({ policies: [{ id: 'overflows', cedar }] }));
    const answer = await company.exchange({ scope: 'notes:write' });
    await expectRefused(company, answer, target('all_scopes_denied'));
    const [record] = await company.cambist.records(answer.headers.get('cambist-request-id')!);
    expect(record?.canonical).toContain('"errors":["overflows');
    expectGranted(await company.exchange({ scope: 'notes:read' }));
    await company.cambist.disable('policy', 'overflows');
    expectGranted(await company.exchange({ scope: 'notes:write' }));
  });

  it('A5 a policy that reads what is not always there is refused when it is applied', async () => {
    const cedar = 'permit (principal is User, action == Action::"access", resource) when { principal.email like "*" };';
    await expect(company.cambist.apply(JSON.stringify({ policies: [{ id: 'unsafe', cedar }] }))).rejects.toThrow(
      /email/,
    );
    const unknown = 'permit (principal is User, action == Action::"access", resource) when { context.now > 1 };';
    await expect(
      company.cambist.apply(JSON.stringify({ policies: [{ id: 'unsafe', cedar: unknown }] })),
    ).rejects.toThrow(/now/);
  });

  it('A9 a remembered decision belongs to its policies: the same request follows every change of them', async () => {
    const ask = async () => (await company.exchange({ scope: 'notes:write' })).status;
    const cedar = 'forbid (principal, action == Action::"access", resource == Scope::"notes#notes:write");';
    expect(await ask()).toBe(200);
    await company.cambist.apply(JSON.stringify({ policies: [{ id: 'freeze', cedar }] }));
    expect(await ask()).toBe(400);
    await company.cambist.disable('policy', 'freeze');
    expect(await ask()).toBe(200);
    await company.cambist.enable('policy', 'freeze');
    expect(await ask()).toBe(400);
    await company.cambist.disable('policy', 'freeze');
    expect(await ask()).toBe(200);
  });

  it('A9 a remembered decision belongs to all of its facts: the same subject with other groups is another question', async () => {
    const scope = 'notes:write';
    expectGranted(await company.exchange({ scope }));
    const demoted = await company.idToken({ groups: ['guests'] });
    await expectRefused(
      company,
      await company.exchange({ subject_token: demoted, scope }),
      target('all_scopes_denied'),
    );
    expectGranted(await company.exchange({ scope }));
  });

  it('A9 a token that was good once vouches for no other: the same claims with a broken signature are refused', async () => {
    const token = await company.idToken();
    expectGranted(await company.exchange({ subject_token: token }));
    const [header, payload, signature = ''] = token.split('.');
    const broken = `${header}.${payload}.${signature.startsWith('A') ? 'B' : 'A'}${signature.slice(1)}`;
    const expected = {
      error: 'invalid_request',
      reason: 'subject_token_invalid',
      detail: { fault: 'signature_invalid' },
    };
    await expectRefused(company, await company.exchange({ subject_token: broken }), expected);
    expectGranted(await company.exchange({ subject_token: token }));
  });
});
