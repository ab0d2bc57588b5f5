/**
 * A small real MCP server on a free loopback port: the SDK's transport and bearer check, `jose` for the token, protected
 * resource metadata (RFC 9728) that names Cambist. Its tools say who calls; `relay` asks another MCP server on behalf of
 * its caller, with a token that it gets by exchanging the one it was called with.
 */
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import type { OAuthClientProvider } from '@modelcontextprotocol/sdk/client/auth.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { InvalidTokenError } from '@modelcontextprotocol/sdk/server/auth/errors.js';
import { requireBearerAuth } from '@modelcontextprotocol/sdk/server/auth/middleware/bearerAuth.js';
import type { AuthInfo } from '@modelcontextprotocol/sdk/server/auth/types.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import express from 'express';
import { createRemoteJWKSet, errors, jwtVerify } from 'jose';
import { actors } from './asking.ts';

export interface McpServerOptions {
  /** Its canonical URI, and where it listens. */
  readonly uri: string;
  readonly issuer: string;
  readonly algorithm?: 'ES256' | 'RS256';
  readonly scopesSupported?: readonly string[];
  /** The next server for `relay`, and how this one gets a token for it. */
  readonly next?: { readonly uri: string; providerFor(token: string): OAuthClientProvider };
}

/** Starts the server; stop it in the test's own clean-up. */
export async function startMcpServer(options: McpServerOptions): Promise<{ stop(): Promise<void> }> {
  const { pathname, port } = new URL(options.uri);
  const app = express();
  const metadataPath = `/.well-known/oauth-protected-resource${pathname}`;
  app.get(metadataPath, (_request, response) => {
    response.json({
      resource: options.uri,
      authorization_servers: [options.issuer],
      bearer_methods_supported: ['header'],
      ...(options.scopesSupported === undefined ? {} : { scopes_supported: options.scopesSupported }),
    });
  });
  const bearer = requireBearerAuth({
    verifier: { verifyAccessToken: verifierOf(options) },
    resourceMetadataUrl: new URL(metadataPath, options.uri).href,
  });
  app.post(pathname, bearer, express.json(), async (request, response) => {
    const server = serverOf(options);
    const transport = new StreamableHTTPServerTransport({});
    response.on('close', () => void server.close());
    await server.connect(transport);
    await transport.handleRequest(request, response, request.body);
  });
  const listening = createServer(app as Parameters<typeof createServer>[1]);
  await new Promise<void>((resolve) => listening.listen(Number(port), '127.0.0.1', resolve));
  return { stop: () => stop(listening) };
}

/** What the `whoami` tool of a server answers to this provider's token, over the SDK's own transport. */
export async function callTool(uri: string, authProvider: OAuthClientProvider, name = 'whoami'): Promise<any> {
  const client = new Client({ name: 'test', version: '1.0.0' });
  const transport = new StreamableHTTPClientTransport(new URL(uri), { authProvider });
  await client.connect(transport);
  try {
    const { content } = (await client.callTool({ name })) as { content: { text: string }[] };
    return JSON.parse(content[0]?.text ?? 'null');
  } finally {
    await client.close();
  }
}

function verifierOf({ issuer, uri, algorithm = 'ES256' }: McpServerOptions): (token: string) => Promise<AuthInfo> {
  const keys = createRemoteJWKSet(new URL(`${issuer}/oauth2/jwks`));
  return async (token) => {
    try {
      const { payload } = await jwtVerify(token, keys, {
        issuer,
        audience: uri,
        typ: 'at+jwt',
        algorithms: [algorithm],
      });
      const { client_id: clientId, scope, exp } = payload as { client_id: string; scope: string; exp: number };
      return { token, clientId, scopes: scope.split(' '), expiresAt: exp, extra: { claims: payload } };
    } catch (error) {
      throw error instanceof errors.JOSEError ? new InvalidTokenError('not a token for this server') : error;
    }
  };
}

function serverOf({ next }: McpServerOptions): McpServer {
  const server = new McpServer({ name: 'test', version: '1.0.0' });
  const answer = (value: unknown) => ({ content: [{ type: 'text' as const, text: JSON.stringify(value) }] });
  server.registerTool('whoami', { description: 'Says who calls, and for whom' }, ({ authInfo }) => {
    const claims = authInfo?.extra?.['claims'] as Record<string, any>;
    return answer({ ...claims, actors: actors(claims) });
  });
  if (next !== undefined)
    server.registerTool('relay', { description: 'Asks the next server who calls' }, async ({ authInfo }) =>
      answer(await callTool(next.uri, next.providerFor(authInfo!.token))),
    );
  return server;
}

function stop(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => {
      resolve();
    });
    server.closeAllConnections();
  });
}
