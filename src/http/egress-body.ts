/**
 * The body of a call on its way to the upstream: streamed as it comes, counted, and kept only as long as it is small, so
 * that it can be sent a second time.
 */
import type { IncomingMessage } from 'node:http';
import { Transform } from 'node:stream';
import type { Readable } from 'node:stream';
import { inviteBody } from './body-invitation.ts';

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

  const counter = () =>
    new Transform({
      transform(piece: Buffer, _, done) {
        bytes += piece.length;
        if (bytes > events.bytesMax) {
          events.onTooLarge();
          done(new Error('the body is too large'));
          return;
        }
        if (bytes > REPEATED_MAX_BYTES) kept = undefined;
        kept?.push(piece);
        events.onPiece();
        done(null, piece);
      },
      flush(done) {
        complete = true;
        events.onComplete();
        done();
      },
    });

  let begun = false;
  return {
    next: () => {
      if (begun) {
        events.onComplete();
        return Buffer.concat(kept ?? []);
      }
      begun = true;
      const body = counter();
      // Whoever sends it hears of its errors first; an upload that breaks off must not look like one that ends.
      body.on('error', () => undefined);
      request.once('close', () => {
        if (!request.complete) body.destroy(new Error('the caller hung up'));
      });
      inviteBody(request);
      // Not `pipeline`, which would end the connection on which the answer still has to go out.
      return request.pipe(body);
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
