/**
 * An MCP server of the little world: metadata, a challenge, and one thing that a token is needed for.
 */
import { audiences, scopeValues } from '../../wire/jwt.ts';
import type { Json } from '../../wire/jwt.ts';
import { checkExternal, checkOwn } from './tokens.ts';
import { broken } from './world.ts';
import type { Incoming, Reply, World } from './world.ts';

/** RFC 9728 metadata of the resource at `url`. */
export function resourceMetadata(world: World, url: string): Reply {
  return {
    status: 200,
    body: {
      resource: broken(world, 'rs-metadata-resource') ? 'https://somebody-else.example/mcp' : url,
      authorization_servers: broken(world, 'rs-metadata-issuer') ? ['https://somebody-else.example'] : [world.issuer],
      scopes_supported: broken(world, 'rs-metadata-empty') ? [] : ['tickets:read', 'tickets:write'],
    },
  };
}

export async function protectedCall(
  world: World,
  request: Incoming,
  metadataUrl: string,
  audience: string,
): Promise<Reply> {
  const header = request.headers['authorization'];
  const query = broken(world, 'rs-query-token') ? request.query.get('access_token') : null;
  const token = header?.replace(/^bearer /i, '') ?? query;
  if (token === null)
    return broken(world, 'rs-open') ? { status: 200, body: { ok: true } } : challenge(world, metadataUrl, 401);
  const claims = await claimsOf(world, token);
  if (claims === undefined)
    return challenge(
      world,
      metadataUrl,
      broken(world, 'rs-garbage-is-403') ? 403 : 401,
      broken(world, 'rs-no-error') ? undefined : 'invalid_token',
    );
  const forUs =
    audiences(claims).includes(audience) || broken(world, 'rs-any-audience') || claims['iss'] === world.trustedIssuer;
  if (!forUs) return challenge(world, metadataUrl, 401, 'invalid_token');
  const wide = scopeValues(claims['scope']).includes('tickets:write') || request.method === 'GET';
  if (!wide) return challenge(world, metadataUrl, broken(world, 'rs-scope-is-401') ? 401 : 403, 'insufficient_scope');
  return { status: 200, body: { ok: true } };
}

async function claimsOf(world: World, token: string): Promise<Json | undefined> {
  try {
    return checkOwn(world, token);
  } catch {
    if (!broken(world, 'rs-foreign-token')) return undefined;
    return checkExternal(world, token).catch(() => undefined);
  }
}

function challenge(world: World, metadataUrl: string, status: number, error?: string): Reply {
  const parts = [
    ...(error === undefined ? [] : [`error="${error}"`]),
    ...(broken(world, 'rs-no-scope') ? [] : ['scope="tickets:write"']),
    `resource_metadata="${broken(world, 'rs-metadata-missing') ? `${metadataUrl}-nowhere` : metadataUrl}"`,
  ];
  const headers = broken(world, 'rs-no-challenge') ? {} : { 'www-authenticate': `Bearer ${parts.join(', ')}` };
  return { status, body: { error: error ?? 'unauthorized' }, headers };
}
