/**
 * The local socket of an embedded server: the operations of `admin/` as `POST /v1/<operation>`, JSON both ways. The
 * embedded database has one process, so the command line must ask that process. Whoever can open the socket may do
 * everything, so only the owner can: the folder is 0700 (refused otherwise), and the socket is born 0600.
 */
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { lstatSync, rmSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname, relative, resolve } from 'node:path';
import { z } from 'zod';
import type { Operations, Outcome, Problem } from '../admin/operations.ts';
import type { Logger } from '../core/log.ts';
import { Unavailable } from '../core/refusal.ts';
import { PURPOSE_NAMES } from '../keys/purposes.ts';
import { KINDS } from '../objects/kinds.ts';
import type { Kind } from '../objects/kinds.ts';
import { REVOCATION_KINDS } from '../tokens/revocation.ts';

/** Bodies beyond this are refused; a set of object files fits many times. */
export const LOCAL_BODY_MAX_BYTES = 32 * 1024 * 1024;
const HEADERS_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 30_000;
const CLOSE_TIMEOUT_MS = 5_000;
/** sun_path holds 108 bytes on Linux and 104 on macOS, with the NUL at the end. */
const SOCKET_PATH_MAX_BYTES = 103;

/** The socket cannot be had; the message says why and what to do. */
export class LocalSocketRefused extends Error {
  override readonly name = 'LocalSocketRefused';
}

export interface LocalServerOptions {
  readonly socketPath: string;
  readonly operations: Operations;
  readonly logger: Logger;
}

export interface LocalServer {
  /** Stops taking requests, waits a little for those in flight, removes the socket. */
  close(): Promise<void>;
}

/** Serves the operations. The data folder must be locked by this process: that is what keeps two servers apart. */
export async function serveLocal({ socketPath, operations, logger }: LocalServerOptions): Promise<LocalServer> {
  const address = socketAddress(socketPath);
  refuseOpenFolder(dirname(resolve(socketPath)));
  await removeStaleSocket(socketPath);
  const server = createServer(
    { headersTimeout: HEADERS_TIMEOUT_MS, requestTimeout: REQUEST_TIMEOUT_MS },
    (request, response) => {
      void answer(request, response, operations, logger);
    },
  );
  await listenPrivately(server, address);
  return {
    close: () =>
      new Promise((done) => {
        const timer = setTimeout(() => {
          server.closeAllConnections();
        }, CLOSE_TIMEOUT_MS);
        server.close(() => {
          clearTimeout(timer);
          done();
        });
        server.closeIdleConnections();
      }),
  };
}

/** Is a server answering on this socket? */
export function isSocketAlive(socketPath: string): Promise<boolean> {
  return new Promise((done, fail) => {
    const socket = connect({ path: socketAddress(socketPath) });
    socket.once('connect', () => {
      socket.destroy();
      done(true);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED' || error.code === 'ENOTSOCK') done(false);
      else fail(new LocalSocketRefused(`the socket ${socketPath} cannot be used: ${error.code ?? error.message}`));
    });
  });
}

/** The shorter of the path's two forms, because a socket's address is short. Throws LocalSocketRefused when both are long. */
export function socketAddress(socketPath: string): string {
  const forms = [resolve(socketPath), relative(process.cwd(), socketPath)];
  const address = forms.find((form) => Buffer.byteLength(form) <= SOCKET_PATH_MAX_BYTES);
  if (address !== undefined) return address;
  throw new LocalSocketRefused(
    `the path ${socketPath} is too long for a socket (${SOCKET_PATH_MAX_BYTES} bytes): choose a shorter data_dir`,
  );
}

function refuseOpenFolder(folder: string): void {
  const { mode, uid } = statSync(folder);
  if (process.getuid !== undefined && uid !== process.getuid())
    throw new LocalSocketRefused(`the folder ${folder} belongs to another user: choose another data_dir`);
  if ((mode & 0o077) !== 0)
    throw new LocalSocketRefused(`the folder ${folder} can be entered by other users. Run: chmod 700 ${folder}`);
}

/** Removes the socket of a process that is no more; never that of a living one, and never what is not a socket. */
async function removeStaleSocket(socketPath: string): Promise<void> {
  const found = lstatSync(socketPath, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) throw new LocalSocketRefused(`${socketPath} is in the way and is not a socket: move it`);
  if (await isSocketAlive(socketPath))
    throw new LocalSocketRefused(`another server answers on ${socketPath}: stop it first`);
  rmSync(socketPath, { force: true });
}

/** The socket has its mode from the moment it exists: `listen` binds before it returns. */
function listenPrivately(server: Server, address: string): Promise<void> {
  return new Promise((done, fail) => {
    server.once('error', fail);
    const umask = process.umask(0o177);
    try {
      server.listen(address, () => {
        server.off('error', fail);
        done();
      });
    } finally {
      process.umask(umask);
    }
  });
}

const kind = z.enum(Object.keys(KINDS) as [Kind, ...Kind[]]);
const word = z
  .string()
  .min(1)
  .max(2048)
  .regex(/^[^\0]*$/);
const objectsText = z.strictObject({
  file: word,
  text: z.string(),
  includes: z.record(z.string(), z.string()).optional(),
});
const texts = z.record(z.string(), z.string());
const textsAndPrune = {
  texts: z.array(objectsText).min(1).max(1000),
  prune: z.boolean(),
};

