/**
 * The token exchange grant (RFC 8693 §2.1): a subject token, perhaps an actor token, for a token of another audience, or for
 * the credential of an upstream.
 */
import type { Form } from '../../core/form.ts';
import {
  GRANT_TOKEN_EXCHANGE,
  TOKEN_TYPE_ACCESS_TOKEN,
  TOKEN_TYPE_CREDENTIAL,
  TOKEN_TYPE_ID_TOKEN,
  TOKEN_TYPE_JWT,
} from '../../core/protocol.ts';
import { isRefusal, refuse } from '../../core/refusal.ts';
import type { Refusal } from '../../core/refusal.ts';
import type { ExternalTokenType } from '../../objects/issuer.ts';
import type { Grant, Presented } from '../grant.ts';

/** RFC 8693 §3: the token types that can be presented. */
const PRESENTABLE: Readonly<Record<string, ExternalTokenType>> = {
  [TOKEN_TYPE_ACCESS_TOKEN]: 'access_token',
  [TOKEN_TYPE_ID_TOKEN]: 'id_token',
  [TOKEN_TYPE_JWT]: 'jwt',
};

/** What can be asked for; a `jwt` is the same token (RFC 8693 §3: an access token may be a JWT). */
const ISSUABLE: readonly string[] = [TOKEN_TYPE_ACCESS_TOKEN, TOKEN_TYPE_JWT, TOKEN_TYPE_CREDENTIAL];

export const tokenExchangeGrant: Grant = {
  grantType: GRANT_TOKEN_EXCHANGE,
  read: (form) => {
    const requested = form.one('requested_token_type') ?? TOKEN_TYPE_ACCESS_TOKEN;
    if (!ISSUABLE.includes(requested)) return refuse('requested_token_type_unsupported');
    const subject = readPresented(form, 'subject_token');
    if (isRefusal(subject)) return subject;
    if (subject === undefined) return refuse('parameter_missing', { parameter: 'subject_token' });
    const actor = readPresented(form, 'actor_token');
    if (isRefusal(actor)) return actor;
    return {
      subject,
      actor,
      resources: form.all('resource'),
      audiences: form.all('audience'),
      scope: form.one('scope'),
      withoutTarget: 'refuse',
      wants: requested === TOKEN_TYPE_CREDENTIAL ? 'credential' : 'token',
      issuedTokenType: requested,
    };
  },
};

/** RFC 8693 §2.1: the `_type` is required with its token and must not be there without it. */
function readPresented(form: Form, name: 'subject_token' | 'actor_token'): Presented | undefined | Refusal {
  const token = form.one(name);
  const typeName = form.one(`${name}_type`);
  if (token === undefined && typeName === undefined) return undefined;
  if (token === undefined) return refuse('parameter_missing', { parameter: name });
  if (typeName === undefined) return refuse('parameter_missing', { parameter: `${name}_type` });
  const type = Object.hasOwn(PRESENTABLE, typeName) ? PRESENTABLE[typeName] : undefined;
  return type === undefined ? refuse('token_type_unsupported', { parameter: `${name}_type` }) : { token, type };
}
