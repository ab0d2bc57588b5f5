/**
 * Profile `core`: the token-exchange request and its answers (RFC 8693 §2), what the token endpoint owes every client
 * (RFC 6749 §2.3, §3.2, §5) and the targets that are asked for (RFC 8707).
 */
import { answerInWords, tokenTypeUrn } from '../target/target.ts';
import { formOf, replaced } from '../wire/form.ts';
import type { Answer } from '../wire/http.ts';
import { decodeJwt, scopeValues } from '../wire/jwt.ts';
import { ACCESS_TOKEN_TYPE, exchange, exchangeForm, honestExchange, textMember, shown } from './asking.ts';
import { isTokenAnswer } from './scenario.ts';
import type { Probe, Scenario } from './scenario.ts';

const KNOWN_TYPES = ['access_token', 'refresh_token', 'id_token', 'saml1', 'saml2', 'jwt'].map(tokenTypeUrn);

const successfulExchange: Scenario = {
  id: 'core/exchange',
  profile: 'core',
  title: 'An exchange that should be granted, and what its answer must hold',
  requests: 4,
  async run(probe) {
    const answer = await honestExchange(probe);
    const json = answer.json ?? {};
    probe.holds('rfc8693-2.1-exchange', true, 'an honest exchange was granted', answer);
    const issued = textMember(answer, 'issued_token_type');
    probe.holds(
      'rfc8693-2.2.1-issued-token-type',
      URL.canParse(issued),
      issued === '' ? 'issued_token_type is missing' : `issued_token_type is ${issued}`,
      answer,
    );
    const tokenType = textMember(answer, 'token_type');
    const usable = ['bearer', 'dpop', 'mac', 'pop'].includes(tokenType.toLowerCase());
    const isAccess = issued === ACCESS_TOKEN_TYPE;
    probe.holds(
      'rfc8693-2.2.1-token-type',
      tokenType !== '' && (isAccess ? usable : true),
      `token_type is "${tokenType}"`,
      answer,
    );
    const expiresIn = json['expires_in'];
    probe.holds(
      'rfc8693-2.2.1-expires-in',
      typeof expiresIn === 'number' && Number.isInteger(expiresIn) && expiresIn > 0,
      `expires_in is ${shown(expiresIn)}`,
      answer,
    );
    const cache = answer.headers['cache-control'] ?? '';
    probe.holds('rfc6749-5.1-no-store', /\bno-store\b/i.test(cache), `Cache-Control is "${cache}"`, answer);
    const pragma = answer.headers['pragma'] ?? '';
    probe.holds('rfc6749-5.1-pragma', /\bno-cache\b/i.test(pragma), `Pragma is "${pragma}"`, answer);
    const type = answer.headers['content-type'] ?? '';
    probe.holds('rfc6749-5.1-json', /^application\/json\b/i.test(type), `Content-Type is "${type}"`, answer);
  },
};

const requestedTypes: Scenario = {
  id: 'core/requested-type',
  profile: 'core',
  title: 'What requested_token_type is answered with',
  requests: 8,
  async run(probe) {
    const asked = await exchange(probe, { requested_token_type: ACCESS_TOKEN_TYPE });
    probe.accepted(asked, 'an exchange for an access token');
    const issued = textMember(asked, 'issued_token_type');
    if (issued === '') probe.blocked('rfc8693-2.2.1-type-as-requested', 'issued_token_type is missing');
    else
      probe.holds(
        'rfc8693-2.2.1-type-as-requested',
        issued === ACCESS_TOKEN_TYPE,
        `asked for access_token, got ${issued}`,
        asked,
      );

    const jwt = await exchange(probe, { requested_token_type: tokenTypeUrn('jwt') });
    if (!isTokenAnswer(jwt)) probe.byPolicy('rfc8693-3-jwt-is-jwt', `refuses to issue jwt: ${answerInWords(jwt)}`, jwt);
    else if (textMember(jwt, 'issued_token_type') !== tokenTypeUrn('jwt'))
      probe.byPolicy('rfc8693-3-jwt-is-jwt', `issues ${textMember(jwt, 'issued_token_type')} instead`, jwt);
    else
      probe.holds(
        'rfc8693-3-jwt-is-jwt',
        decodeJwt(textMember(jwt, 'access_token')) !== undefined,
        'issued as jwt',
        jwt,
      );

    const unknown = await exchange(probe, { requested_token_type: 'urn:example:token-type:nobody-knows' });
    const claimed = textMember(unknown, 'issued_token_type');
    if (isTokenAnswer(unknown) && KNOWN_TYPES.includes(claimed))
      probe.byPolicy('rfc8693-2.1-unknown-requested-type', `issues ${claimed} and says so`, unknown);
    else probe.refused('rfc8693-2.1-unknown-requested-type', unknown);
  },
};