/** What each operation takes. Complete at compile time, so that no operation is reachable unchecked. */
const ARGUMENTS = {
  plan: z.strictObject(textsAndPrune),
  apply: z.strictObject({ ...textsAndPrune, expectVersion: z.number().int().min(0).optional() }),
  addClientSecret: z.strictObject({ clientId: word }),
  retireClientSecrets: z.strictObject({ clientId: word, secretId: word.optional() }),
  listClientSecrets: z.strictObject({ clientId: word }),
  setDisabled: z.strictObject({ kind, name: word, disabled: z.boolean() }),
  list: z.strictObject({ kind, after: word.optional(), limit: z.number().int().min(1).max(1000) }),
  show: z.strictObject({ kind, name: word }),
  put: z.strictObject({ kind, text: objectsText, replace: z.boolean() }),
  remove: z.strictObject({ kind, name: word, dryRun: z.boolean() }),
  exportObjects: z.strictObject({}),
  recordsByRequestId: z.strictObject({ requestId: word }),
  recordsByJti: z.strictObject({ jti: word }),
  listKeys: z.strictObject({}),
  rotateKeys: z.strictObject({ purpose: z.enum(PURPOSE_NAMES), algorithm: word.optional(), now: z.boolean() }),
  activateKeys: z.strictObject({ kids: z.array(word).max(20) }),
  taintKey: z.strictObject({ kid: word }),
  rewrapKeys: z.strictObject({
    position: z.strictObject({ column: z.number().int().min(0).max(100), after: word.nullable() }).optional(),
  }),
  countSealed: z.strictObject({}),
  backup: z.strictObject({ file: word }),
  examine: z.strictObject({}),
  revoke: z.strictObject({ by: z.enum(REVOCATION_KINDS), value: word.optional(), issuedBefore: word.optional() }),
  listRevocations: z.strictObject({}),
  setSecret: z.strictObject({ path: word, fields: texts, tags: texts, replace: z.boolean() }),
  rotateSecret: z.strictObject({ path: word, fields: texts }),
  listSecrets: z.strictObject({ after: word.optional(), limit: z.number().int().min(1).max(1000) }),
  showSecret: z.strictObject({ path: word }),
  removeSecret: z.strictObject({ path: word, dryRun: z.boolean() }),
} satisfies { [O in keyof Operations]: z.ZodType<Parameters<Operations[O]>[0]> };

type Call = () => Promise<Outcome<unknown>>;

function callOf(operation: string, args: unknown, operations: Operations): Call | Answer {
  if (!Object.hasOwn(ARGUMENTS, operation)) return problem(404, 'operation_unknown', 'there is no such operation');
  const name = operation as keyof Operations;
  const checked = ARGUMENTS[name].safeParse(args);
  if (!checked.success) return problem(400, 'argument_invalid', z.prettifyError(checked.error));
  const table = operations as unknown as Record<keyof Operations, (given: unknown) => Promise<Outcome<unknown>>>;
  return () => table[name](checked.data);
}

interface Answer {
  readonly status: number;
  readonly body: unknown;
}

const STATUS: { readonly [C in Problem['code']]: number } = {
  objects_invalid: 422,
  object_unknown: 404,
  object_exists: 409,
  object_in_use: 409,
  state_moved: 409,
  key_taken: 409,
  keys_too_many: 409,
  backup_refused: 409,
  argument_invalid: 400,
};

/** RFC 9457 §3: `code` is the stable name, `title` is for people. */
function problem(status: number, code: string, title: string, more: object = {}): Answer {
  return { status, body: { type: 'about:blank', status, code, title, ...more } };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  operations: Operations,
  logger: Logger,
): Promise<void> {
  const { status, body } = await answerTo(request, operations).catch((error: unknown) => {
    if (error instanceof Unavailable) return problem(503, 'unavailable', `${error.dependency}: ${error.message}`);
    logger.error({ err: error, url: request.url }, 'the local socket met a bug');
    return problem(500, 'internal', 'this is a bug of ours; the log of the server says more');
  });
  const type = status === 200 ? 'application/json' : 'application/problem+json';
  const whole = request.complete;
  response.writeHead(status, {
    'Content-Type': type,
    'Cache-Control': 'no-store',
    ...(whole ? {} : { Connection: 'close' }),
  });
  response.end(JSON.stringify(body), () => {
    // What was not read of a refused body must not be taken for the next request.
    if (!whole) request.destroy();
  });
}

async function answerTo(request: IncomingMessage, operations: Operations): Promise<Answer> {
  const operation = /^\/v1\/([A-Za-z]+)$/.exec(request.url ?? '')?.[1];
  if (operation === undefined) return problem(404, 'operation_unknown', 'there is no such operation');
  if (request.method !== 'POST') return problem(405, 'method_not_allowed', 'operations are called with POST');
  const text = await readBody(request);
  if (text === undefined) return problem(413, 'body_too_large', `a body has at most ${LOCAL_BODY_MAX_BYTES} bytes`);
  let args: unknown;
  try {
    args = JSON.parse(text);
  } catch {
    return problem(400, 'argument_invalid', 'the body is not JSON');
  }
  const call = callOf(operation, args, operations);
  if (typeof call !== 'function') return call;
  const outcome = await call();
  if (outcome.ok) return { status: 200, body: outcome.value };
  const { code, title, faults } = outcome.problem;
  return problem(STATUS[code], code, title, faults === undefined ? {} : { faults });
}

/** The body as text, or `undefined` when it is too large or does not arrive whole. */
function readBody(request: IncomingMessage): Promise<string | undefined> {
  return new Promise((done) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= LOCAL_BODY_MAX_BYTES) chunks.push(chunk);
      else {
        request.pause();
        done(undefined);
      }
    });
    request.once('end', () => {
      done(Buffer.concat(chunks).toString('utf8'));
    });
    request.once('close', () => {
      done(undefined);
    });
    request.once('error', () => {
      done(undefined);
    });
  });
}
