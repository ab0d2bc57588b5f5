/**
 * Logging in to Vault, one function per method. What proves who we are is read at each login: files of agents and
 * clusters are replaced under us.
 */
import { readFile } from 'node:fs/promises';
import { isJsonObject } from '../../tokens/strict-json.ts';
import type { JsonObject } from '../../tokens/strict-json.ts';
import { VaultUnavailable, saidBy } from './fault.ts';
import type { Questions } from './questions.ts';
import type { VaultLogin } from './settings.ts';
import type { VaultAnswer } from './transport.ts';

/** A token of Vault, and how long it lives. */
export interface LoggedIn {
  readonly token: string;
  /** When it ends unless it is renewed, on the clock that only goes forward; `Infinity` = never. */
  readonly endsAtMs: number;
  /** What it was given at login. */
  readonly lifetimeSeconds: number;
  readonly renewable: boolean;
  readonly sinceMs: number;
}

/** A token about us (no subject), or about a subject, for an audience. */
export type MintForVault = (audience: string, subject?: string) => Promise<string>;

export interface LoginParts {
  readonly questions: Pick<Questions, 'ask'>;
  readonly mint: MintForVault;
}

/** The login of the settings. It throws VaultUnavailable where Vault refuses, since then nothing of Vault can be had. */
export function createLogin(login: VaultLogin, parts: LoginParts): () => Promise<LoggedIn> {
  switch (login.method) {
    case 'token':
      return () => lookupToken(parts.questions, login.token);
    case 'token_file':
      return async () => lookupToken(parts.questions, await readSecretFile(login.file, 'vault.login.file'));
    case 'approle': {
      const secretId = createSecretIds(login, parts.questions);
      return async () => logInAt(parts.questions, login.mount, { role_id: login.roleId, secret_id: await secretId() });
    }
    case 'kubernetes':
      return async () =>
        logInAt(parts.questions, login.mount, {
          role: login.role,
          jwt: await readSecretFile(login.file, 'vault.login.file'),
        });
    case 'jwt':
      return async () =>
        logInAt(parts.questions, login.mount, { role: login.role, jwt: await parts.mint(login.audience) });
  }
}

/** `POST auth/<mount>/login`; throws VaultUnavailable (`login_refused`) where the answer is no. */
export async function logInAt(
  questions: Pick<Questions, 'ask'>,
  mount: string,
  body: Readonly<Record<string, string>>,
): Promise<LoggedIn> {
  const sinceMs = performance.now();
  const path = `auth/${mount}/login`;
  // A secret id may be good for one use only.
  const answer = await questions.ask({ method: 'POST', path, body, token: undefined, repeat: 'once' });
  if (answer.status !== 200) throw refusedLogin(path, answer);
  const auth = answer.body?.['auth'];
  if (!isJsonObject(auth) || typeof auth['client_token'] !== 'string')
    // A login that waits for a second factor answers 200 as well.
    throw new VaultUnavailable(
      'login_refused',
      `${path}: no token in the answer; multi-factor logins are not for services`,
    );
  return loggedIn(auth['client_token'], sinceMs, auth['lease_duration'], auth['renewable']);
}

function refusedLogin(path: string, answer: VaultAnswer): VaultUnavailable {
  const said = saidBy(answer.body);
  return new VaultUnavailable('login_refused', `${path}: ${said ?? `status ${answer.status}`}`);
}

/** What Vault says of a token; throws VaultUnavailable where it knows none such. */
async function lookupToken(questions: Pick<Questions, 'ask'>, token: string): Promise<LoggedIn> {
  const sinceMs = performance.now();
  const answer = await questions.ask({ method: 'GET', path: 'auth/token/lookup-self', token, repeat: 'safe' });
  const data = answer.body?.['data'];
  if (answer.status !== 200 || !isJsonObject(data)) throw refusedLogin('the token that was given', answer);
  return loggedIn(token, sinceMs, data['ttl'], data['renewable']);
}

/** Is it a token that Vault knows? */
export async function isAlive(questions: Pick<Questions, 'ask'>, token: string): Promise<boolean> {
  const answer = await questions.ask({ method: 'GET', path: 'auth/token/lookup-self', token, repeat: 'safe' });
  return answer.status === 200;
}

