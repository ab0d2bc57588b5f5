/**
 * A call through the egress: as it arrives, as it is open, and how it can end. Everything in an open call was verified.
 */
import type { Upstream } from '../objects/upstream.ts';
import type { Credential } from '../upstream/credential.ts';
import type { Injected } from '../upstream/inject.ts';
import type { EgressRequest } from './request.ts';

export interface EgressArrival {
  readonly requestId: string;
  readonly traceId: string | undefined;
  /** Address of the sender; personal. */
  readonly source: string;
  /** /24 of an IPv4 address, /48 of an IPv6 address. */
  readonly sourcePrefix: string;
  readonly request: EgressRequest;
}

/** How a call ended. `caller_gone`: it hung up; `stopped`: this node did; `upstream_*`: it did not answer to the end. */
export const ENDINGS = [
  'done',
  'expired',
  'revoked',
  'state_unknown',
  'stopped',
  'caller_gone',
  'request_too_large',
  'answer_too_large',
  'request_stalled',
  'upstream_timeout',
  'upstream_failed',
] as const;
export type Ending = (typeof ENDINGS)[number];

/** What became of a call, for its `closed` record. */
export interface CallEnd {
  readonly ended: Ending;
  /** Of the upstream's answer, where there was one. */
  readonly status: number | undefined;
  readonly requestBytes: number;
  readonly responseBytes: number;
  /** Sent a second time, with a fresh credential. */
  readonly repeated: boolean;
  /** Why the upstream failed, in a word of ours. */
  readonly failure?: string | undefined;
}

/** A credential, and the request that it was put into. */
export interface Armed {
  readonly credential: Credential;
  readonly injected: Injected;
}

/** A call whose `opened` record is committed: it may be forwarded, until it is cut. */
export interface OpenCall {
  readonly upstream: Upstream;
  /** Of `base_url`, or of the label that was asked for. */
  readonly baseUrl: string;
  /** The caller's, which is not forwarded anywhere. */
  readonly token: string;
  readonly armed: Armed;
  /** Aborted with an `Ending` as its reason. */
  readonly cut: AbortSignal;
  /** After an answer of 401 to a request that cannot be sent again: the next call gets a fresh credential. */
  reject(): void;
  /** After an answer of 401: another credential than the last one, or `undefined` where there is no better one. */
  renew(): Promise<Armed | undefined>;
  /** Commits the `closed` record, sooner or later. Never throws; the second time does nothing. */
  close(end: CallEnd): void;
}
