/**
 * The target as a run sees it: its configuration, what it publishes, and the suite's own issuer beside it. Obtains the
 * tokens that scenarios present, fresh where the suite signs them itself, kept until they near expiry otherwise.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { mintToken } from '../issuer/own-issuer.ts';
import type { OwnIssuer, Tweak } from '../issuer/own-issuer.ts';
import type { Form } from '../wire/form.ts';
import { formOf } from '../wire/form.ts';
import type { Answer } from '../wire/http.ts';
import { decodeJwt, nowSeconds } from '../wire/jwt.ts';
import type { Json } from '../wire/jwt.ts';
import { secretValue } from './config.ts';
import type { ClientConfig, ClientRole, TargetConfig, TokenSource } from './config.ts';
import type { Discovery } from './discover.ts';

export interface Target {
  readonly config: TargetConfig;
  readonly issuer: string;
  readonly tokenEndpoint: string;
  readonly discovery: Discovery;
  /** The metadata document; empty when none was found. */
  readonly metadata: Json;
  readonly own: OwnIssuer | undefined;
  /** Tokens that were obtained for use again, by their source. */
  readonly kept: Map<TokenSource, string>;
}

export interface Presented {
  readonly token: string;
  /** Token type identifier (RFC 8693 §3). */
  readonly type: string;
}

/** Thrown when a token that scenarios need cannot be had: nothing can be judged then. */
export class TokenUnavailable extends Error {}

const TYPE_PREFIX = 'urn:ietf:params:oauth:token-type:';

/** A token type by its short name or its URN. */
export function tokenTypeUrn(type: string): string {
  return type.includes(':') ? type : `${TYPE_PREFIX}${type}`;
}

export type SendForm = (client: ClientRole, form: Form) => Promise<Answer>;

export async function obtainToken(
  target: Target,
  source: TokenSource,
  send: SendForm,
  tweak?: Tweak,
): Promise<Presented> {
  const type = tokenTypeUrn(source.type);
  if (source.source === 'suite') {
    if (target.own === undefined) throw new TokenUnavailable('the configuration has no `suite` to issue tokens');
    return { token: mintToken(target.own.trusted, source, tweak), type };
  }
  const kept = target.kept.get(source);
  if (kept !== undefined && !nearExpiry(kept)) return { token: kept, type };
  const token = await freshToken(source, send);
  target.kept.set(source, token);
  return { token, type };
}

function nearExpiry(token: string): boolean {
  const exp = decodeJwt(token)?.claims['exp'];
  return typeof exp === 'number' && exp < nowSeconds() + 30;
}

async function freshToken(source: Exclude<TokenSource, { source: 'suite' }>, send: SendForm): Promise<string> {
  switch (source.source) {
    case 'static':
      return secretValue(source.token);
    case 'command': {
      const [program = '', ...args] = source.command;
      const { stdout } = await promisify(execFile)(program, args, { timeout: 30_000 });
      return stdout.trim();
    }
    case 'client_credentials': {
      const form = formOf({ grant_type: 'client_credentials', ...source.parameters });
      return memberOf(await send(source.client, form), 'access_token');
    }
    case 'password': {
      const { username, password } = source;
      const form = formOf({ grant_type: 'password', username, password: secretValue(password), ...source.parameters });
      return memberOf(await send(source.client, form), source.field);
    }
  }
}

function memberOf(answer: Answer, member: string): string {
  const value = answer.json?.[member];
  if (typeof value === 'string' && value !== '') return value;
  throw new TokenUnavailable(`no ${member} in the answer to ${answer.sent.url}: ${answerInWords(answer)}`);
}

/** An answer in a few words, without tokens. */
export function answerInWords(answer: Answer): string {
  if (answer.status === 0) return `no answer (${answer.fault ?? 'unknown'})`;
  const error = answer.json?.['error'];
  return typeof error === 'string' ? `${answer.status} ${error.slice(0, 80)}` : `${answer.status}`;
}

export function clientOf(target: Target, role: ClientRole): ClientConfig | undefined {
  return target.config.clients[role];
}
