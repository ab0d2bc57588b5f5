/**
 * The operations of a running embedded server, over its local socket. The same interface as over a database, so that
 * commands cannot tell the two apart.
 */
import { request } from 'node:http';
import type { Operations, Outcome, Problem } from '../admin/operations.ts';
import { Unavailable } from '../core/refusal.ts';
import { socketAddress } from '../http/local.ts';

/** A large apply on a slow disk takes a while; longer than this is a hang. */
const CALL_TIMEOUT_MS = 120_000;

/** Calls one operation; throws Unavailable when the server does not answer or answers that it cannot. */
export async function callLocal<O extends keyof Operations>(
  socketPath: string,
  operation: O,
  args: Parameters<Operations[O]>[0],
): Promise<Awaited<ReturnType<Operations[O]>>> {
  const { status, text } = await post(socketPath, operation, JSON.stringify(args));
  type Result = Awaited<ReturnType<Operations[O]>>;
  const body = parseBody(text, status);
  if (status === 200) return { ok: true, value: body } as Result;
  const problem = body as Problem;
  if (status >= 500) throw new Unavailable('the running server', problem.title);
  return { ok: false, problem } as Outcome<never> as Result;
}

/** Every operation of the server behind a socket. */
export function localOperations(socketPath: string): Operations {
  return {
    plan: (args) => callLocal(socketPath, 'plan', args),
    apply: (args) => callLocal(socketPath, 'apply', args),
    addClientSecret: (args) => callLocal(socketPath, 'addClientSecret', args),
    retireClientSecrets: (args) => callLocal(socketPath, 'retireClientSecrets', args),
    listClientSecrets: (args) => callLocal(socketPath, 'listClientSecrets', args),
    setDisabled: (args) => callLocal(socketPath, 'setDisabled', args),
    list: (args) => callLocal(socketPath, 'list', args),
    show: (args) => callLocal(socketPath, 'show', args),
    put: (args) => callLocal(socketPath, 'put', args),
    remove: (args) => callLocal(socketPath, 'remove', args),
    exportObjects: (args) => callLocal(socketPath, 'exportObjects', args),
    recordsByJti: (args) => callLocal(socketPath, 'recordsByJti', args),
    listKeys: (args) => callLocal(socketPath, 'listKeys', args),
    rotateKeys: (args) => callLocal(socketPath, 'rotateKeys', args),
    activateKeys: (args) => callLocal(socketPath, 'activateKeys', args),
    taintKey: (args) => callLocal(socketPath, 'taintKey', args),
    rewrapKeys: (args) => callLocal(socketPath, 'rewrapKeys', args),
    countSealed: (args) => callLocal(socketPath, 'countSealed', args),
    backup: (args) => callLocal(socketPath, 'backup', args),
    examine: (args) => callLocal(socketPath, 'examine', args),
    revoke: (args) => callLocal(socketPath, 'revoke', args),
    listRevocations: (args) => callLocal(socketPath, 'listRevocations', args),
    setSecret: (args) => callLocal(socketPath, 'setSecret', args),
    rotateSecret: (args) => callLocal(socketPath, 'rotateSecret', args),
    listSecrets: (args) => callLocal(socketPath, 'listSecrets', args),
    showSecret: (args) => callLocal(socketPath, 'showSecret', args),
    removeSecret: (args) => callLocal(socketPath, 'removeSecret', args),
    recordsByRequestId: (args) => callLocal(socketPath, 'recordsByRequestId', args),
  };
}

function parseBody(text: string, status: number): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new Unavailable('the running server', `answered ${status} with something else than JSON`, { cause });
  }
}

function post(socketPath: string, operation: string, body: string): Promise<{ status: number; text: string }> {
  return new Promise((done, fail) => {
    const call = request(
      {
        socketPath: socketAddress(socketPath),
        path: `/v1/${operation}`,
        method: 'POST',
        headers: { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) },
        timeout: CALL_TIMEOUT_MS,
        agent: false,
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.once('end', () => {
          done({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') });
        });
        response.once('error', fail);
      },
    );
    call.once('timeout', () => {
      call.destroy(new Error(`no answer within ${CALL_TIMEOUT_MS / 1000} s`));
    });
    call.once('error', (cause) => {
      fail(new Unavailable('the running server', `does not answer on ${socketPath}: ${cause.message}`, { cause }));
    });
    call.end(body);
  });
}
