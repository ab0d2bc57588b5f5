/**
 * The body of a call on its way to the upstream: streamed as it comes, counted, and kept only as long as it is small, so
 * that it can be sent a second time.
 */
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';

/** Longest body that can be sent again. */
const REPEATED_MAX_BYTES = 65_536;

export interface CallBody {
  /** What is sent; `null` where there is none. The second time it is what was kept. */
  readonly next: () => Readable | Buffer | null;
  /** Whether it can be sent again: all of it is here. */
  repeatable(): boolean;
  bytes(): number;
}

export interface BodyEvents {
  readonly bytesMax: number;
  /** A piece came. */
  onPiece(): void;
  /** All of it came, or there is none. */
  onComplete(): void;
  onTooLarge(): void;
}

export function createCallBody(request: IncomingMessage, events: BodyEvents): CallBody {
  const { 'content-length': length, 'transfer-encoding': encoding } = request.headers;
  if (encoding === undefined && (length === undefined || length === '0')) return emptyBody(events);
  let kept: Buffer[] | undefined = [];
  let bytes = 0;
  let complete = false;

  async function* pieces(): AsyncGenerator<Buffer> {
    // Not destroyed with the iterator: the answer still has to go out on its connection.
    for await (const piece of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      bytes += piece.length;
      if (bytes > events.bytesMax) {
        events.onTooLarge();
        throw new Error('the body is too large');
      }
      if (bytes > REPEATED_MAX_BYTES) kept = undefined;
      kept?.push(piece);
      events.onPiece();
      yield piece;
    }
    complete = true;
    events.onComplete();
  }

  let begun = false;
  return {
    next: () => {
      if (begun) {
        events.onComplete();
        return Buffer.concat(kept ?? []);
      }
      begun = true;
      return Readable.from(pieces(), { objectMode: false });
    },
    repeatable: () => complete && kept !== undefined,
    bytes: () => bytes,
  };
}

function emptyBody(events: BodyEvents): CallBody {
  return {
    next: () => {
      events.onComplete();
      return null;
    },
    repeatable: () => true,
    bytes: () => 0,
  };
}
