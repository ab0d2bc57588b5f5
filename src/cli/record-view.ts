/**
 * The facts of one audit record, a line each, in the order in which the request went. Whatever a record holds that has no
 * line of its own is shown as it stands: nothing that was recorded is left unsaid.
 */
import type { ExplainedRecord } from '../admin/operations.ts';
import { SECRET_PATH_ISSUER } from '../audit/secret-path.ts';

/** Fields that the headline, a line of their own or the decision below them say; or that only a verifier needs. */
const SAID = new Set([
  ...['v', 'id', 'time', 'kind', 'request_id', 'persons', 'decision', 'refusal', 'client', 'source_prefix', 'grant'],
  ...['asked', 'subject', 'act', 'act_as', 'impersonation', 'target', 'token', 'subject_token', 'actor_token'],
  ...['state_version', 'node', 'endpoint', 'revoked', 'credential', 'static_fetched'],
  ...['upstream', 'method', 'rule', 'status', 'ended', 'duration_ms', 'request_bytes', 'response_bytes', 'repeated'],
]);

type Body = ExplainedRecord['body'];

/** The lines below the headline and above the decision. */
export function describeFacts({ body, persons }: ExplainedRecord, stringify: (value: unknown) => string): string[] {
  const nameOf = namer(persons);
  const ending = body['kind'] === 'closed';
  const mentioned = new Set([body['subject'], ...listOf(body['act'])]);
  const lines: [label: string, said: string | undefined][] = [
    ['because', becauseOf(body)],
    ['client', clientOf(body)],
    ['asked', askedOf(body)],
    ['call', callOf(body, persons)],
    ['ended', endOf(body)],
    ['presented', presentedOf(body)],
    // Who it was stands sealed in the record of the opening alone.
    ['subject', body['subject'] === undefined || ending ? undefined : nameOf(body['subject'])],
    ['acting', ending ? undefined : actingOf(body, nameOf)],
    ...persons
      .filter(({ ref }) => !mentioned.has(ref))
      .map(({ ref, iss, sub }): [string, string] =>
        iss === SECRET_PATH_ISSUER ? ['secret', text(sub)] : ['person', nameOf(ref)],
      ),
    ['target', body['target'] === undefined ? undefined : listOf(body['target']).map(text).join(', ')],
    ['decided on', decidedOn(body)],
    ['token', tokenOf(body['token'])],
    ['credential', credentialOf(body)],
    ['revoked', revokedOf(body)],
    ['node', body['node'] === undefined ? undefined : text(body['node'])],
  ];
  const rest = Object.fromEntries(Object.entries(body).filter(([name]) => !SAID.has(name)));
  return [
    ...lines.flatMap(([label, said]) => (said === undefined ? [] : [`  ${label.padEnd(10)}  ${said}`])),
    ...(Object.keys(rest).length === 0 ? [] : [stringify(rest).trimEnd().replaceAll(/^/gm, '  ')]),
  ];
}

function becauseOf({ refusal }: Body): string | undefined {
  const detail = fieldOf(refusal, 'detail');
  if (typeof detail !== 'object' || detail === null) return undefined;
  const parts = Object.entries(detail).map(([name, value]) => `${name}: ${listOf(value).map(text).join(', ')}`);
  return parts.length === 0 ? undefined : parts.join('; ');
}

function clientOf({ client, source_prefix: source }: Body): string | undefined {
  if (client === undefined) return undefined;
  const from = source === undefined ? '' : `, from ${text(source)}`;
  const method = fieldOf(client, 'method');
  return `${text(fieldOf(client, 'id'))}${method === undefined ? '' : `, by ${text(method)}`}${from}`;
}

