/**
 * The APIs of three vendors, in the shape in which they answer their SDKs: paths, headers, errors, links to further pages,
 * events of a stream. Each takes its key and nothing else, in the place where the vendor wants it.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { bodyOf, startUpstream } from './egress.ts';
import type { TestUpstream } from './egress.ts';

export const VENDOR_KEYS = {
  github: 'ghp_canary0f3a9c7b51',
  openai: 'sk-proj-canary-77b0e1',
  azure: 'canary84c1d09b3e5f',
  anthropic: 'sk-ant-canary-5d20c4',
} as const;
export type Vendor = keyof typeof VENDOR_KEYS;

/** What the next request is answered instead: a passing trouble that SDKs try again after. */
export interface Trouble {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: object;
}

export interface Vendors {
  readonly apis: Readonly<Record<Vendor, TestUpstream>>;
  /** Answered once each, in order, before the vendor answers as it does. */
  readonly troubles: Trouble[];
  /** Lets the streams that wait for it go on, after their first event. */
  release(): void;
  /** Streams wait after their first event. */
  hold(): void;
  stop(): Promise<void>;
}

interface Turn {
  readonly url: URL;
  readonly method: string;
  readonly body: Buffer;
  readonly response: ServerResponse;
  /** Resolves when a held stream may go on. */
  readonly mayGoOn: () => Promise<void>;
}

export async function startVendors(): Promise<Vendors> {
  const apis = {
    github: await startUpstream(),
    openai: await startUpstream(),
    azure: await startUpstream(),
    anthropic: await startUpstream(),
  };
  const troubles: Trouble[] = [];
  let held = Promise.resolve();
  let release: () => void = () => undefined;
  const answer = async (
    vendor: { has(request: IncomingMessage): boolean; stranger: object; serve(turn: Turn): Promise<void> | void },
    api: TestUpstream,
    request: IncomingMessage,
    response: ServerResponse,
  ) => {
    const body = await bodyOf(request);
    const seen = api.arrived.at(-1);
    if (seen !== undefined) seen.body = body;
    const trouble = troubles.shift();
    if (!vendor.has(request)) json(response, 401, vendor.stranger);
    else if (trouble !== undefined) json(response, trouble.status, trouble.body, trouble.headers);
    else {
      const url = new URL(request.url ?? '', api.url);
      await vendor.serve({ url, method: request.method ?? '', body, response, mayGoOn: () => held });
    }
  };
  for (const [name, vendor] of Object.entries({ github, openai, azure, anthropic })) {
    const api = apis[name as Vendor];
    api.answer((request, response) => void answer(vendor, api, request, response));
  }
  return {
    apis,
    troubles,
    hold: () => {
      held = new Promise((resolve) => (release = resolve));
    },
    release: () => {
      release();
    },
    stop: async () => {
      release();
      await Promise.all(Object.values(apis).map((api) => api.stop()));
    },
  };
}

function json(response: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}): void {
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8', ...headers });
  response.end(JSON.stringify(body));
}

const ISSUES = Array.from({ length: 7 }, (_, index) => ({ number: index + 1, title: `Issue ${index + 1}` }));
const PER_PAGE = 3;

const github = {
  has: ({ headers }: IncomingMessage) => headers.authorization === `Bearer ${VENDOR_KEYS.github}`,
  stranger: { message: 'Bad credentials', documentation_url: 'https://docs.github.com/rest', status: '401' },
  serve({ url, method, body, response }: Turn): void {
    const of = `${method} ${url.pathname}`;
    if (/^GET \/(repos\/example\/notes|repositories\/1296269)\/issues$/.test(of)) {
      const page = Number(url.searchParams.get('page') ?? 1);
      const last = Math.ceil(ISSUES.length / PER_PAGE);
      const to = (number: number, rel: string) =>
        `<${url.origin}/repositories/1296269/issues?page=${number}>; rel="${rel}"`;
      const links = page < last ? [to(page + 1, 'next'), to(last, 'last')] : [to(page - 1, 'prev'), to(1, 'first')];
      json(response, 200, ISSUES.slice((page - 1) * PER_PAGE, page * PER_PAGE), {
        link: links.join(', '),
        'x-ratelimit-remaining': '4999',
      });
    } else if (of === 'POST /repos/example/notes/releases/7/assets')
      json(response, 201, { id: 1, name: url.searchParams.get('name'), size: body.length, state: 'uploaded' });
    else
      json(response, 404, { message: 'Not Found', documentation_url: 'https://docs.github.com/rest', status: '404' });
  },
};

