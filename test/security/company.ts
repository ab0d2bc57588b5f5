/**
 * The company that every security test attacks: trusted issuers shaped like an OpenID provider, Kubernetes, SPIFFE and
 * GitHub Actions, clients with every method, resources with call edges and an audience group, policies. The real
 * Cambist stands on a real port; its log is captured and its clock can be held still.
 *
 * Also the two ends of every test here: `expectGranted` (the control: the same request without the fault) and
 * `expectRefused` (status, error, constant description, headers, and the exact reason in log and record).
 */
import { expect } from 'vitest';
import { createOperations } from '../../src/admin/operations.ts';
import type { Operations, OperationsParts } from '../../src/admin/operations.ts';
import { createLogger } from '../../src/core/log.ts';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import type { Database } from '../../src/store/database.ts';
import { startJwksIssuer } from '../support/jwks-issuer.ts';
import type { IssuerKey, JwksIssuer, MintOptions } from '../support/jwks-issuer.ts';
import { claimsOf, postForm } from '../support/token-client.ts';
import type { FormFields, TokenAnswer } from '../support/token-client.ts';

export const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
export const TYPE = 'urn:ietf:params:oauth:token-type:';
export const JWT_BEARER = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
export const JWT_SPIFFE = 'urn:ietf:params:oauth:client-assertion-type:jwt-spiffe';
export const NOTES = 'https://notes.example/mcp';
export const CALENDAR = 'https://calendar.example/mcp';
export const MAIL = 'https://mail.example/mcp';
export const PAYROLL = 'https://payroll.example/mcp';
export const POD = 'system:serviceaccount:agents:planner';
export const WORKLOAD = 'spiffe://prod.example/agents/planner';
export const REPOSITORY = 'repo:acme/agents:ref:refs/heads/main';

type Claims = Readonly<Record<string, unknown>>;

export interface Issuers {
  readonly corp: JwksIssuer;
  readonly kubernetes: JwksIssuer;
  readonly spiffe: JwksIssuer;
  readonly github: JwksIssuer;
  /** Its subjects are written verbatim. */
  readonly partner: JwksIssuer;
  /** Its tokens are single use. */
  readonly once: JwksIssuer;
  /** Signs the assertions of the client `agent`; nobody's trusted issuer. */
  readonly signer: JwksIssuer;
}

export interface Company extends Issuers {
  readonly cambist: TestCambist;
  /** Lines of Cambist's log, at its most talkative. */
  readonly log: readonly string[];
  /** Holds Cambist's clock at this second; `undefined` lets it go on. */
  holdClock(seconds: number | undefined): void;
  /** A token exchange; by default Ada's ID token, for notes, by the client `agent` with its secret. */
  readonly exchange: (fields?: FormFields, caller?: Caller) => Promise<TokenAnswer>;
  /** A client credentials request, by default of `agent`, for notes. */
  readonly credentials: (fields?: FormFields, caller?: Caller) => Promise<TokenAnswer>;
  /** Introspection of a token, or of a form; by default by `notes-server`. */
  readonly introspect: (token: string | FormFields, caller?: Caller) => Promise<TokenAnswer>;
  /** Revocation of a token, or of a form; by default by `agent`. */
  readonly revoke: (token: string | FormFields, caller?: Caller) => Promise<TokenAnswer>;
  /** What an operator does. */
  readonly operations: Operations;
  /** An ID token of Ada for the portal, from corp. */
  idToken(claims?: Claims, options?: MintOptions): Promise<string>;
  /** An assertion that the client `agent` signs. */
  assertion(claims?: Claims, options?: MintOptions): Promise<string>;
  podToken(claims?: Claims, options?: MintOptions): Promise<string>;
  spiffeToken(claims?: Claims, options?: MintOptions): Promise<string>;
  githubToken(claims?: Claims, options?: MintOptions): Promise<string>;
  stop(): Promise<void>;
}

