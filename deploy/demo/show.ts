/**
 * The main job, done for real over HTTP and shown: Ada's ID token goes in, a token for one MCP server comes out; the
 * server's tool uses an API whose key it never has; the agent is refused what it may not have; all left records.
 */
import { CALENDAR } from './company.ts';
import type { Company } from './company.ts';
import { table } from './terminal.ts';
import type { Terminal } from './terminal.ts';

export const NOTES = 'https://notes.demo.example/mcp';
const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const ID_TOKEN = 'urn:ietf:params:oauth:token-type:id_token';

type Claims = Readonly<Record<string, unknown>>;

interface Outcome {
  readonly status: number;
  readonly body: Claims;
  readonly requestId: string;
}

/** Request ids of what was shown. */
export interface Shown {
  readonly permitted: string;
  readonly denied: string;
  /** The call to the upstream. */
  readonly called: string;
}

/** Runs the show. Throws when the permit was refused or the denial was not. */
export async function show(company: Company, terminal: Terminal): Promise<Shown> {
  const { line, bold, dim, good, bad } = terminal;
  const idToken = await company.signAdaIn();
  line(`${bold('1. Ada signs in once')} at her company's identity provider (authorization code + PKCE): an ID token.`);
  line();

  const permitted = await exchange(company, idToken, CALENDAR, 'calendar:read calendar:write');
  line(bold('2. travel-agent exchanges it for a token that is good at one MCP server, the calendar'));
  if (permitted.status !== 200) throw new Error(`the exchange was refused: ${JSON.stringify(permitted.body)}`);
  const issued = decode(String(permitted.body['access_token']));
  line(`   ${good(`HTTP ${permitted.status}`)}`);
  for (const row of compare(decode(idToken), issued)) line(`   ${row}`);
  line();

  const used = await company.calendar.callTool(String(permitted.body['access_token']));
  const { environment, received } = company.calendar.serverHasKey();
  if (environment || received) throw new Error('the calendar MCP server got to see the key of the API behind it');
  line(bold('3. It calls a tool of that server, and the API behind the server wants a key that neither of them has'));
  line(`   ${good('tool "events"')} ${used.events.join('; ')}`);
  line(
    '   The server exchanged its token for one that is good at Cambist alone; Cambist put the key into the request.',
  );
  line(`   ${dim("Looked for the key: not in the environment of the server's process, not in anything it was sent.")}`);
  line();

  const denied = await exchange(company, idToken, NOTES, 'notes:read');
  line(bold("4. The agent asks for Ada's notes, which are none of its business"));
  if (denied.status === 200) throw new Error('the exchange that policy forbids was permitted');
  line(`   ${bad(`HTTP ${denied.status}`)} ${JSON.stringify(denied.body)}`);
  line(`   ${dim('The agent learns no more. Whoever runs Cambist asks:')} cambist explain ${denied.requestId}`);
  const [explanation, ...records] = await Promise.all([
    company.cambist.command('explain', denied.requestId),
    readRecord(company, permitted.requestId),
    readRecord(company, used.call),
    readRecord(company, denied.requestId),
  ]);
  for (const text of gist(explanation)) line(`   ${text}`);
  line();

  line(bold('5. Each left a record; without it there would have been no answer'));
  for (const row of table(RECORD_ROWS.map(([name, read]) => [name, ...records.map(read)]))) line(`   ${row}`);
  line(`   ${dim('What is personal in them is stored encrypted, under a key of that person.')}`);
  line();
  return { permitted: permitted.requestId, denied: denied.requestId, called: used.call };
}

async function exchange(company: Company, subjectToken: string, resource: string, scope: string): Promise<Outcome> {
  const credentials = Buffer.from(`travel-agent:${company.secretOf('travel-agent')}`).toString('base64');
  const response = await fetch(`${company.cambist.issuer}/oauth2/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${credentials}` },
    body: new URLSearchParams({
      grant_type: TOKEN_EXCHANGE,
      subject_token: subjectToken,
      subject_token_type: ID_TOKEN,
      resource,
      scope,
    }),
  });
  const body = (await response.json()) as Claims;
  return {
    status: response.status,
    body,
    requestId: response.headers.get('cambist-request-id') ?? '',
  };
}

