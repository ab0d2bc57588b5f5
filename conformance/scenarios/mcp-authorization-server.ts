/**
 * Profile `mcp-authorization-server`: what MCP clients of revision 2026-07-28 need of an authorization server. The
 * sign-in itself needs a person and a browser and is not tried here.
 */
import { listed } from '../target/discover.ts';
import { audiences, decodeJwt } from '../wire/jwt.ts';
import { exchange, expectedAudience, honestExchange, mainResource, OPAQUE, textMember, shown } from './asking.ts';
import { isTokenAnswer } from './scenario.ts';
import type { Scenario } from './scenario.ts';

const SHORT_LIVED_MAX_SECONDS = 3600;

const OF_METADATA = [
  'mcp-as-issuer-identical',
  'mcp-as-pkce',
  'mcp-as-sdk-parses',
  'mcp-as-client-id-documents',
  'mcp-as-client-credentials-methods',
] as const;

const discovery: Scenario = {
  id: 'mcp-authorization-server/metadata',
  profile: 'mcp-authorization-server',
  title: 'Metadata that MCP clients refuse to do without',
  requests: 1,
  run(probe) {
    const { metadata, issuer, discovery: found } = probe.target;
    const answers = found.metadata === undefined ? [] : [found.metadata.answer];
    const judge = (id: string, ok: boolean, seen: string) => probe.holds(id, ok, seen, ...answers);
    if (!judge('mcp-as-discoverable', found.metadata !== undefined, found.metadata?.url ?? 'no metadata found')) {
      for (const id of OF_METADATA) probe.blocked(id, 'there are no metadata');
      return Promise.resolve();
    }
    judge('mcp-as-issuer-identical', metadata['issuer'] === issuer, `issuer is ${JSON.stringify(metadata['issuer'])}`);
    const challenges = listed(metadata, 'code_challenge_methods_supported');
    judge(
      'mcp-as-pkce',
      challenges.includes('S256'),
      `code_challenge_methods_supported is ${JSON.stringify(challenges)}`,
    );
    const endpoint = metadata['authorization_endpoint'];
    const types = listed(metadata, 'response_types_supported');
    const parsable = typeof endpoint === 'string' && types.length > 0;
    judge(
      'mcp-as-sdk-parses',
      parsable,
      `authorization_endpoint ${typeof endpoint === 'string' ? 'is there' : 'is missing'}, response_types_supported is ${JSON.stringify(types)}`,
    );
    const cimd = metadata['client_id_metadata_document_supported'];
    judge('mcp-as-client-id-documents', cimd === true, `client_id_metadata_document_supported is ${shown(cimd)}`);
    const methods = listed(metadata, 'token_endpoint_auth_methods_supported');
    const fit = methods.includes('private_key_jwt') || methods.includes('client_secret_basic');
    judge(
      'mcp-as-client-credentials-methods',
      fit,
      `token_endpoint_auth_methods_supported is ${JSON.stringify(methods)}`,
    );
    return Promise.resolve();
  },
};

const tokens: Scenario = {
  id: 'mcp-authorization-server/tokens',
  profile: 'mcp-authorization-server',
  title: 'Tokens for an MCP server: its own, and short-lived',
  requests: 8,
  async run(probe) {
    const answer = await honestExchange(probe);
    const lifetime = answer.json?.['expires_in'];
    const short = typeof lifetime === 'number' && lifetime <= SHORT_LIVED_MAX_SECONDS;
    probe.holds('mcp-as-short-lived', short, `expires_in is ${shown(lifetime)}`, answer);
    const resource = mainResource(probe.target);
    const ids = ['mcp-as-resource-is-audience', 'mcp-as-trailing-slash'] as const;
    if (resource.resource === undefined) {
      for (const id of ids) probe.skip(id, 'the configuration asks for targets by `audience` only');
      return;
    }
    const claims = await probe.claims(answer);
    const wanted = expectedAudience(resource) ?? '';
    if (claims === undefined) probe.skip(ids[0], OPAQUE);
    else probe.holds(ids[0], audiences(claims).includes(wanted), `aud is ${JSON.stringify(claims['aud'])}`, answer);
    const slashed = resource.resource.endsWith('/') ? resource.resource.slice(0, -1) : `${resource.resource}/`;
    const other = await exchange(probe, { resource: slashed });
    const aud = decodeJwt(textMember(other, 'access_token'))?.claims['aud'];
    probe.holds(ids[1], isTokenAnswer(other), `${slashed}: ${other.status}, aud ${shown(aud, 'unknown')}`, other);
  },
};

export const mcpAuthorizationServerScenarios: readonly Scenario[] = [discovery, tokens];