/** `as`: the client whose secret goes into the Basic header; `null` = no header. `node`: another node than the first. */
export interface Caller {
  readonly as?: string | null;
  readonly node?: TestCambist;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Starts the company; `database` is for tests on a database of their own. */
export async function startCompany(options: { readonly database?: Database } = {}): Promise<Company> {
  const [corp, kubernetes, spiffe, github, partner, once, signer] = await Promise.all([
    startJwksIssuer({ algorithm: 'RS256' }),
    startJwksIssuer({ algorithm: 'RS256' }),
    startJwksIssuer({ issuer: 'spiffe://prod.example' }),
    startJwksIssuer({ algorithm: 'RS256' }),
    startJwksIssuer(),
    startJwksIssuer(),
    startJwksIssuer({ issuer: 'agent' }),
  ]);
  spiffe.publish([{ ...spiffe.keys[0]!.publicJwk, use: 'jwt-svid' }]);
  const issuers = { corp, kubernetes, spiffe, github, partner, once, signer };
  const log: string[] = [];
  const clock = { heldMs: undefined as number | undefined, nowMs: () => clock.heldMs ?? Date.now() };
  const cambist = await startCambist({
    objects: JSON.stringify(objectsOf(issuers)),
    ...(options.database === undefined ? {} : { database: options.database }),
    settings: { clock, logger: createLogger('trace', { write: (line: string) => void log.push(line) }) },
  });

  const postTo =
    (path: string, usual: string) =>
    (fields: FormFields, { as = usual, node = cambist, headers }: Caller = {}) =>
      postForm(`${node.url}/oauth2/${path}`, fields, {
        ...(as === null ? {} : { basic: [as, node.secretOf(as)] as const }),
        ...(headers === undefined ? {} : { headers }),
      });
  const post = postTo('token', 'agent');
  const about =
    (path: string, usual: string): Company['introspect'] =>
    (token, caller) =>
      postTo(path, usual)(typeof token === 'string' ? { token } : token, caller);
  const idToken: Company['idToken'] = (claims = {}, mint = {}) =>
    corp.mint({ sub: 'ada', aud: 'portal', groups: ['staff'], email: 'ada@corp.example', ...claims }, mint);
  const forUs =
    (issuer: JwksIssuer, base: Claims) =>
    (claims: Claims = {}, mint: MintOptions = {}) =>
      issuer.mint({ aud: cambist.issuer, ...base, ...claims }, mint);

  return {
    ...issuers,
    cambist,
    log,
    holdClock: (seconds) => {
      clock.heldMs = seconds === undefined ? undefined : seconds * 1000;
    },
    exchange: async (fields = {}, caller = {}) =>
      post(
        {
          grant_type: EXCHANGE,
          subject_token: 'subject_token' in fields ? undefined : await idToken(),
          subject_token_type: `${TYPE}id_token`,
          resource: NOTES,
          ...fields,
        },
        caller,
      ),
    credentials: (fields = {}, caller = {}) =>
      post({ grant_type: 'client_credentials', resource: NOTES, ...fields }, caller),
    introspect: about('introspect', 'notes-server'),
    revoke: about('revoke', 'agent'),
    operations: operationsOf(cambist),
    idToken,
    assertion: forUs(signer, { sub: 'agent' }),
    podToken: forUs(kubernetes, { sub: POD }),
    spiffeToken: forUs(spiffe, { sub: WORKLOAD, iss: undefined }),
    githubToken: forUs(github, { sub: REPOSITORY, repository_owner: 'acme' }),
    stop: async () => {
      await cambist.stop();
      await Promise.all(Object.values(issuers).map((issuer) => issuer.stop()));
    },
  };
}

/** As `openService` makes them, without what is done to a whole database. */
function operationsOf({ service, issuer }: TestCambist): Operations {
  return createOperations({
    ...service,
    keys: service.keyParts,
    revocation: service.revocationParts,
    secrets: service.secretParts,
    upkeep: {} as OperationsParts['upkeep'],
    ownIssuer: issuer,
    demoRefusedBecause: undefined,
    author: 'test',
  });
}

/** A token over exactly this JSON text, signed by the issuer: for claims that no library would write. */
export function signText(
  issuer: JwksIssuer,
  text: string,
  header: Claims = {},
  key: IssuerKey = issuer.keys.at(-1)!,
): string {
  return issuer.mintRaw(JSON.stringify({ alg: key.algorithm, kid: key.kid, typ: 'JWT', ...header }), text, key);
}

/** A token over exactly these claims, signed by the issuer. */
export function signClaims(issuer: JwksIssuer, claims: Claims, header?: Claims, key?: IssuerKey): string {
  return signText(issuer, JSON.stringify(claims), header, key);
}

/** Form fields of a client assertion. */
export function bearer(assertion: string, type: string = JWT_BEARER): FormFields {
  return { client_assertion: assertion, client_assertion_type: type };
}

export function requestIdOf(answer: TokenAnswer): string {
  return answer.headers.get('cambist-request-id') ?? '';
}

/** The control: this request is fine. Returns the claims of the issued token. */
export function expectGranted(answer: TokenAnswer): any {
  expect(answer.status, answer.text).toBe(200);
  expect(answer.body.token_type).toBe('Bearer');
  return claimsOf(answer.body.access_token);
}

/** What callers read, one constant text per code. */
const DESCRIPTIONS: Readonly<Record<string, string>> = {
  invalid_request: 'The request is malformed, or a token in it is missing, invalid or not acceptable.',
  invalid_client: 'Client authentication failed.',
  unauthorized_client: 'This client may not do what it asked for.',
  unsupported_grant_type: 'This grant type is not supported.',
  invalid_scope: 'A requested scope is unknown, malformed or not permitted.',
  invalid_target: 'A requested resource or audience is missing, unknown or not permitted.',
  temporarily_unavailable: 'The service cannot answer now. Try again later.',
  server_error: 'The service failed to answer.',
};

export interface Expected {
  readonly status?: number;
  readonly error: string;
  readonly reason: string;
  readonly detail?: Readonly<Record<string, unknown>>;
  /** The caller had not proved who it is: the reason is in the log alone. */
  readonly unauthenticated?: boolean;
}

/** A refusal as it must look from outside and inside. */
export async function expectRefused(
  company: Pick<Company, 'cambist' | 'log'>,
  answer: TokenAnswer,
  expected: Expected,
): Promise<void> {
  const { error, reason, detail } = expected;
  const said = { ...expected, got: answer.text };
  expectErrorForm(answer, expected.status ?? (error === 'invalid_client' ? 401 : 400), error);
  const requestId = requestIdOf(answer);
  expect(loggedRefusal(company, requestId)?.reason, JSON.stringify(said)).toBe(reason);
  const records = await company.cambist.records(requestId);
  if (expected.unauthenticated ?? error === 'invalid_client') {
    expect(records).toEqual([]);
    if (detail !== undefined) expect(loggedRefusal(company, requestId)?.detail).toMatchObject(detail);
    return;
  }
  expect(records).toHaveLength(1);
  expect(records[0]?.body).toMatchObject({ kind: 'refused', refusal: { reason, detail: detail ?? {} } });
}

/** Status, code, constant description, no-store, request id: the form of every error of the token endpoint. */
export function expectErrorForm(answer: TokenAnswer, status: number, error: string): void {
  expect(answer.status, answer.text).toBe(status);
  expect(answer.body).toEqual({ error, error_description: DESCRIPTIONS[error] });
  expect(answer.headers.get('cache-control')).toBe('no-store');
  expect(answer.headers.get('content-type')).toBe('application/json');
  expect(requestIdOf(answer)).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/);
}