/** A call to an upstream. Its path stands sealed, with the person that its token is about. */
function callOf({ kind, upstream, method, rule }: Body, persons: ExplainedRecord['persons']): string | undefined {
  if (upstream === undefined || method === undefined || kind === 'closed') return undefined;
  const path = persons.map((person) => person['path']).find((one) => one !== undefined);
  const scopes = listOf(fieldOf(rule, 'scopes')).map(text);
  const wants = scopes.length === 0 ? '' : `, which wants scope ${scopes.join(' ')}`;
  const by = rule === undefined ? '' : `, by the rule for ${text(fieldOf(rule, 'path'))}${wants}`;
  return `${text(method)}${path === undefined ? '' : ` ${text(path)}`} at upstream ${text(upstream)}${by}`;
}

/** How a call to an upstream ended. */
function endOf(body: Body): string | undefined {
  const { ended, status, upstream, method } = body;
  if (ended === undefined) return undefined;
  return [
    text(ended),
    `${text(method)} at upstream ${text(upstream)} answered ${status === undefined ? 'nothing' : text(status)}`,
    `${text(body['request_bytes'])} bytes went out and ${text(body['response_bytes'])} came back`,
    `${text(body['duration_ms'])} ms`,
    ...(body['repeated'] === true ? ['repeated with a fresh credential'] : []),
  ].join('; ');
}

const SHORT = (urn: unknown) => text(urn).replace(/^urn:(ietf|cambist):params:oauth:(grant-type|token-type):/, '');

function askedOf({ grant, asked, endpoint }: Body): string | undefined {
  if (endpoint === 'revoke') return 'revocation of a token';
  if (endpoint === 'introspect') return 'introspection of a token';
  if (grant === undefined) return undefined;
  const targets = [...listOf(fieldOf(asked, 'resource')), ...listOf(fieldOf(asked, 'audience'))].map(text);
  const scope = fieldOf(asked, 'scope');
  const type = fieldOf(asked, 'requested_token_type');
  return [
    `${SHORT(grant)} for ${targets.length === 0 ? 'no target' : targets.join(', ')}`,
    scope === undefined ? 'no scope named' : `scope ${text(scope)}`,
    ...(type === undefined ? [] : [`as ${SHORT(type)}`]),
  ].join('; ');
}

function presentedOf({ asked, subject_token: subject, actor_token: actor }: Body): string | undefined {
  const one = (role: string, token: unknown) => {
    const type = fieldOf(asked, `${role}_token_type`);
    if (type === undefined) return [];
    const issuer = fieldOf(token, 'issuer');
    const exp = fieldOf(token, 'exp');
    const verified = token === undefined ? ', not verified' : '';
    const from = issuer === undefined ? '' : ` of ${text(issuer)}`;
    const until = typeof exp === 'number' ? `, good until ${timeOf(exp)}` : '';
    return [`${SHORT(type)}${from} as ${role} token${until}${verified}`];
  };
  const said = [...one('subject', subject), ...one('actor', actor)];
  return said.length === 0 ? undefined : said.join('; ');
}

function actingOf({ act, act_as: actAs, impersonation }: Body, nameOf: (ref: unknown) => string): string | undefined {
  if (impersonation === true) return 'nobody in the token: impersonation, which policy permits by name';
  const chain = listOf(act).map(nameOf);
  if (chain.length === 0) return undefined;
  const presented = actAs === true ? ' (presented by the client with an actor token)' : '';
  const [current, ...before] = chain;
  return `${current ?? ''}${presented}${before.length === 0 ? '' : `, after ${before.join(', after ')}`}`;
}

/** What of the question is not said elsewhere: version of the objects, policies, and what policies could see. */
function decidedOn({ state_version: version, decision }: Body): string | undefined {
  if (version === undefined) return undefined;
  const [answer] = listOf(fieldOf(decision, 'answers'));
  const [input] = listOf(fieldOf(decision, 'inputs'));
  const context = fieldOf(input, 'context');
  const via = fieldOf(context, 'via');
  const depth = fieldOf(context, 'depth');
  const digest = fieldOf(answer, 'policy_digest');
  const groups = listOf(fieldOf(fieldOf(input, 'client'), 'groups')).map(text);
  const beyond = listOf(fieldOf(decision, 'beyond_token')).map(text);
  return [
    `objects at version ${text(version)}`,
    ...(digest === undefined ? [] : [`policies ${text(digest).slice(0, 16)}`]),
    ...(depth === undefined ? [] : [`chain of ${text(depth)}`]),
    ...(via === undefined || via === null ? [] : [`a hop via ${text(via)}`]),
    ...(groups.length === 0 ? [] : [`groups of the client ${groups.join(', ')}`]),
    ...(beyond.length === 0 ? [] : [`beyond the presented token: ${beyond.join(', ')}`]),
  ].join('; ');
}

