/**
 * Step 1 of the road: a form, strictly. The right content type, nothing in the query, bounded, valid UTF-8, no
 * parameter twice (RFC 6749 §3.2) but for `resource` (RFC 8707 §2) and `audience` (RFC 8693 §2.1).
 */
import type { IncomingMessage } from 'node:http';
import type { Form } from '../core/form.ts';
import { refuse } from '../core/refusal.ts';
import type { Refusal } from '../core/refusal.ts';
import { inviteBody } from './body-invitation.ts';

export const FORM_MAX_BYTES = 32 * 1024;
const MAX_PARAMETERS = 64;
const REPEATABLE = new Set(['resource', 'audience']);

/** Reads the body of a token request; refuses what is not a form. */
export async function readForm(request: IncomingMessage): Promise<Form | Refusal> {
  if (request.url?.includes('?') === true) return refuse('parameter_in_query');
  // Node keeps the first of a header that is there twice, and another server might keep the last.
  if ((request.headersDistinct['authorization']?.length ?? 0) > 1) return refuse('client_authentication_ambiguous');
  if ((request.headersDistinct['content-type']?.length ?? 0) > 1) return refuse('content_type_unsupported');
  if (!isFormContentType(request.headers['content-type'])) return refuse('content_type_unsupported');
  if (request.headers['content-encoding'] !== undefined)
    return refuse('content_type_unsupported', { header: 'content-encoding' });
  const body = await readBounded(request);
  return body === undefined ? refuse('body_too_large') : parseForm(body);
}

/** RFC 6749 §4.4.2, §B: form-urlencoded, UTF-8. */
function isFormContentType(header: string | undefined): boolean {
  const [type = '', ...parameters] = (header ?? '').split(';').map((part) => part.trim().toLowerCase());
  return (
    type === 'application/x-www-form-urlencoded' &&
    parameters.every((part) => part === '' || /^charset="?utf-8"?$/.test(part))
  );
}

async function readBounded(request: IncomingMessage): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  inviteBody(request);
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > FORM_MAX_BYTES) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Parses a form body; exported for tests of the grammar alone. */
export function parseForm(body: Buffer): Form | Refusal {
  const values = new Map<string, string[]>();
  const pairs = body.length === 0 ? [] : body.toString('latin1').split('&');
  if (pairs.length > MAX_PARAMETERS) return refuse('body_malformed', { parameters: pairs.length });
  for (const pair of pairs) {
    const equals = pair.indexOf('=');
    const name = decode(equals < 0 ? pair : pair.slice(0, equals));
    const value = equals < 0 ? '' : decode(pair.slice(equals + 1));
    if (name === undefined || value === undefined || name === '') return refuse('body_malformed');
    const before = values.get(name);
    if (before !== undefined && !REPEATABLE.has(name))
      return refuse('parameter_duplicated', { parameter: name.length <= 32 ? name : 'a long name' });
    if (before === undefined) values.set(name, [value]);
    else before.push(value);
  }
  const present = (name: string) => (values.get(name) ?? []).filter((value) => value !== '');
  return { one: (name) => present(name)[0], all: present };
}

/** Percent-decoding that refuses what it cannot decode, raw bytes beyond ASCII, and control characters. */
function decode(text: string): string | undefined {
  if (!/^(?:[!-$&-~]|%[0-9A-Fa-f]{2})*$/.test(text)) return undefined;
  try {
    const decoded = decodeURIComponent(text.replaceAll('+', ' '));
    return /\p{Cc}/u.test(decoded) ? undefined : decoded;
  } catch {
    return undefined;
  }
}