/** A longer life for the same token; `undefined` where Vault does not give it. */
export async function renewToken(questions: Pick<Questions, 'ask'>, current: LoggedIn): Promise<LoggedIn | undefined> {
  const sinceMs = performance.now();
  const path = 'auth/token/renew-self';
  const answer = await questions.ask({ method: 'POST', path, body: {}, token: current.token, repeat: 'safe' });
  const auth = answer.body?.['auth'];
  if (answer.status !== 200 || !isJsonObject(auth)) return undefined;
  const renewed = loggedIn(current.token, sinceMs, auth['lease_duration'], auth['renewable']);
  return { ...renewed, lifetimeSeconds: current.lifetimeSeconds, sinceMs: current.sinceMs };
}

/** `duration` 0 is a token that does not end by itself: a root token. */
function loggedIn(token: string, sinceMs: number, duration: unknown, renewable: unknown): LoggedIn {
  if (typeof duration !== 'number' || duration < 0)
    throw new VaultUnavailable('odd_answer', 'a login without a duration');
  const lifetimeSeconds = duration === 0 ? Infinity : duration;
  return {
    token,
    sinceMs,
    lifetimeSeconds,
    endsAtMs: sinceMs + lifetimeSeconds * 1000,
    renewable: renewable === true && duration > 0,
  };
}

type AppRole = Extract<VaultLogin, { readonly method: 'approle' }>;

/** The secret id; a wrapped one is opened once, and anew when another one is given. */
function createSecretIds(login: AppRole, questions: Pick<Questions, 'ask'>): () => Promise<string> {
  let opened: { readonly wrapping: string; readonly secretId: string } | undefined;
  const given = async () =>
    'value' in login.secretId
      ? login.secretId.value
      : await readSecretFile(login.secretId.file, 'vault.login.secret_id_file');
  return async () => {
    const text = await given();
    if (!login.secretIdWrapped) return text;
    if (opened?.wrapping !== text) opened = { wrapping: text, secretId: await unwrapSecretId(login, questions, text) };
    return opened.secretId;
  };
}

/**
 * Looks where the wrapping token comes from before it is used up: one that was made elsewhere carries somebody else's
 * secret. A wrapping token that is gone was opened by somebody.
 */
async function unwrapSecretId(
  { mount }: AppRole,
  questions: Pick<Questions, 'ask'>,
  wrapping: string,
): Promise<string> {
  const refused = (why: string) => new VaultUnavailable('login_refused', `the wrapped secret id ${why}`);
  const looked = await questions.ask({
    method: 'POST',
    path: 'sys/wrapping/lookup',
    body: { token: wrapping },
    token: undefined,
    repeat: 'safe',
  });
  const data = looked.body?.['data'];
  if (looked.status !== 200 || !isJsonObject(data))
    throw refused('was opened before, or has expired: treat it as stolen, destroy its secret id and make another');
  const from = data['creation_path'];
  if (
    typeof from !== 'string' ||
    !from.startsWith(`auth/${mount}/role/`) ||
    !/^[^/]+\/secret-id$/.test(from.slice(`auth/${mount}/role/`.length))
  )
    throw refused('was not wrapped by the role: it may have been replaced on its way');
  const unwrapped = await questions.ask({
    method: 'POST',
    path: 'sys/wrapping/unwrap',
    body: {},
    token: wrapping,
    repeat: 'once',
  });
  const inner: JsonObject | undefined = isJsonObject(unwrapped.body?.['data']) ? unwrapped.body['data'] : undefined;
  const secretId = inner?.['secret_id'];
  if (unwrapped.status !== 200 || typeof secretId !== 'string') throw refused('could not be opened');
  return secretId;
}

const FILE_MAX = 16_384;

/** A token or key that stands alone in a file. */
export async function readSecretFile(file: string, setting: string): Promise<string> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    const { code = 'unreadable' } = error as NodeJS.ErrnoException;
    throw new VaultUnavailable('login_refused', `${setting} cannot be read: ${code}`, { notSent: true });
  }
  const secret = text.trim();
  if (secret.length > FILE_MAX || !/^[\x21-\x7e]+$/.test(secret))
    throw new VaultUnavailable(
      'login_refused',
      `${setting} holds no token (a sink that wraps its token is not read: leave wrap_ttl out)`,
      { notSent: true },
    );
  return secret;
}
