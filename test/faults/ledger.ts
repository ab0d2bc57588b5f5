/**
 * The oracle for every fault: what callers saw, held against what was recorded. Callers note each request by the
 * request id of its answer; afterwards the two books must agree.
 */
import type { TestCambist } from '../support/cambist.ts';

/** What one caller saw of one request. */
export interface Seen {
  readonly outcome: 'issued' | 'unavailable' | 'cut' | 'other';
  /** Undefined when the connection was cut before the headers. */
  readonly requestId: string | undefined;
  /** `undefined` where no token came, or a credential in its place. */
  readonly jti: string | undefined;
  readonly detail?: string;
}

/** What one caller saw of one call through the egress. */
export interface SeenCall {
  readonly status: number;
  readonly requestId: string;
}

export interface Books {
  readonly seen: readonly Seen[];
  /** Records by request id. */
  readonly records: ReadonlyMap<
    string,
    readonly { readonly kind: string; readonly jti: string | null; readonly body: Readonly<Record<string, unknown>> }[]
  >;
}

/** Reads every record there is. */
export async function openBooks(cambist: TestCambist, seen: readonly Seen[]): Promise<Books> {
  const records = new Map<string, { kind: string; jti: string | null; body: Record<string, unknown> }[]>();
  const rows = await cambist.database.query<{
    request_id: string;
    kind: string;
    jti: string | null;
    canonical: Uint8Array;
  }>('SELECT request_id, kind, jti, canonical FROM audit_record ORDER BY recorded_at, id');
  for (const row of rows) {
    const body = JSON.parse(new TextDecoder().decode(row.canonical)) as Record<string, unknown>;
    const found = records.get(row.request_id) ?? [];
    found.push({ kind: row.kind, jti: row.jti, body });
    records.set(row.request_id, found);
  }
  return { seen, records };
}

/** Every way in which the books disagree, in words; empty when they agree. */
export function disagreements({ seen, records }: Books): string[] {
  const faults: string[] = [];
  const bySeen = new Map(
    seen.flatMap((entry) => (entry.requestId === undefined ? [] : [[entry.requestId, entry] as const])),
  );
  const cuts = seen.filter((entry) => entry.requestId === undefined).length;
  for (const { requestId, outcome, jti } of seen) {
    if (requestId === undefined || outcome !== 'issued') continue;
    const own = records.get(requestId) ?? [];
    const issued = own.filter(({ kind }) => kind === 'issued');
    if (issued.length !== 1) faults.push(`200 of ${requestId} has ${issued.length} issued records`);
    else if ((issued[0]?.jti ?? undefined) !== jti) faults.push(`200 of ${requestId} has a record of another token`);
    if (own.length !== 1) faults.push(`200 of ${requestId} has records ${own.map(({ kind }) => kind).join(', ')}`);
  }
  let unseen = 0;
  for (const [requestId, own] of records) {
    const issued = own.filter(({ kind }) => kind === 'issued');
    if (issued.length === 0) continue;
    if (issued.length > 1) faults.push(`${requestId} was issued ${issued.length} times`);
    const entry = bySeen.get(requestId);
    if (entry === undefined) unseen += 1;
    else if (entry.outcome === 'issued') continue;
    else if (entry.outcome !== 'unavailable')
      faults.push(`issued record of ${requestId}, whose caller saw ${entry.outcome}`);
    const undelivered = own.filter(({ kind }) => kind === 'undelivered');
    // A caller that hangs up just as the answer is handed to the operating system: TCP does not tell the node.
    if (undelivered.length === 0 && entry === undefined) continue;
    if (undelivered.length !== 1)
      faults.push(
        `${requestId} was issued, its caller saw ${entry?.outcome ?? 'nothing'}, and it has ${undelivered.length} undelivered records`,
      );
    else if (undelivered[0]?.body['of'] !== issued[0]?.body['id'])
      faults.push(`undelivered record of ${requestId} names another record`);
  }
  if (unseen > cuts) faults.push(`${unseen} issued records belong to no caller, and only ${cuts} connections were cut`);
  return faults;
}

/**
 * The same for calls through the egress, all of them ended: an answer of the upstream is opened and closed, once and in
 * that order; what was not forwarded was never opened.
 */
export function disagreementsOfCalls({ records }: Books, seen: readonly SeenCall[]): string[] {
  const faults: string[] = [];
  for (const { status, requestId } of seen) {
    const own = records.get(requestId) ?? [];
    const kinds = own.map(({ kind }) => kind).join(', ');
    if (status === 503 ? kinds !== '' : kinds !== 'opened, closed') faults.push(`${status} of ${requestId}: ${kinds}`);
    const [opened, closed] = own;
    if (closed === undefined) continue;
    if (closed.body['status'] !== status) faults.push(`${status} of ${requestId} is recorded as another status`);
    if (closed.body['opened'] !== opened?.body['id']) faults.push(`${requestId} closes what it did not open`);
  }
  const known = new Set(seen.map(({ requestId }) => requestId));
  for (const [requestId, own] of records)
    if (!known.has(requestId) && own.some(({ kind }) => kind === 'opened'))
      faults.push(`nobody made call ${requestId}`);
  return faults;
}

/** How often each kind of record is there. */
export function countKinds({ records }: Books): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const own of records.values()) for (const { kind } of own) counts[kind] = (counts[kind] ?? 0) + 1;
  return counts;
}