/** What the operational log says of a refused request. */
export function loggedRefusal(
  { log }: Pick<Company, 'log'>,
  requestId: string,
): { readonly reason: string; readonly detail: Readonly<Record<string, unknown>> } | undefined {
  return log.map((line) => JSON.parse(line)).find((line) => line.request_id === requestId && line.msg === 'refused');
}

function objectsOf({ corp, kubernetes, spiffe, github, partner, once, signer }: Issuers): unknown {
  const basic = (id: string, more: Claims = {}) => ({ id, auth: ['client_secret_basic'], ...more });
  const workload = (id: string, issuer: string, sub: string) => ({
    id,
    auth: ['workload_identity'],
    identities: [{ issuer, sub }],
    groups: ['agents'],
  });
  const groups = { claims: { groups: 'groups', email: 'email' } };
  return {
    issuers: [
      {
        name: 'corp',
        issuer: corp.issuer,
        internal: true,
        audiences: [{ value: 'portal', clients: ['agent', 'second', 'remote', 'poster', 'limited', 'powerless'] }],
        algorithms: ['RS256', 'PS256', 'ES256'],
        token_types: { id_token: {}, access_token: {} },
        ...groups,
      },
      {
        name: 'kubernetes',
        issuer: kubernetes.issuer,
        internal: true,
        jwks_uri: kubernetes.jwksUri,
        algorithms: ['RS256'],
        token_types: { jwt: {} },
        max_lifetime_seconds: 3600,
      },
      {
        name: 'spiffe',
        issuer: 'spiffe://prod.example',
        internal: true,
        jwks_uri: spiffe.jwksUri,
        token_types: { jwt: {} },
      },
      {
        name: 'github',
        issuer: github.issuer,
        internal: true,
        token_types: { jwt: {} },
        required_claims: { repository_owner: 'acme' },
      },
      {
        name: 'partner',
        issuer: partner.issuer,
        internal: true,
        token_types: { jwt: {}, id_token: {} },
        subject: { claims: ['sub'], verbatim: true },
        clients: ['agent'],
        ...groups,
      },
      { name: 'once', issuer: once.issuer, internal: true, token_types: { jwt: {} }, single_use: true, ...groups },
    ],
    clients: [
      {
        id: 'agent',
        auth: ['client_secret_basic', 'client_secret_post', 'private_key_jwt'],
        jwks: { keys: [signer.keys[0]!.publicJwk] },
        groups: ['agents'],
      },
      {
        id: 'remote',
        auth: ['private_key_jwt'],
        jwks_uri: signer.jwksUri,
        internal: true,
        token_endpoint_audience: true,
        groups: ['agents'],
      },
      // Its key is for an algorithm that it may not use.
      { id: 'narrow', auth: ['private_key_jwt'], algorithms: ['PS256'], jwks: { keys: [signer.keys[0]!.publicJwk] } },
      { id: 'poster', auth: ['client_secret_post'], groups: ['agents'] },
      basic('second', { groups: ['agents'] }),
      basic('limited', { grants: ['client_credentials'], groups: ['agents'] }),
      // May present tokens, but policy lets it do nothing with them.
      basic('powerless'),
      basic('outsider', { groups: ['agents'] }),
      basic('notes-server'),
      basic('calendar-server'),
      workload('pod', 'kubernetes', POD),
      workload('spiffe-agent', 'spiffe', WORKLOAD),
      workload('github-agent', 'github', REPOSITORY),
      // Bound to an issuer that is not trusted to sign assertions: its tokens are ID tokens and access tokens.
      workload('robot', 'corp', 'robot'),
      workload('single-use-agent', 'once', 'job-1'),
    ],
    resources: [
      {
        name: 'notes',
        uri: NOTES,
        aliases: ['https://notes.example/api'],
        scopes: { 'notes:read': 'Read', 'notes:write': 'Write', 'notes:purge': 'Purge' },
        default_scopes: ['notes:read'],
        served_by: ['notes-server'],
        calls: [{ resource: 'calendar', needs: ['notes:write'], gives: ['calendar:read'] }],
      },
      {
        name: 'calendar',
        uri: CALENDAR,
        scopes: { 'calendar:read': 'Read', 'calendar:write': 'Write' },
        default_scopes: ['calendar:read'],
        served_by: ['calendar-server'],
        calls: [{ resource: 'notes', needs: ['calendar:read'], gives: ['notes:write'] }],
        audience_group: 'office',
      },
      {
        name: 'mail',
        uri: MAIL,
        scopes: { 'mail:read': 'Read' },
        default_scopes: ['mail:read'],
        audience_group: 'office',
      },
      { name: 'payroll', uri: PAYROLL, scopes: { 'payroll:read': 'Read' }, default_scopes: ['payroll:read'] },
    ],
    roles: [{ name: 'employee', groups: ['corp:staff', 'partner:staff', 'once:staff'] }],
    subjects: [
      { issuer: 'corp', sub: 'ada' },
      { issuer: 'partner', sub: 'ada' },
    ],
    policies: [
      { id: 'people', cedar: PEOPLE },
      { id: 'agents', cedar: AGENTS },
    ],
  };
}

const PEOPLE = `
  @id("employees") permit (principal in Role::"employee", action == Action::"access", resource)
    when { resource.resource != "payroll" && resource.name != "notes:purge" };
  @id("clients") permit (principal is Client, action == Action::"access", resource)
    when { resource.resource == "notes" && resource.name == "notes:read" };
`;
const AGENTS = `
  @id("agents") permit (principal in Group::"agents", action == Action::"act", resource)
    when { resource.resource != "payroll" };
  @id("notes-server") permit (principal == Client::"notes-server", action == Action::"act", resource == Scope::"calendar#calendar:read");
  @id("calendar-server") permit (principal == Client::"calendar-server", action == Action::"act", resource == Scope::"notes#notes:write");
`;
