/**
 * Profile `jwt-client-auth`: client assertions (RFC 7523 §2.2, §3 and the update in draft-ietf-oauth-rfc7523bis), each
 * with one fault.
 */
import { ASSERTION_TYPE, assertionParameters, clientAssertion, draftAssertion } from '../target/authenticate.ts';
import type { AssertionTweak, KeyedAuthentication } from '../target/authenticate.ts';
import type { ClientConfig } from '../target/config.ts';
import { listed } from '../target/discover.ts';
import type { Target } from '../target/target.ts';
import { answerInWords } from '../target/target.ts';
import { makeKey } from '../issuer/keys.ts';
import { publicKeyPem } from '../issuer/attacks.ts';
import { hmacJwt, nowSeconds, unsignedJwt } from '../wire/jwt.ts';
import type { Answer } from '../wire/http.ts';
import { exchange } from './asking.ts';
import type { Changes } from './asking.ts';
import { isTokenAnswer } from './scenario.ts';
import type { Probe, Scenario } from './scenario.ts';

interface KeyedClient {
  readonly client: ClientConfig;
  readonly how: KeyedAuthentication;
}

/** The client that signs assertions: `keyed`, else a requester that can. */
export function keyedClient(target: Target): KeyedClient | undefined {
  for (const client of [target.config.clients.keyed, target.config.clients.requester])
    for (const how of client?.auth ?? [])
      if (client !== undefined && how.method === 'private_key_jwt') return { client, how };
  return undefined;
}

function lacksKeys(target: Target): string | undefined {
  if (!listed(target.metadata, 'token_endpoint_auth_methods_supported').includes('private_key_jwt'))
    return 'the metadata do not advertise private_key_jwt';
  return keyedClient(target) === undefined ? 'the configuration has no client with private_key_jwt' : undefined;
}

interface Assertions {
  /** An exchange authenticated by an assertion with this change. */
  with(tweak: AssertionTweak, changes?: Changes): Promise<Answer>;
  /** An exchange with these parameters as its only authentication. */
  bare(changes: Changes): Promise<Answer>;
  readonly keyed: KeyedClient;
}

async function openAssertions(probe: Probe): Promise<Assertions> {
  const keyed = keyedClient(probe.target);
  if (keyed === undefined) throw new Error('no client with private_key_jwt');
  const bare = (changes: Changes) => exchange(probe, changes, {}, { client: 'nobody' });
  const assertions: Assertions = {
    keyed,
    bare,
    with: async (tweak, changes = {}) =>
      bare({ ...assertionParameters(await clientAssertion(keyed.client, keyed.how, probe.target, tweak)), ...changes }),
  };
  probe.accepted(await assertions.with({}), 'an exchange authenticated by an honest assertion');
  return assertions;
}

const accepted: Scenario = {
  id: 'jwt-client-auth/accepted',
  profile: 'jwt-client-auth',
  title: 'Honest assertions, addressed to the issuer, with and without client_id',
  requests: 8,
  lacks: lacksKeys,
  async run(probe) {
    const assertions = await openAssertions(probe);
    probe.holds('rfc7523-2.2-client-assertion', true, 'an honest assertion authenticates');
    const issuer = await assertions.with({ claims: { aud: probe.target.issuer } });
    probe.holds('rfc7523bis-4-issuer-audience', isTokenAnswer(issuer), answerInWords(issuer), issuer);
    const named = await assertions.with({}, { client_id: assertions.keyed.client.client_id });
    probe.holds('rfc7523-3-client-id-may-be-sent', isTokenAnswer(named), answerInWords(named), named);
  },
};

const claims: Scenario = {
  id: 'jwt-client-auth/claims',
  profile: 'jwt-client-auth',
  title: 'Assertions with a claim missing or wrong',
  requests: 20,
  lacks: lacksKeys,
  async run(probe) {
    const assertions = await openAssertions(probe);
    const now = nowSeconds();
    const without = (name: string) => assertions.with({ claims: { [name]: undefined } });
    probe.refused('rfc7523-3-iss', await without('iss'));
    probe.refused('rfc7523-3-sub', await without('sub'));
    probe.refused('rfc7523-3-aud', await without('aud'));
    probe.refused('rfc7523-3-exp', await without('exp'));
    probe.refused('rfc7523-3-expired', await assertions.with({ claims: { iat: now - 7200, exp: now - 3600 } }));
    probe.refused('rfc7523-3-not-before', await assertions.with({ claims: { nbf: now + 3600 } }));
    probe.refused(
      'rfc7523-3-other-audience',
      await assertions.with({ claims: { aud: 'https://some-other-server.example' } }),
    );
    const other = probe.target.config.clients.other ?? probe.target.config.clients.requester;
    if (other === undefined || other.client_id === assertions.keyed.client.client_id)
      probe.skip('rfc7523-3-sub-is-the-client', 'the configuration has no second client');
    else {
      const claimsOfOther = { sub: other.client_id };
      probe.refused('rfc7523-3-sub-is-the-client', await assertions.with({ claims: claimsOfOther }));
      const both = { iss: other.client_id, sub: other.client_id };
      probe.refused('rfc7523-3-sub-is-the-client', await assertions.with({ claims: both }));
    }
    const mismatch = await assertions.with({}, { client_id: 'suite-another-client' });
    probe.refused('rfc7523-3-client-id-agrees', mismatch);
  },
};