/** The claims of a JWT. Only for showing: nothing here decides by them. */
function decode(jwt: string): Claims {
  return JSON.parse(Buffer.from(jwt.split('.')[1] ?? '', 'base64url').toString('utf8')) as Claims;
}

function compare(before: Claims, after: Claims): string[] {
  const names = ['iss', 'sub', 'act.sub', 'act.iss', 'client_id', 'aud', 'scope', 'exp', 'groups', 'email'];
  const rows = names.map((name) => [name, display(name, before), display(name, after)]);
  return table([['', 'what went in: ID token', 'what came out: access token'], ...rows]);
}

function display(name: string, claims: Claims): string {
  const value = name.split('.').reduce<unknown>((place, part) => (place as Claims | undefined)?.[part], claims);
  if (value === undefined) return '-';
  if (name === 'exp') return `in ${Number(value) - Number(claims['iat'])} s`;
  if (Array.isArray(value)) return value.join(', ');
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** What `cambist explain` says, without the fields of the record that are shown below. */
function gist(explanation: string): string[] {
  const lines = explanation.trimEnd().split('\n');
  const verdicts = lines.findIndex((text) => text.startsWith('  scope '));
  return [...lines.slice(0, 1), ...lines.slice(verdicts)];
}

interface ExplainedRecord {
  readonly kind: string;
  readonly body: Claims;
  readonly persons: readonly Claims[];
}

async function readRecord(company: Company, requestId: string): Promise<ExplainedRecord> {
  const records = JSON.parse(
    await company.cambist.command('explain', requestId, '--json'),
  ) as readonly ExplainedRecord[];
  const [record] = records;
  if (record === undefined) throw new Error(`no record of request ${requestId}`);
  return record;
}

const RECORD_ROWS: readonly (readonly [string, (record: ExplainedRecord) => string])[] = [
  ['outcome', ({ kind, body }) => [kind, textAt(body, 'refusal', 'reason')].join(' ').trim()],
  ['time', ({ body }) => textAt(body, 'time').slice(11)],
  ['request', ({ body }) => textAt(body, 'request_id')],
  ['subject', ({ persons }) => textAt(persons[0], 'email') || textAt(persons[0], 'sub')],
  ['acting', ({ body }) => actors(body)],
  ['asked for', ({ body }) => textAt(body, 'asked', 'scope') || textAt(body, 'rule', 'path')],
  ['at', ({ body }) => textAt(body, 'target') || `upstream ${textAt(body, 'upstream')}`],
  ['policies', ({ body }) => policiesOf(body).join(', ') || '-'],
  ['key', ({ body }) => keyOf(body)],
];

/** The current actor first, then who acted before. */
function actors(body: Claims): string {
  return textAt(body, 'act').replaceAll('client:', '').replaceAll(', ', ', for ');
}

/** Which key was put in: its place and version, never its value. */
function keyOf(body: Claims): string {
  const path = textAt(body, 'credential', 'path');
  return path === '' ? '-' : `${path}, version ${textAt(body, 'credential', 'version')}`;
}

function textAt(value: unknown, ...path: readonly string[]): string {
  const found = path.reduce<unknown>((place, name) => (place as Claims | undefined)?.[name], value);
  if (Array.isArray(found)) return found.join(', ');
  return typeof found === 'string' ? found : '';
}

/** Every policy that decided one of the questions. */
function policiesOf(body: Claims): string[] {
  type Answer = { readonly policies: readonly string[] } | null;
  type Verdict = Readonly<Record<'subject' | 'actor', Answer>>;
  const decision = body['decision'] as
    { readonly answers: readonly { readonly verdicts: readonly Verdict[] }[] } | undefined;
  const answers = (decision?.answers ?? []).flatMap(({ verdicts }) =>
    verdicts.flatMap(({ subject, actor }) => [subject, actor]),
  );
  return [...new Set(answers.flatMap((answer) => answer?.policies ?? []))];
}
