/**
 * A real MCP server behind Cambist: it knows the user and the agent of every call, and holds no key.
 *
 *   CAMBIST=http://127.0.0.1:8080 RESOURCE=http://127.0.0.1:9501/mcp node docs/examples/mcp-server.mjs
 *
 * RESOURCE is its canonical URI as registered with Cambist, and here also where it listens.
 */
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { InvalidTokenError } from '@modelcontextprotocol/sdk/server/auth/errors.js';
import { requireBearerAuth } from '@modelcontextprotocol/sdk/server/auth/middleware/bearerAuth.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import express from 'express';
import { createRemoteJWKSet, errors, jwtVerify } from 'jose';

const issuer = process.env['CAMBIST'];
const resource = process.env['RESOURCE'];
if (!issuer || !resource) throw new Error('set CAMBIST (its issuer URL) and RESOURCE (the URI of this server)');

// The lines that protect the server: signature, issuer, audience, type and expiry, checked offline.
const keys = createRemoteJWKSet(new URL(`${issuer}/oauth2/jwks`));
async function verifyAccessToken(token) {
  try {
    const rules = { issuer, audience: resource, typ: 'at+jwt', algorithms: ['ES256'], requiredClaims: ['exp', 'sub'] };
    const { payload } = await jwtVerify(token, keys, rules);
    const { sub, act, client_id: clientId, scope = '', exp: expiresAt } = payload;
    return { token, clientId, scopes: scope.split(' '), expiresAt, resource: new URL(resource), extra: { sub, act } };
  } catch (error) {
    throw error instanceof errors.JOSEError ? new InvalidTokenError('not a valid token for this server') : error;
  }
}

function buildServer() {
  const server = new McpServer({ name: 'example', version: '1.0.0' });
  server.registerTool('whoami', { description: 'Says who calls, and for whom' }, ({ authInfo }) => {
    const { sub, act } = authInfo.extra;
    return {
      content: [{ type: 'text', text: `for ${sub}, by ${act?.sub ?? 'itself'}: ${authInfo.scopes.join(' ')}` }],
    };
  });
  return server;
}

const app = express();
const metadataPath = `/.well-known/oauth-protected-resource${new URL(resource).pathname}`;
app.get(metadataPath, (_request, response) => {
  response.json({ resource, authorization_servers: [issuer], bearer_methods_supported: ['header'] }); // RFC 9728
});
const bearer = requireBearerAuth({
  verifier: { verifyAccessToken },
  resourceMetadataUrl: new URL(metadataPath, resource).href,
});
app.post(new URL(resource).pathname, bearer, express.json(), async (request, response) => {
  const server = buildServer(); // stateless: one per request
  const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined });
  response.on('close', () => void server.close());
  await server.connect(transport);
  await transport.handleRequest(request, response, request.body);
});
app.listen(Number(new URL(resource).port), '127.0.0.1', () => console.log(`MCP server at ${resource}`));
