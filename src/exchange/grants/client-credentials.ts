/**
 * The client credentials grant (RFC 6749 §4.4): the client asks for itself. With `resource` (RFC 8707 §2) a token for
 * that resource; without one an identity token, which is worth something only at this token endpoint.
 */
import { GRANT_CLIENT_CREDENTIALS } from '../../core/protocol.ts';
import type { Grant } from '../grant.ts';

export const clientCredentialsGrant: Grant = {
  grantType: GRANT_CLIENT_CREDENTIALS,
  read: (form) => ({
    subject: 'self',
    actor: undefined,
    resources: form.all('resource'),
    audiences: form.all('audience'),
    scope: form.one('scope'),
    withoutTarget: 'identity-token',
    wants: 'token',
    issuedTokenType: undefined,
  }),
};
