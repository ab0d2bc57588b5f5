/**
 * The limits of a process, as the settings give them, and what they are where nothing is said. `null` = none.
 */
export interface LimitSettings {
  /** Requests per minute at the token endpoint, over all nodes; a client or resource may have a number of its own. */
  readonly clientPerMinute: number | null;
  readonly resourcePerMinute: number | null;
  readonly subjectPerMinute: number | null;
  /** Requests per minute and client at introspection and revocation together, over all nodes. */
  readonly statusPerMinute: number | null;
  /** From one address for one claimed client, per node; ten times that from one address. */
  readonly failedAuthenticationsPerMinute: number;
  /** Of one node; what comes beyond is told to come back. */
  readonly requestsUnderWayMax: number;
  /** Calls to upstreams that are open at a time: on one node, and of one client there. */
  readonly egressCallsMax: number;
  readonly egressCallsPerClientMax: number;
}

export const DEFAULT_LIMITS: LimitSettings = {
  clientPerMinute: 6000,
  resourcePerMinute: null,
  subjectPerMinute: 600,
  statusPerMinute: 60_000,
  failedAuthenticationsPerMinute: 60,
  requestsUnderWayMax: 1000,
  egressCallsMax: 1000,
  egressCallsPerClientMax: 200,
};
