/** How a public document is answered: cacheable, readable by scripts of any site, and not sent to whoever has it. */
import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { READABLE_BY_SCRIPTS } from './cors.ts';

export interface PublicDocument {
  readonly type: string;
  readonly body: string;
  readonly maxAgeSeconds: number;
  /** Where it is known already. */
  readonly etag?: string;
}

export function sendDocument(request: IncomingMessage, response: ServerResponse, document: PublicDocument): void {
  const { type, body, maxAgeSeconds, etag = entityTag(body) } = document;
  const known = isKnown(request.headers['if-none-match'], etag);
  response.writeHead(known ? 304 : 200, {
    ...(known ? {} : { 'Content-Type': type, 'Content-Length': Buffer.byteLength(body) }),
    'Cache-Control': `public, max-age=${String(maxAgeSeconds)}`,
    ETag: etag,
    'X-Content-Type-Options': 'nosniff',
    ...READABLE_BY_SCRIPTS,
  });
  response.end(known ? undefined : body);
}

/** A strong one (RFC 9110 §8.8.3). */
function entityTag(body: string): string {
  return `"${createHash('sha256').update(body).digest('base64url')}"`;
}

/** RFC 9110 §13.1.2: a list, compared weakly, since a proxy that compresses makes tags weak; our tags hold no comma. */
function isKnown(ifNoneMatch: string | undefined, etag: string): boolean {
  const tags = (ifNoneMatch ?? '').split(',').map((tag) => tag.trim().replace(/^W\//, ''));
  return tags.includes(etag) || ifNoneMatch?.trim() === '*';
}
