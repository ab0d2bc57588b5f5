/**
 * A real agent behind Cambist: one identity of its own, the user's ID token, and a fresh token for each server.
 *
 *   CAMBIST=http://127.0.0.1:8080 CLIENT_ID=my-agent CLIENT_SECRET_FILE=my-agent.secret ID_TOKEN_FILE=me.id_token \
 *     node docs/examples/agent.mjs http://127.0.0.1:9501/mcp http://127.0.0.1:9502/mcp
 */
import { readFileSync } from 'node:fs';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

const { CAMBIST, CLIENT_ID, CLIENT_SECRET_FILE, ID_TOKEN_FILE } = process.env;
const secret = readFileSync(CLIENT_SECRET_FILE, 'utf8').trim();
const idToken = readFileSync(ID_TOKEN_FILE, 'utf8').trim();

for (const server of process.argv.slice(2)) {
  const response = await fetch(`${CAMBIST}/oauth2/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(`${CLIENT_ID}:${secret}`).toString('base64')}` },
    body: new URLSearchParams({
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      subject_token: idToken,
      subject_token_type: 'urn:ietf:params:oauth:token-type:id_token',
      resource: server,
    }),
  });
  const answer = await response.json();
  if (!response.ok) {
    console.log(`${server}: ${answer.error}; ask: cambist explain ${response.headers.get('cambist-request-id')}`);
    process.exitCode = 1;
    continue;
  }
  const client = new Client({ name: CLIENT_ID, version: '1.0.0' });
  const headers = { authorization: `Bearer ${answer.access_token}` };
  await client.connect(new StreamableHTTPClientTransport(new URL(server), { requestInit: { headers } }));
  const { content } = await client.callTool({ name: 'whoami' });
  console.log(`${server}: ${content[0].text}`);
  await client.close();
}
