/**
 * Profile `core`, continued: client authentication at the token endpoint (RFC 6749 §2.3, §3.2.1).
 */
import { basicHeader } from '../target/authenticate.ts';
import { secretValue } from '../target/config.ts';
import type { ClientConfig } from '../target/config.ts';
import type { Target } from '../target/target.ts';
import { answerInWords } from '../target/target.ts';
import { listed } from '../target/discover.ts';
import { exchange, exchangeForm, honestExchange } from './asking.ts';
import { isTokenAnswer } from './scenario.ts';
import type { Scenario } from './scenario.ts';

interface SecretClient {
  readonly client: ClientConfig;
  readonly secret: string;
  readonly method: 'client_secret_basic' | 'client_secret_post';
}

/** The requester with its secret, if it has one. */
function secretClient(target: Target): SecretClient | undefined {
  const client = target.config.clients.requester;
  for (const auth of client?.auth ?? [])
    if (client !== undefined && auth.method !== 'private_key_jwt')
      return { client, secret: secretValue(auth.secret), method: auth.method };
  return undefined;
}

const needsSecret = (target: Target) =>
  secretClient(target) === undefined ? 'the requester has no client secret' : undefined;

const credentials: Scenario = {
  id: 'core/client-authentication',
  profile: 'core',
  title: 'Wrong, missing, doubled and misplaced client credentials',
  requests: 14,
  lacks: needsSecret,
  async run(probe) {
    const known = secretClient(probe.target);
    if (known === undefined) return;
    const { client, secret, method } = known;
    await honestExchange(probe);
    const wrong = { ...client, auth: [{ method, secret: `${secret.slice(0, -4)}nope` }] };
    const unauthenticated = { codes: ['invalid_client'] };
    probe.refused('rfc6749-2.3-wrong-secret', await exchange(probe, {}, {}, { client: wrong }), unauthenticated);
    const stranger = { client_id: 'suite-nobody-knows-this-client', auth: [{ method, secret: 'suite-wrong-secret' }] };
    probe.refused('rfc6749-5.2-unknown-client', await exchange(probe, {}, {}, { client: stranger }), unauthenticated);
    const idOnly = await exchange(probe, { client_id: client.client_id }, {}, { client: 'nobody' });
    probe.refused('rfc6749-3.2.1-confidential-client', idOnly);
    const inQuery = [['client_id', client.client_id] as const, ['client_secret', secret] as const];
    const form = await exchangeForm(probe);
    probe.refused('rfc6749-2.3.1-not-in-uri', await probe.ask({ client: 'nobody', form, query: inQuery }));
    const both = await exchange(
      probe,
      { client_id: client.client_id, client_secret: secret },
      {},
      { client: 'nobody', headers: { authorization: basicHeader(client.client_id, secret) } },
    );
    probe.refused('rfc6749-2.3-one-method', both, { codes: ['invalid_request', 'invalid_client'] });
  },
};

const challenge: Scenario = {
  id: 'core/client-challenge',
  profile: 'core',
  title: 'A failed Basic authentication is answered with a challenge',
  requests: 4,
  lacks: (target) =>
    secretClient(target)?.method === 'client_secret_basic'
      ? undefined
      : 'the requester does not use client_secret_basic',
  async run(probe) {
    const known = secretClient(probe.target);
    if (known === undefined) return;
    await honestExchange(probe);
    const wrong = { ...known.client, auth: [{ method: known.method, secret: 'suite-wrong-secret-0000' }] };
    const answer = await exchange(probe, {}, {}, { client: wrong });
    const id = 'rfc6749-5.2-challenge';
    if (isTokenAnswer(answer)) {
      probe.blocked(id, 'a wrong secret was accepted');
      return;
    }
    const header = answer.headers['www-authenticate'] ?? '';
    const ok = answer.status === 401 && /^basic\b/i.test(header);
    probe.holds(id, ok, `status ${answer.status}, WWW-Authenticate "${header}"`, answer);
  },
};

const advertisedMethods: Scenario = {
  id: 'core/advertised-methods',
  profile: 'core',
  title: 'Every advertised way to authenticate that a client is set up for works',
  requests: 10,
  async run(probe) {
    await honestExchange(probe);
    const metadata = probe.target.metadata;
    const names = listed(metadata, 'token_endpoint_auth_methods_supported');
    const advertised = names.length === 0 ? ['client_secret_basic'] : names;
    const failed: string[] = [];
    const tried: string[] = [];
    for (const role of ['requester', 'keyed'] as const)
      for (const { method } of probe.target.config.clients[role]?.auth ?? []) {
        if (!advertised.includes(method)) continue;
        tried.push(method);
        const answer = await exchange(probe, {}, {}, { client: role, method });
        if (!isTokenAnswer(answer)) failed.push(`${method} of ${role}: ${answerInWords(answer)}`);
      }
    const id = 'rfc8414-2-auth-methods-work';
    if (tried.length === 0)
      probe.holds(id, false, `the clients use nothing of what is advertised: ${advertised.join(', ')}`);
    else probe.holds(id, failed.length === 0, failed.length === 0 ? `works: ${tried.join(', ')}` : failed.join('; '));
  },
};

export const coreClientScenarios: readonly Scenario[] = [credentials, challenge, advertisedMethods];
