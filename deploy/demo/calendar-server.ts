/**
 * The calendar MCP server of the demo, a process of its own: protected by the verifier for servers, and without any key of
 * the API behind it. To answer a tool call it exchanges the token that it was called with, and calls the API through
 * Cambist's egress with what it gets. It writes down all that anybody sends it, so that the demo can look for the key.
 */
import { appendFileSync, readFileSync } from 'node:fs';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import express from 'express';
import { createVerifier } from '../../src/resource-server/verifier.ts';

const [issuer, resource, port, clientId, secretFile, receivedFile] = [
  'CAMBIST',
  'RESOURCE',
  'PORT',
  'CLIENT_ID',
  'CLIENT_SECRET_FILE',
  'RECEIVED_FILE',
].map(setting) as [string, string, string, string, string, string];
const verifier = createVerifier({ issuer, resource });
await verifier.ready();

const app = express();
app.disable('x-powered-by');
app.post('/mcp', express.json(), (request, response, next) => {
  answer(request, response).catch(next);
});
app.listen(Number(port), '127.0.0.1', () => process.send?.('listening'));
process.on('disconnect', () => process.exit());

async function answer(request: express.Request, response: express.Response): Promise<void> {
  note('call', request.rawHeaders, JSON.stringify(request.body));
  const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1];
  const access = await verifier.verify(token, { scopes: ['calendar:read'] });
  if (access.kind !== 'access' || token === undefined) {
    response.status(401).set('WWW-Authenticate', 'Bearer error="invalid_token"').end();
    return;
  }
  const server = new McpServer({ name: 'calendar', version: '1.0.0' });
  server.registerTool('events', { description: 'What is in the calendar today' }, async () => ({
    content: [{ type: 'text', text: await events(token) }],
  }));
  const transport = new StreamableHTTPServerTransport({});
  response.on('close', () => void server.close());
  await server.connect(transport);
  await transport.handleRequest(request, response, request.body);
}

/** The events, from the API behind the upstream; its key is put in on the way. */
async function events(callersToken: string): Promise<string> {
  const secret = readFileSync(secretFile, 'utf8').trim();
  const exchanged = await fetch(`${issuer}/oauth2/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(`${clientId}:${secret}`).toString('base64')}` },
    body: new URLSearchParams({
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      subject_token: callersToken,
      subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
      resource: `${issuer}/egress/calendar-api`,
    }),
  });
  const { access_token: ours, error } = JSON.parse(await received(exchanged)) as Record<string, string>;
  if (ours === undefined) throw new Error(`the exchange was refused: ${error ?? 'no reason'}`);
  // Where the API's own client would send its key, the token goes.
  const answered = await fetch(`${issuer}/egress/calendar-api/v1/events`, { headers: { 'x-api-key': ours } });
  const body = await received(answered);
  if (!answered.ok) throw new Error(`the calendar answered ${answered.status}`);
  const found = JSON.parse(body) as readonly { readonly at: string; readonly what: string }[];
  return JSON.stringify({
    events: found.map(({ at, what }) => `${at} ${what}`),
    exchange: exchanged.headers.get('cambist-request-id'),
    call: answered.headers.get('cambist-request-id'),
  });
}

async function received(response: Response): Promise<string> {
  const body = await response.text();
  note('answer', [...response.headers].flat(), body);
  return body;
}

function note(what: string, headers: readonly string[], body: string): void {
  appendFileSync(receivedFile, `${what}\n${headers.join('\n')}\n\n${body}\n`, { mode: 0o600 });
}

function setting(name: string): string {
  const value = process.env[name];
  if (value === undefined || value === '') throw new Error(`set ${name}`);
  return value;
}