const malformed: Scenario = {
  id: 'core/malformed',
  profile: 'core',
  title: 'Requests with a required part missing, unknown or contradictory',
  requests: 12,
  async run(probe) {
    await honestExchange(probe);
    const invalid = { codes: ['invalid_request'] };
    const garbage = { subject_token: 'this-is-no-token' };
    probe.refused('rfc8693-2.1-subject-token', await exchange(probe, { subject_token: undefined }), invalid);
    probe.refused('rfc8693-2.1-subject-token-type', await exchange(probe, { subject_token_type: undefined }), invalid);
    const unknownType = { subject_token_type: 'urn:example:token-type:nobody-knows' };
    probe.refused('rfc8693-2.1-unknown-subject-type', await exchange(probe, unknownType));
    const saml = { subject_token_type: tokenTypeUrn('saml2') };
    probe.refused('rfc8693-2.1-subject-type-is-checked', await exchange(probe, saml));
    probe.refused('rfc8693-2.2.2-invalid-request', await exchange(probe, garbage), invalid);
    const typeAlone = { actor_token: undefined, actor_token_type: ACCESS_TOKEN_TYPE };
    probe.refused('rfc8693-2.1-actor-type-alone', await exchange(probe, typeAlone), invalid);
    const subject = await probe.token('default');
    const tokenAlone = { actor_token: subject.token, actor_token_type: undefined };
    probe.refused('rfc8693-2.1-actor-token-alone', await exchange(probe, tokenAlone), invalid);
  },
};

const grants: Scenario = {
  id: 'core/grant-type',
  profile: 'core',
  title: 'Unknown and missing grants, and the shape of error answers',
  requests: 7,
  async run(probe) {
    await honestExchange(probe);
    const unknown = await exchange(probe, { grant_type: 'urn:example:grant-type:nobody-knows' });
    probe.refused('rfc6749-5.2-unsupported-grant-type', unknown, { codes: ['unsupported_grant_type'] });
    const missing = await exchange(probe, { grant_type: undefined });
    probe.refused('rfc6749-5.2-missing-grant-type', missing, { codes: ['invalid_request'] });
    const garbage = await exchange(probe, { subject_token: 'this-is-no-token' });
    judgeErrorShape(
      probe,
      [unknown, missing, garbage].filter((one) => one.status >= 400 && one.status < 500),
    );
  },
};

/** RFC 6749 §5.2: status 400, a JSON object with `error`, and only the characters that are allowed in its members. */
function judgeErrorShape(probe: Probe, refusals: readonly Answer[]): void {
  const ids = ['rfc6749-5.2-status-400', 'rfc6749-5.2-json', 'rfc6749-5.2-characters'] as const;
  if (refusals.length === 0) {
    for (const id of ids) probe.blocked(id, 'none of three faulty requests was refused');
    return;
  }
  const statuses = refusals.map(({ status }) => status);
  probe.holds(
    ids[0],
    statuses.every((status) => status === 400),
    `statuses ${statuses.join(', ')}`,
    ...refusals,
  );
  const json = refusals.every(
    (one) => typeof one.json?.['error'] === 'string' && /^application\/json\b/i.test(one.headers['content-type'] ?? ''),
  );
  probe.holds(
    ids[1],
    json,
    json ? 'JSON with `error`' : 'no JSON object with `error`, or another Content-Type',
    ...refusals,
  );
  const texts = refusals.flatMap((one) => ['error', 'error_description'].map((member) => textMember(one, member)));
  // %x20-21 / %x23-5B / %x5D-7E
  const clean = texts.every((text) => /^[\x20\x21\x23-\x5b\x5d-\x7e]*$/.test(text));
  probe.holds(
    ids[2],
    clean,
    clean ? 'printable ASCII without quotes and backslashes' : 'other characters',
    ...refusals,
  );
}

const parameters: Scenario = {
  id: 'core/parameters',
  profile: 'core',
  title: 'Unknown, empty and repeated parameters',
  requests: 8,
  async run(probe) {
    await honestExchange(probe);
    const extra = await exchange(probe, { suite_unknown_parameter: 'value' });
    probe.holds('rfc6749-3.2-unknown-ignored', isTokenAnswer(extra), answerInWords(extra), extra);
    const subjectType = (await probe.token('default')).type;
    const empty = await exchange(probe, { actor_token: '', actor_token_type: '' });
    if (probe.target.config.delegation?.actor === 'token')
      probe.skip('rfc6749-3.2-empty-is-omitted', 'this target needs an actor token');
    else probe.holds('rfc6749-3.2-empty-is-omitted', isTokenAnswer(empty), answerInWords(empty), empty);
    const twice = await exchange(probe, { subject_token_type: [subjectType, subjectType] });
    probe.refused('rfc6749-3.2-repeated', twice, { codes: ['invalid_request'] });
  },
};

const transport: Scenario = {
  id: 'core/transport',
  profile: 'core',
  title: 'Only POST, only a form',
  requests: 6,
  async run(probe) {
    await honestExchange(probe);
    const form = await exchangeForm(probe);
    probe.refused('rfc6749-3.2-post-only', await probe.ask({ form: [], query: form, httpMethod: 'GET' }));
    const json = JSON.stringify(Object.fromEntries(await exchangeForm(probe)));
    probe.refused(
      'rfc8693-2.1-form-encoded',
      await probe.ask({ form: [], body: json, contentType: 'application/json' }),
    );
  },
};

