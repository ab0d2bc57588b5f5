/**
 * Which grant is this, and may this client use it? Answered by `@node-oauth/oauth2-server`, behind a fence:
 * it sees only clients that are authenticated already, a request that we made, and never the caller's response. What
 * it throws becomes one of two refusals; its texts (which may quote a model's error) reach nobody.
 */
import { createRequire } from 'node:module';
import type OAuth2ServerType from '@node-oauth/oauth2-server';
import type { AuthenticatedClient } from '../clients/authenticate.ts';
import { GRANT_NAMES } from '../objects/client.ts';
import type { Form } from '../core/form.ts';
import { isRefusal, refuse } from '../core/refusal.ts';
import type { Refusal } from '../core/refusal.ts';
import type { Grant, GrantRequest } from './grant.ts';

const OAuth2Server = createRequire(import.meta.url)('@node-oauth/oauth2-server') as typeof OAuth2ServerType;

export interface Dispatched {
  readonly grantType: string;
  readonly request: GrantRequest;
}

export type Dispatch = (client: AuthenticatedClient, form: Form) => Promise<Dispatched | Refusal>;

/** The library insists on a lifetime; ours come from the resource. */
const UNUSED_LIFETIME_SECONDS = 1;

export function createDispatch(grants: readonly Grant[]): Dispatch {
  const known = new Map(grants.map((grant) => [grant.grantType, grant]));
  const extendedGrantTypes = Object.fromEntries(grants.map((grant) => [grant.grantType, handlerOf(grant)]));

  return async (client, form) => {
    const grantType = form.one('grant_type');
    if (grantType === undefined) return refuse('parameter_missing', { parameter: 'grant_type' });
    // The library brings grants of its own (password, refresh_token…): only ours exist here.
    if (!known.has(grantType)) return refuse('grant_unsupported');

    const allowed = client.object.spec.grants.map((name) => GRANT_NAMES[name]);
    const server = new OAuth2Server({
      model: {
        getClient: () => Promise.resolve({ id: client.id, grants: allowed }),
        getAccessToken: () => Promise.resolve(undefined),
        saveToken: () => Promise.resolve(undefined),
      },
      extendedGrantTypes,
    } as unknown as OAuth2ServerType.ServerOptions);
    // The library demands a secret of every client; this one has shown its own.
    const body = { grant_type: grantType, client_id: client.id, client_secret: 'authenticated', form };
    const request = new OAuth2Server.Request({
      method: 'POST',
      query: {},
      headers: { 'content-type': 'application/x-www-form-urlencoded', 'content-length': '1' },
      body,
    });
    try {
      const token = await server.token(request, new OAuth2Server.Response({}), {
        accessTokenLifetime: UNUSED_LIFETIME_SECONDS,
        refreshTokenLifetime: UNUSED_LIFETIME_SECONDS,
      });
      const read = token['read'] as GrantRequest | Refusal;
      return isRefusal(read) ? read : { grantType, request: read };
    } catch (error) {
      if (error instanceof OAuth2Server.UnauthorizedClientError)
        return refuse('grant_not_allowed', { grant: grantType });
      throw error;
    }
  };
}

/** A grant as the library wants one: a class whose `handle` answers with a token. Ours answers with what was read. */
function handlerOf(grant: Grant) {
  return class {
    handle(request: { body: { form: Form } }, client: unknown): Promise<unknown> {
      const read = grant.read(request.body.form);
      return Promise.resolve({ accessToken: 'not a token: the road mints it', client, user: {}, read });
    }
  };
}
