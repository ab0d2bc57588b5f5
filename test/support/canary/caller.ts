/**
 * The clients of a stage: they ask for tokens and call upstreams, and every answer is gathered, without what is theirs.
 * Each secret, token and credential that they have or get is known as a canary.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { JwksIssuer } from '../jwks-issuer.ts';
import { basicHeader } from '../token-client.ts';
import type { Answer } from './sinks.ts';
import type { Stage } from './stage.ts';

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const TYPE = 'urn:ietf:params:oauth:token-type:';
const CREDENTIAL = 'urn:cambist:params:oauth:token-type:credential';

export interface StageCaller {
  /** What the agent sends to the server, for the resource that was asked for. */
  received(resource: string): Promise<string>;
  /** The credential of an upstream, by the server. */
  fetch(received: string, upstream: string): Promise<Answer>;
  /** A call of the server through the egress; its token goes into the header that the upstream's key goes into. */
  call(received: string, upstream: string, path: string, options?: { hangUpAfterMs?: number }): Promise<Answer>;
}

/** Makes the secrets of `agent` and `server-a`, whose objects are applied. `header`: for upstreams that read another one. */
export async function createStageCaller(
  stage: Stage,
  corp: JwksIssuer,
  header: (upstream: string, token: string) => Record<string, string> = (_, token) => ({
    authorization: `Bearer ${token}`,
  }),
): Promise<StageCaller> {
  const { canaries, sinks, cambist, cwd } = stage;
  const secrets = new Map<string, string>();
  for (const id of ['agent', 'server-a']) {
    // Written where the user says, for the user.
    stage.ownFile(`${id}.secret`, '');
    const made = await stage.command(`client secret ${id} --out ${id}.secret --force`);
    if (made.code !== 0) throw new Error(made.err);
    secrets.set(id, canaries.plant(`secret of ${id}`, readFileSync(join(cwd, `${id}.secret`), 'utf8')));
    canaries.plant(`Basic of ${id}`, basicHeader(id, secrets.get(id) ?? '').slice('Basic '.length));
  }

  async function ask(client: string, fields: Record<string, string>): Promise<Answer> {
    const answer = await sinks.ask('answers of the token endpoint', `${cambist.url}/oauth2/token`, {
      method: 'POST',
      headers: {
        authorization: basicHeader(client, secrets.get(client) ?? ''),
        'content-type': 'application/x-www-form-urlencoded',
      },
      body: new URLSearchParams({ grant_type: EXCHANGE, ...fields }).toString(),
      gives: ['access_token'],
    });
    const { access_token: given } = answer.body as { access_token?: string };
    if (given?.startsWith('eyJ') === true) canaries.plant('issued token', given);
    return answer;
  }
  const hop = (received: string) => ({ subject_token: received, subject_token_type: `${TYPE}access_token` });

  return {
    async received(resource) {
      const subject = canaries.plant('subject token', await corp.mint({ aud: cambist.issuer, sub: 'ada' }));
      const fields = { subject_token: subject, subject_token_type: `${TYPE}id_token`, resource };
      const answer = await ask('agent', fields);
      if (answer.status !== 200) throw new Error(answer.text);
      return (answer.body as { access_token: string }).access_token;
    },
    fetch: (received, upstream) =>
      ask('server-a', { ...hop(received), audience: upstream, requested_token_type: CREDENTIAL }),
    async call(received, upstream, path, options = {}) {
      const { body } = await ask('server-a', { ...hop(received), audience: upstream });
      const { access_token: token } = body as { access_token: string };
      const posted = path.endsWith('echo');
      return sinks.ask('answers of the egress', `${cambist.url}/egress/${upstream}/${path}`, {
        method: posted ? 'POST' : 'GET',
        headers: header(upstream, token),
        ...(posted ? { body: 'something' } : {}),
        ...options,
      });
    },
  };
}