const scopes: Scenario = {
  id: 'core/scope',
  profile: 'core',
  title: 'Scopes are given as asked, or the answer says otherwise',
  requests: 12,
  lacks: (target) =>
    (target.config.resources[0]?.scopes.length ?? 0) === 0
      ? 'the configuration names no scopes of the first resource'
      : undefined,
  async run(probe) {
    const [resource] = probe.target.config.resources;
    const known = [...(resource?.scopes ?? []), ...(resource?.denied_scopes ?? [])];
    const [first = ''] = known;
    const answer = probe.accepted(await exchange(probe, { scope: first }), `an exchange for the scope ${first}`);
    const claims = await probe.claims(answer);
    const reported = answer.json?.['scope'];
    const held = claims?.['scope'] ?? reported ?? first;
    const told = scopeValues(reported ?? first);
    const same = scopeValues(held).sort().join(' ') === [...told].sort().join(' ');
    const seen = `asked "${first}", answer says ${shown(reported, 'nothing')}, token says ${shown(claims?.['scope'], 'nothing')}`;
    probe.holds(
      'rfc6749-3.3-scope-is-told',
      same && (reported === undefined || typeof reported === 'string'),
      seen,
      answer,
    );
    const surplus = scopeValues(held).filter((scope) => scope !== first && known.includes(scope));
    probe.holds(
      'field-scope-not-wider',
      surplus.length === 0,
      surplus.length === 0 ? seen : `unasked: ${surplus.join(' ')}`,
      answer,
    );

    await judgeNotGranted(
      probe,
      'rfc6749-5.2-unknown-scope',
      `${first} suite-nobody-knows-this-scope`,
      'suite-nobody-knows-this-scope',
    );
    await judgeNotGranted(probe, 'rfc6749-3.3-scope-syntax', `${first} "quoted"\\`, '"quoted"\\');
    const [denied] = resource?.denied_scopes ?? [];
    if (denied === undefined) probe.skip('field-denied-scope', 'the configuration names no scope that policy denies');
    else await judgeNotGranted(probe, 'field-denied-scope', denied, denied);
  },
};

/** A scope that must not be given: refused with a fitting error, or left out with the answer saying so. */
async function judgeNotGranted(probe: Probe, id: string, scope: string, unwanted: string): Promise<void> {
  const answer = await exchange(probe, { scope });
  if (!isTokenAnswer(answer)) {
    probe.refused(id, answer, { codes: ['invalid_scope', 'invalid_target', 'invalid_request'] });
    return;
  }
  const claims = await probe.claims(answer);
  const held = scopeValues(claims?.['scope'] ?? answer.json?.['scope'] ?? scope);
  if (held.includes(unwanted)) probe.holds(id, false, `"${unwanted}" was granted`, answer);
  else if (answer.json?.['scope'] === undefined) probe.holds(id, false, `"${unwanted}" was dropped silently`, answer);
  else probe.byPolicy(id, `leaves "${unwanted}" out and says so`, answer);
}

const unentitled: Scenario = {
  id: 'core/unentitled-client',
  profile: 'core',
  title: 'A client that may not exchange',
  requests: 4,
  lacks: (target) =>
    target.config.clients.unentitled === undefined ? 'the configuration has no client `unentitled`' : undefined,
  async run(probe) {
    await honestExchange(probe);
    const answer = await exchange(probe, {}, {}, { client: 'unentitled' });
    probe.refused('rfc6749-5.2-unauthorized-client', answer, { codes: ['unauthorized_client'] });
  },
};

const clientCredentials: Scenario = {
  id: 'core/client-credentials',
  profile: 'core',
  title: 'The client credentials grant, where it is offered',
  requests: 3,
  lacks: (target) =>
    target.config.client_credentials === undefined ? 'the configuration has no `client_credentials`' : undefined,
  async run(probe) {
    const given = probe.target.config.client_credentials;
    const form = replaced(formOf({ grant_type: 'client_credentials' }), given?.parameters ?? {});
    const answer = await probe.ask({ client: given?.client ?? 'requester', form });
    probe.accepted(answer, 'an honest client_credentials request');
    probe.holds(
      'rfc6749-4.4-client-credentials',
      textMember(answer, 'token_type') !== '',
      answerInWords(answer),
      answer,
    );
    const refresh = answer.json?.['refresh_token'];
    probe.holds(
      'rfc6749-4.4.3-no-refresh-token',
      refresh === undefined,
      refresh === undefined ? 'no refresh token' : 'a refresh token',
      answer,
    );
  },
};

export const coreScenarios: readonly Scenario[] = [
  successfulExchange,
  requestedTypes,
  malformed,
  grants,
  parameters,
  transport,
  scopes,
  unentitled,
  clientCredentials,
];