const openai = {
  has: ({ headers }: IncomingMessage) => headers.authorization === `Bearer ${VENDOR_KEYS.openai}`,
  stranger: {
    error: { message: 'Incorrect API key provided', type: 'invalid_request_error', code: 'invalid_api_key' },
  },
  async serve({ url, body, response, mayGoOn }: Turn): Promise<void> {
    const { pathname } = url;
    if (pathname === '/v1/files') {
      const name = /filename="([^"]+)"/.exec(body.toString('latin1'))?.[1];
      json(response, 200, { id: 'file-1', object: 'file', bytes: body.length, filename: name, purpose: 'user_data' });
      return;
    }
    const asked = JSON.parse(body.toString()) as { model: string; stream?: boolean };
    if (asked.model === 'no-such-model') {
      const message = 'The model `no-such-model` does not exist';
      json(
        response,
        400,
        { error: { message, type: 'invalid_request_error', param: 'model', code: 'model_not_found' } },
        { 'x-request-id': 'req_openai' },
      );
      return;
    }
    const chunk = (delta: object, finish: string | null = null) => ({
      id: 'chatcmpl-1',
      object: 'chat.completion.chunk',
      created: 1,
      model: asked.model,
      choices: [{ index: 0, delta, finish_reason: finish }],
    });
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    for (const [index, delta] of [
      { role: 'assistant', content: 'Hel' },
      { content: 'lo' },
      { content: '.' },
    ].entries()) {
      response.write(`data: ${JSON.stringify(chunk(delta))}\n\n`);
      if (index === 0) await mayGoOn();
    }
    response.end(`data: ${JSON.stringify(chunk({}, 'stop'))}\n\ndata: [DONE]\n\n`);
  },
};

const azure = {
  has: ({ headers }: IncomingMessage) =>
    headers['api-key'] === VENDOR_KEYS.azure && headers.authorization === undefined,
  stranger: { error: { code: '401', message: 'Access denied due to invalid subscription key' } },
  serve({ url, response }: Turn): void {
    if (url.pathname !== '/openai/deployments/gpt-5.4/chat/completions' || !url.searchParams.has('api-version'))
      json(response, 404, { error: { code: '404', message: 'Resource not found' } });
    else
      json(response, 200, {
        id: 'chatcmpl-2',
        object: 'chat.completion',
        created: 1,
        model: 'gpt-5.4',
        choices: [{ index: 0, message: { role: 'assistant', content: 'Hello.' }, finish_reason: 'stop' }],
      });
  },
};

const anthropic = {
  has: ({ headers }: IncomingMessage) =>
    headers.authorization === `Bearer ${VENDOR_KEYS.anthropic}` && headers['x-api-key'] === undefined,
  stranger: { type: 'error', error: { type: 'authentication_error', message: 'invalid bearer token' } },
  async serve({ body, response, mayGoOn }: Turn): Promise<void> {
    const asked = JSON.parse(body.toString()) as { model: string; max_tokens: number };
    if (asked.max_tokens < 1) {
      const error = { type: 'invalid_request_error', message: 'max_tokens: must be greater than 0' };
      json(response, 400, { type: 'error', error, request_id: 'req_anthropic' }, { 'request-id': 'req_anthropic' });
      return;
    }
    const usage = { input_tokens: 3, output_tokens: 1 };
    const message = { id: 'msg_1', type: 'message', role: 'assistant', model: asked.model, content: [], usage };
    const text = (part: string) => ({
      type: 'content_block_delta',
      index: 0,
      delta: { type: 'text_delta', text: part },
    });
    const events = [
      { type: 'message_start', message: { ...message, stop_reason: null, stop_sequence: null } },
      { type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } },
      text('Hel'),
      text('lo.'),
      { type: 'content_block_stop', index: 0 },
      { type: 'message_delta', delta: { stop_reason: 'end_turn', stop_sequence: null }, usage },
      { type: 'message_stop' },
    ];
    response.writeHead(200, { 'content-type': 'text/event-stream', 'request-id': 'req_anthropic' });
    for (const event of events) {
      response.write(`event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`);
      if (event === events[2]) await mayGoOn();
    }
    response.end();
  },
};