const audience: Scenario = {
  id: 'jwt-client-auth/audience',
  profile: 'jwt-client-auth',
  title: 'The issuer, and nothing beside it, as audience',
  requests: 10,
  lacks: lacksKeys,
  async run(probe) {
    const assertions = await openAssertions(probe);
    const { issuer, tokenEndpoint } = probe.target;
    const twoValues = [issuer, 'https://some-other-server.example'];
    probe.refused('rfc7523bis-4-sole-audience', await assertions.with({ claims: { aud: twoValues } }));
    probe.refused('rfc7523bis-4-not-the-token-endpoint', await assertions.with({ claims: { aud: tokenEndpoint } }));
    const slash = issuer.endsWith('/') ? issuer.slice(0, -1) : `${issuer}/`;
    probe.refused('rfc7523-3-simple-string-comparison', await assertions.with({ claims: { aud: slash } }));
  },
};

const signatures: Scenario = {
  id: 'jwt-client-auth/signature',
  profile: 'jwt-client-auth',
  title: 'Assertions that the client did not sign',
  requests: 10,
  lacks: lacksKeys,
  async run(probe) {
    const assertions = await openAssertions(probe);
    const { client, how } = assertions.keyed;
    const attacker = await makeKey(how.alg);
    probe.refused('rfc7523-3-signature', await assertions.with({ key: attacker }));
    const forge = async (
      alg: string,
      make: (header: Record<string, unknown>, claims: Record<string, unknown>, pem: string) => string,
    ) => {
      const draft = await draftAssertion(client, how, probe.target);
      const assertion = make({ ...draft.header, alg }, draft.claims, publicKeyPem(draft.key.publicJwk));
      return assertions.bare({ ...assertionParameters(assertion), client_id: client.client_id });
    };
    probe.refused('rfc8725-3.1-assertion-none', await forge('none', unsignedJwt));
    probe.refused('rfc8725-3.1-assertion-hmac', await forge('HS256', hmacJwt));
    const codes = ['invalid_client'];
    probe.refused('rfc7523-3.2-invalid-client', await assertions.bare(assertionParameters('this-is-no-assertion')), {
      codes,
    });
  },
};

const parameters: Scenario = {
  id: 'jwt-client-auth/parameters',
  profile: 'jwt-client-auth',
  title: 'client_assertion and its type go together, and alone',
  requests: 8,
  lacks: lacksKeys,
  async run(probe) {
    const assertions = await openAssertions(probe);
    const { keyed } = assertions;
    const fresh = () => clientAssertion(keyed.client, keyed.how, probe.target);
    const typeless = { client_assertion: await fresh(), client_id: keyed.client.client_id };
    probe.refused('rfc7523-2.2-type-required', await assertions.bare(typeless));
    const unknown = {
      ...assertionParameters(await fresh()),
      client_assertion_type: 'urn:example:assertion:nobody-knows',
    };
    probe.refused('rfc7523-2.2-type-known', await assertions.bare(unknown));
    const id = 'rfc6749-2.3-assertion-and-secret';
    const secretive = probe.target.config.clients.requester?.auth.some(
      ({ method }) => method === 'client_secret_basic',
    );
    if (secretive !== true) probe.skip(id, 'the requester does not use client_secret_basic');
    else {
      const both = { client_assertion_type: ASSERTION_TYPE, client_assertion: await fresh() };
      const answer = await exchange(probe, both, {}, { client: 'requester', method: 'client_secret_basic' });
      probe.refused(id, answer);
    }
  },
};

const replay: Scenario = {
  id: 'jwt-client-auth/replay',
  profile: 'jwt-client-auth',
  title: 'An assertion seen before',
  requests: 5,
  lacks: lacksKeys,
  async run(probe) {
    const assertions = await openAssertions(probe);
    const { keyed } = assertions;
    const assertion = assertionParameters(await clientAssertion(keyed.client, keyed.how, probe.target));
    probe.accepted(await assertions.bare(assertion), 'the first use of an assertion');
    const again = await assertions.bare(assertion);
    const claimed = probe.target.config.expectations.assertions_are_single_use;
    if (!claimed && isTokenAnswer(again)) probe.byPolicy('rfc7523-3-replay', 'an assertion may be used again', again);
    else probe.refused('rfc7523-3-replay', again);
    if (claimed) probe.refused('field-claimed-single-use', again);
    else probe.skip('field-claimed-single-use', 'the target does not claim that assertions are single use');
  },
};

export const jwtClientAuthScenarios: readonly Scenario[] = [accepted, claims, audience, signatures, parameters, replay];
