/**
 * How fast a revocation bites. Two processes on one PostgreSQL, exchanges going on at both; one token after the other is
 * revoked, at one node and the other by turns, and timed from when the revocation was acknowledged to the first refusal:
 * at the other node (introspection), and at servers that verify offline and poll the revocation document every 5 s, half of
 * them at each node. Fails when the other node accepted a token once after the acknowledgement, or when the 99th
 * percentile offline is above 6 s. Run: `npm run bench -- revocation [REVOCATIONS]`.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { createVerifier } from '../../src/resource-server/verifier.ts';
import type { Verifier } from '../../src/resource-server/verifier.ts';
import { NOTES, startTwoNodes } from '../support/two-nodes.ts';
import type { TwoNodes } from '../support/two-nodes.ts';

const REVOCATIONS = Number(process.argv[2] ?? 200);
const VERIFIERS = 6;
const WORKERS = 4;
/** So that revocations fall on every part of the verifiers' interval. */
const BETWEEN_MS = 230;
const LOOK_EVERY_MS = 50;
const LOOKS_AT_OTHER_NODE = 4;
const OFFLINE_LIMIT_MS = 6_000;

/** A token that some verifiers did not refuse yet. */
interface Outstanding {
  readonly token: string;
  readonly acknowledgedMs: number;
  readonly accepting: Set<Verifier>;
}

const both = await startTwoNodes();
const load = { stop: false, exchanges: 0, failures: 0 };
let verifiers: readonly Verifier[] = [];
try {
  verifiers = await startVerifiers(both);
  const workers = Array.from({ length: WORKERS }, (_, worker) => exchangeAllTheTime(both, worker));
  const offline: number[] = [];
  const outstanding: Outstanding[] = [];
  const watching = watch(outstanding, offline, verifiers);
  const startedMs = performance.now();
  const online = await revokeAll(both, outstanding, verifiers);
  await watching.untilNothingIsLeft();
  const seconds = (performance.now() - startedMs) / 1000;
  load.stop = true;
  await Promise.all(workers);

  console.log(
    `${REVOCATIONS} revocations while ${load.exchanges} exchanges went on, ${Math.round(load.exchanges / seconds)}/s`,
  );
  console.log('from acknowledgement to the first refusal, ms:');
  report('other node', online.refusedMs);
  report(`${VERIFIERS} offline verifiers, polling every 5 s`, offline);
  const late = percentile(offline, 0.99) > OFFLINE_LIMIT_MS;
  if (online.accepted > 0)
    console.log(`FAILED: the other node accepted ${online.accepted} times after the acknowledgement`);
  if (late) console.log(`FAILED: the 99th percentile offline is above ${OFFLINE_LIMIT_MS} ms`);
  if (load.failures > 0) console.log(`FAILED: ${load.failures} exchanges failed`);
  if (offline.length !== REVOCATIONS * VERIFIERS) console.log(`FAILED: ${offline.length} refusals offline`);
  const asExpected = offline.length === REVOCATIONS * VERIFIERS && load.failures === 0;
  process.exitCode = online.accepted > 0 || late || !asExpected ? 1 : 0;
} finally {
  load.stop = true;
  for (const verifier of verifiers) verifier.close();
  await both.stop();
}

/** Started at different times, as servers are; every second one reads at the second node. */
async function startVerifiers({ issuer, nodes }: TwoNodes): Promise<readonly Verifier[]> {
  const started: Verifier[] = [];
  for (let index = 0; index < VERIFIERS; index++) {
    const { url } = nodes[index % 2 === 0 ? 0 : 1];
    const there: typeof fetch = (input, options) =>
      fetch((input instanceof Request ? input.url : input.toString()).replace(issuer, url), options);
    const verifier = createVerifier({ issuer, resource: NOTES, fetch: there });
    await verifier.ready();
    started.push(verifier);
    await pause(5_000 / VERIFIERS);
  }
  return started;
}

async function exchangeAllTheTime(at: TwoNodes, worker: number): Promise<void> {
  for (let turn = 0; !load.stop; turn++) {
    try {
      await at.exchange(at.nodes[turn % 2 === 0 ? 0 : 1], `load-${worker}-${turn % 500}`);
      load.exchanges++;
    } catch (error) {
      load.failures++;
      console.error(error);
    }
  }
}

async function revokeAll(
  at: TwoNodes,
  outstanding: Outstanding[],
  all: readonly Verifier[],
): Promise<{ readonly refusedMs: readonly number[]; readonly accepted: number }> {
  const refusedMs: number[] = [];
  let accepted = 0;
  for (let turn = 0; turn < REVOCATIONS; turn++) {
    const [here, there] = turn % 2 === 0 ? at.nodes : [at.nodes[1], at.nodes[0]];
    const token = await at.exchange(turn % 3 === 0 ? here : there, `person-${turn}`);
    // The control: until now everybody takes it.
    if (!(await at.isActive(there, token))) throw new Error('a fresh token is not active');
    for (const verifier of all)
      if ((await verifier.verify(token)).kind !== 'access') throw new Error('a fresh token is refused offline');
    const revoked = await at.ask(here, '/oauth2/revoke', 'agent', { token });
    const acknowledgedMs = performance.now();
    if (revoked.status !== 200) throw new Error(`a revocation failed: ${revoked.status} ${revoked.text}`);
    outstanding.push({ token, acknowledgedMs, accepting: new Set(all) });
    for (let look = 0; look < LOOKS_AT_OTHER_NODE; look++) {
      const active = await at.isActive(there, token);
      if (active) accepted++;
      else if (look === 0) refusedMs.push(performance.now() - acknowledgedMs);
    }
    await pause(BETWEEN_MS);
  }
  return { refusedMs, accepted };
}

/** Asks every verifier about every token that it still takes, again and again. */
function watch(outstanding: Outstanding[], refusedMs: number[], all: readonly Verifier[]) {
  const look = async () => {
    for (const { token, acknowledgedMs, accepting } of [...outstanding])
      for (const verifier of all) {
        if (!accepting.has(verifier)) continue;
        const verdict = await verifier.verify(token);
        if (verdict.kind === 'access') continue;
        if (verdict.reason !== 'revoked') throw new Error(`refused for another reason: ${verdict.reason}`);
        accepting.delete(verifier);
        refusedMs.push(performance.now() - acknowledgedMs);
      }
    const left = outstanding.filter(({ accepting }) => accepting.size > 0);
    outstanding.splice(0, outstanding.length, ...left);
  };
  const until = { finishing: false };
  const running = (async () => {
    while (!until.finishing || outstanding.length > 0) {
      await look();
      await pause(LOOK_EVERY_MS);
    }
  })();
  return {
    untilNothingIsLeft: async () => {
      until.finishing = true;
      await running;
    },
  };
}

function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}

function report(what: string, values: readonly number[]): void {
  const at = (share: number) => percentile(values, share).toFixed(0);
  console.log(
    `  ${what}: n ${values.length}, min ${at(0)}, p50 ${at(0.5)}, p90 ${at(0.9)}, p99 ${at(0.99)}, max ${at(1)}`,
  );
}
