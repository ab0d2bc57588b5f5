/**
 * The one HTTP client of the suite. It follows no redirect, bounds time, size and number of requests, speaks to loopback
 * only unless a host was allowed by name, and keeps every exchange so that a report can show what was really sent.
 */
import { request } from 'undici';

export interface Sent {
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
}

/** What came back, with what was sent. `status` 0 means that no HTTP answer arrived; `fault` says why. */
export interface Answer {
  readonly index: number;
  readonly sent: Sent;
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** The body as a JSON object, if it is one. */
  readonly json: Readonly<Record<string, unknown>> | undefined;
  readonly durationMs: number;
  readonly fault?: string;
}

export interface WireSettings {
  readonly timeoutMs: number;
  /** Host names that may be spoken to beside loopback. */
  readonly allowedHosts: readonly string[];
}

export interface Wire {
  send(sent: Sent): Promise<Answer>;
  readonly answers: readonly Answer[];
}

const BODY_MAX_BYTES = 1_000_000;

/** Whether a URL names this machine only: an address in 127/8, `::1`, or `localhost`. */
export function isLoopback(url: URL): boolean {
  const host = url.hostname.toLowerCase();
  return host === 'localhost' || host === '[::1]' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host);
}

/** Thrown before a byte leaves for a host that nobody allowed. */
export class HostRefused extends Error {
  constructor(host: string) {
    super(`${host} is not loopback: say --allow-host ${host} if you are allowed to test it`);
    this.name = 'HostRefused';
  }
}

export function refuseForeignHost(address: string, allowedHosts: readonly string[]): void {
  const url = new URL(address);
  if (!isLoopback(url) && !allowedHosts.includes(url.hostname)) throw new HostRefused(url.hostname);
}

export function openWire(settings: WireSettings): Wire {
  const answers: Answer[] = [];
  return {
    answers,
    async send(sent) {
      refuseForeignHost(sent.url, settings.allowedHosts);
      const answer = await exchangeOnce(sent, settings.timeoutMs, answers.length);
      answers.push(answer);
      return answer;
    },
  };
}

async function exchangeOnce(sent: Sent, timeoutMs: number, index: number): Promise<Answer> {
  const started = performance.now();
  const spent = () => Math.round(performance.now() - started);
  try {
    const response = await request(sent.url, {
      method: sent.method as 'GET' | 'POST',
      headers: sent.headers,
      body: sent.body ?? null,
      signal: AbortSignal.timeout(timeoutMs),
    });
    const body = await boundedText(response.body);
    const headers: Record<string, string> = {};
    for (const [name, value] of Object.entries(response.headers))
      if (value !== undefined) headers[name.toLowerCase()] = typeof value === 'string' ? value : value.join(', ');
    return { index, sent, status: response.statusCode, headers, body, json: jsonObject(body), durationMs: spent() };
  } catch (error) {
    const fault = error instanceof Error ? error.message : String(error);
    return { index, sent, status: 0, headers: {}, body: '', json: undefined, durationMs: spent(), fault };
  }
}

async function boundedText(stream: AsyncIterable<Buffer>): Promise<string> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of stream) {
    bytes += part.length;
    if (bytes > BODY_MAX_BYTES) throw new Error(`the answer is larger than ${BODY_MAX_BYTES} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

function jsonObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isRecord(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