function tokenOf(token: unknown): string | undefined {
  if (token === undefined) return undefined;
  const scope = fieldOf(token, 'scope');
  const exp = fieldOf(token, 'exp');
  const clientId = fieldOf(token, 'client_id');
  return [
    `jti ${text(fieldOf(token, 'jti'))}`,
    `key ${text(fieldOf(token, 'kid'))}`,
    // What a record of its revocation or introspection says of it is not its scope but whose it is.
    ...(scope === undefined ? [] : [scope === null ? 'no scope' : `scope ${text(scope)}`]),
    ...(clientId === undefined
      ? []
      : [`issued to ${text(clientId)} for ${listOf(fieldOf(token, 'aud')).map(text).join(', ')}`]),
    ...(typeof exp === 'number' ? [`until ${timeOf(exp)}`] : []),
  ].join('; ');
}

/** Which credential was injected or handed out; never what it was. */
function credentialOf({ credential, static_fetched: fetched }: Body): string | undefined {
  if (credential === undefined) return undefined;
  const { kind, store, path, version, scope, exp } = credential as Readonly<Record<string, unknown>>;
  const handedOut = scope === undefined ? [] : [`handed out${scope === '' ? '' : ` for scope ${text(scope)}`}`];
  return [
    `${text(kind)}, ${text(store)}:${text(path)}, ${kind === 'dynamic' ? 'lease' : 'version'} ${text(version)}`,
    ...handedOut,
    ...(typeof exp === 'number' ? [`for use until ${timeOf(exp)}`] : []),
    ...(fetched === true ? ['A KEY THAT DOES NOT EXPIRE WAS HANDED OUT (allow_fetch)'] : []),
  ].join('; ');
}

/** What a client revoked (`revoked` of the record): tokens, with all that was exchanged from them. */
function revokedOf({ revoked }: Body): string | undefined {
  const values = listOf(revoked).map((one) => `${text(fieldOf(one, 'kind'))} ${text(fieldOf(one, 'value'))}`);
  return values.length === 0 ? undefined : `${values.join(', ')}, and what was exchanged from it`;
}

/** Names the parties of a record: clients stand in clear, persons by a reference to what was sealed. */
function namer(persons: ExplainedRecord['persons']): (ref: unknown) => string {
  const byRef = new Map(persons.map((person) => [person['ref'], person]));
  return (ref) => {
    if (typeof ref === 'string' && ref.startsWith('client:')) return `client ${ref.slice('client:'.length)}`;
    const person = byRef.get(ref);
    if (person === undefined) return 'somebody who was erased since';
    const { sub, iss } = person;
    const more = ['groups', 'roles', 'email', 'name', 'source'].flatMap((field) => {
      const values = listOf(person[field]).map(text);
      return values.length === 0 ? [] : [`${field} ${values.join(', ')}`];
    });
    return `${text(sub)}${iss === undefined ? '' : ` of ${text(iss)}`}${more.length === 0 ? '' : ` (${more.join('; ')})`}`;
  };
}

function timeOf(seconds: number): string {
  const at = new Date(seconds * 1000);
  return Number.isNaN(at.getTime()) ? String(seconds) : at.toISOString().replace('.000Z', 'Z');
}

/** A list as it is, nothing as an empty one, anything else as a list of it. */
function listOf(value: unknown): readonly unknown[] {
  if (value === undefined || value === null) return [];
  return Array.isArray(value) ? value : [value];
}

/** A member of something that may be no object. */
export function fieldOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

/** A string as it is, anything else as JSON. */
export function text(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value ?? '');
}
