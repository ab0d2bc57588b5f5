/**
 * The objects of the demo company, over real sockets: what `npm start` and the README promise about them.
 */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import { startOidcIssuer } from '../support/oidc-issuer.ts';
import type { OidcIssuer } from '../support/oidc-issuer.ts';
import { claimsOf } from '../support/token-client.ts';

const CALENDAR = 'https://calendar.demo.example/mcp';
const NOTES = 'https://notes.demo.example/mcp';
const TYPE = 'urn:ietf:params:oauth:token-type:';

let provider: OidcIssuer;
let cambist: TestCambist;
beforeAll(async () => {
  provider = await startOidcIssuer({ relyingParties: ['travel-portal'] });
  const objects = readFileSync('deploy/demo/company.yaml', 'utf8');
  cambist = await startCambist({ objects: objects.replace('http://127.0.0.1:9400', provider.issuer) });
});
afterAll(async () => {
  await cambist.stop();
  await provider.stop();
});

async function exchange(clientId: string, subjectToken: string, type: string, resource: string, scope?: string) {
  return cambist.token(
    {
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      subject_token: subjectToken,
      subject_token_type: TYPE + type,
      resource,
      scope,
    },
    { basic: [clientId, cambist.secretOf(clientId)] },
  );
}

it("the travel agent gets a token for Ada's calendar that names her and itself (RFC 8693 §4.1)", async () => {
  const answer = await exchange('travel-agent', await provider.idToken('ada'), 'id_token', CALENDAR);
  expect(answer.status, answer.text).toBe(200);
  expect(claimsOf(answer.body.access_token)).toMatchObject({
    iss: cambist.issuer,
    sub: 'corp:ada',
    act: { sub: 'travel-agent' },
    aud: CALENDAR,
    scope: 'calendar:read',
    client_id: 'travel-agent',
  });
});

it("the travel agent does not get Ada's notes, and the record names the policy that forbids it", async () => {
  const answer = await exchange('travel-agent', await provider.idToken('ada'), 'id_token', NOTES, 'notes:read');
  expect(answer.status).toBe(400);
  expect(answer.body.error).toBe('invalid_target');
  const [record] = await cambist.records(answer.headers.get('cambist-request-id') ?? '');
  expect(record?.body).toMatchObject({ kind: 'refused', refusal: { reason: 'all_scopes_denied' } });
  expect(record?.canonical).toContain('notes-are-private');
});

it('the notes server looks up dates for whoever may write notes, along the declared call edge (R7)', async () => {
  const idToken = await provider.idToken('ada');
  const first = await exchange('notes-agent', idToken, 'id_token', NOTES, 'notes:write');
  expect(first.status, first.text).toBe(200);
  const second = await exchange('notes-server', first.body.access_token, 'access_token', CALENDAR, 'calendar:read');
  expect(second.status, second.text).toBe(200);
  expect(claimsOf(second.body.access_token)).toMatchObject({
    sub: 'corp:ada',
    aud: CALENDAR,
    act: { sub: 'notes-server', act: { sub: 'notes-agent' } },
  });
  const reader = await exchange('notes-agent', idToken, 'id_token', NOTES, 'notes:read');
  const refused = await exchange('notes-server', reader.body.access_token, 'access_token', CALENDAR, 'calendar:read');
  expect(refused.body.error).toBe('invalid_target');
});

it('the calendar server gets a token for the API behind it, out of a token that it was sent; the agent gets none', async () => {
  const api = `${cambist.issuer}/egress/calendar-api`;
  const first = await exchange('travel-agent', await provider.idToken('ada'), 'id_token', CALENDAR);
  const second = await exchange('calendar-server', first.body.access_token, 'access_token', api);
  expect(second.status, second.text).toBe(200);
  expect(claimsOf(second.body.access_token)).toMatchObject({
    sub: 'corp:ada',
    aud: api,
    scope: 'events:read',
    act: { sub: 'calendar-server', act: { sub: 'travel-agent' } },
  });
  for (const [token, type] of [
    [await provider.idToken('ada'), 'id_token'],
    [first.body.access_token, 'access_token'],
  ]) {
    const own = await exchange('travel-agent', token, type, api);
    expect(own.status).toBe(400);
    expect(own.body.access_token).toBeUndefined();
  }
});
