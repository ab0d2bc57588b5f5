/**
 * One GET of a document of the issuer. Owns the bounds of it: a size, a time for the whole answer, no redirects, 200 (or
 * 304 where a tag was sent), the media type that was asked for. Failures carry a code and never a byte of the answer, so
 * that they may be logged.
 */

export const REMOTE_FAILURES = {
  unreachable: 'it could not be reached',
  timeout: 'it did not answer in time',
  status: 'it answered with a status other than 200',
  media_type: 'it answered with another media type',
  too_large: 'its answer is too large',
  cooling: 'it was asked for a moment ago, and is not asked for again at once',
  invalid: 'its answer says something that it must not',
} as const;
export type RemoteFailureCode = keyof typeof REMOTE_FAILURES;

/** A document that could not be had; `what` names it in words. */
export class RemoteFailure extends Error {
  override readonly name = 'RemoteFailure';
  readonly code: RemoteFailureCode;

  constructor(code: RemoteFailureCode, what: string, detail?: string | number) {
    super(`${what}: ${REMOTE_FAILURES[code]}${detail === undefined ? '' : ` (${detail})`}`);
    this.code = code;
  }
}

export interface RemoteText {
  readonly bytes: Uint8Array;
  readonly etag: string | undefined;
  /** `Cache-Control: max-age` less `Age`, 0 for `no-store` and `no-cache`; `undefined` where nothing was said. */
  readonly maxAgeSeconds: number | undefined;
}

export interface GetOptions {
  /** For messages: `metadata`, `keys`. */
  readonly what: string;
  readonly mediaTypes: readonly string[];
  readonly maxBytes: number;
  readonly timeoutMs: number;
  /** Sent as `If-None-Match`. */
  readonly etag?: string | undefined;
  /** Cuts it. */
  readonly signal: AbortSignal;
}

/** GETs a URL that was checked before; `not_modified` only where a tag was sent. Throws `RemoteFailure`. */
export async function getDocument(
  fetchIt: typeof fetch,
  url: string,
  options: GetOptions,
): Promise<RemoteText | 'not_modified'> {
  const { what, etag } = options;
  const deadline = new AbortController();
  // A timer of our own: one of AbortSignal.timeout cannot be cleared and would outlive the answer.
  const timer = setTimeout(() => {
    deadline.abort();
  }, options.timeoutMs);
  try {
    const response = await fetchIt(url, {
      // A redirect is seen as its status, and refused: nobody but the issuer says where its documents are.
      redirect: 'manual',
      credentials: 'omit',
      signal: AbortSignal.any([deadline.signal, options.signal]),
      headers: { accept: options.mediaTypes.join(', '), ...(etag !== undefined && { 'if-none-match': etag }) },
    });
    if (response.status === 304 && etag !== undefined) {
      await response.body?.cancel();
      return 'not_modified';
    }
    return await readAnswer(response, options);
  } catch (error) {
    if (error instanceof RemoteFailure) throw error;
    if (deadline.signal.aborted) throw new RemoteFailure('timeout', what);
    // Without its cause: a client's error may quote what it read.
    throw new RemoteFailure('unreachable', what, systemCodeOf(error));
  } finally {
    clearTimeout(timer);
  }
}

async function readAnswer(response: Response, { what, mediaTypes, maxBytes }: GetOptions): Promise<RemoteText> {
  try {
    if (response.status !== 200) throw new RemoteFailure('status', what, response.status);
    const type = (response.headers.get('content-type') ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
    if (!mediaTypes.includes(type)) throw new RemoteFailure('media_type', what);
    const chunks: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
      size += chunk.byteLength;
      if (size > maxBytes) throw new RemoteFailure('too_large', what);
      chunks.push(chunk);
    }
    const { headers } = response;
    return {
      bytes: Buffer.concat(chunks),
      etag: headers.get('etag') ?? undefined,
      maxAgeSeconds: maxAgeOf(headers.get('cache-control'), headers.get('age')),
    };
  } catch (error) {
    // Lets the connection go of an answer that nobody reads on; an iterated body has done so already.
    if (response.body?.locked === false) await response.body.cancel().catch(() => undefined);
    throw error;
  }
}

function maxAgeOf(cacheControl: string | null, age: string | null): number | undefined {
  const directives = (cacheControl ?? '').toLowerCase();
  if (/(^|[\s,])no-(store|cache)\b/.test(directives)) return 0;
  const maxAge = /(?:^|[\s,])max-age=(\d{1,9})\b/.exec(directives)?.[1];
  if (maxAge === undefined) return undefined;
  return Math.max(0, Number(maxAge) - (age !== null && /^\d{1,9}$/.test(age) ? Number(age) : 0));
}

/** `ECONNREFUSED` and its like; undici hides it in the cause. */
function systemCodeOf(error: unknown): string | undefined {
  const { code, cause } = error as { code?: unknown; cause?: { code?: unknown } };
  return [cause?.code, code].find(
    (one): one is string => typeof one === 'string' && /^[A-Z][A-Z0-9_]{1,60}$/.test(one),
  );
}
