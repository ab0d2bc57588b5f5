/**
 * Everything that comes out of a Cambist, gathered in one place and searched at once: answers, logs, traces and metrics as
 * they are exported, every row of the database, outputs of commands, files, arguments and environments of processes.
 */
import { readFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { request as send } from 'node:http';
import type { Canaries } from './canaries.ts';
import type { OtlpCollector } from '../otlp-collector.ts';

/** What a database of either engine can do for this. */
export interface Queries {
  query<R>(sql: string): Promise<R[]>;
}

export interface AskOptions {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Members of the answer's JSON that the caller is meant to have: they are not kept. */
  readonly gives?: readonly string[];
  /** The caller hangs up after so long. */
  readonly hangUpAfterMs?: number;
}

/** `status` 0: the connection was cut before there was an answer. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  readonly body: any;
}

export interface Sinks {
  take(where: string, content: string | Uint8Array): void;
  /** Asks over a connection of its own; status line, headers and body are kept. */
  ask(where: string, url: string, options?: AskOptions): Promise<Answer>;
  /** Every value of every table of the schema. */
  takeDatabase(database: Queries, schema: string): Promise<void>;
  /** Every file below a folder, but those that the user has put there. */
  takeFiles(folder: string, own?: readonly string[]): void;
  /** Traces and metrics, as they were received. */
  takeExports(collector: OtlpCollector): void;
  /** Arguments of a process and of all that it started; of those, the environment too. */
  takeProcesses(pid: number): void;
  /** Where something was taken from. */
  places(): string[];
  /** Each place with what was found in it. */
  leaks(): string[];
}

export function createSinks(canaries: Canaries): Sinks {
  const taken = new Map<string, Buffer[]>();
  const take: Sinks['take'] = (where, content) => {
    const pieces = taken.get(where);
    const piece = Buffer.from(content as string);
    if (pieces === undefined) taken.set(where, [piece]);
    else pieces.push(Buffer.from('\n'), piece);
  };
  return {
    take,
    ask: async (where, url, options = {}) => {
      const { head, ...answer } = await askOver(url, options);
      const { gives = [] } = options;
      const kept = gives.length === 0 ? answer.text : JSON.stringify({ ...answer.body, ...without(gives) });
      take(where, `${head}\n${kept}`);
      return answer;
    },
    async takeDatabase(database, schema) {
      const tables = await database.query<{ name: string }>(
        `SELECT table_name AS name FROM information_schema.tables WHERE table_schema = '${schema}'`,
      );
      for (const { name } of tables)
        for (const row of await database.query<Record<string, unknown>>(`SELECT * FROM ${schema}."${name}"`))
          for (const [column, value] of Object.entries(row))
            if (value !== null) take(`database: ${name}.${column}`, asContent(value));
    },
    takeFiles(folder, own = []) {
      for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
        const path = join(folder, name);
        if (own.includes(name) || statSync(path, { throwIfNoEntry: false })?.isFile() !== true) continue;
        const bytes = readFileSync(path);
        take(`file ${name}`, name);
        take(`file ${name}`, bytes[0] === 0x1f && bytes[1] === 0x8b ? gunzipSync(bytes) : bytes);
      }
    },
    takeExports({ bodies, requests }) {
      bodies.forEach((body, index) => {
        take(`exported ${requests[index]?.path ?? ''}`, Buffer.from(body, 'latin1'));
      });
    },
    takeProcesses(pid) {
      take('processes', readFileSync(`/proc/${pid}/cmdline`));
      for (const child of descendantsOf(pid))
        for (const file of ['cmdline', 'environ']) take('processes', readIfThere(`/proc/${child}/${file}`));
    },
    places: () => [...taken.keys()],
    leaks: () =>
      [...taken].flatMap(([where, pieces]) => canaries.found(Buffer.concat(pieces)).map((what) => `${where}: ${what}`)),
  };
}

function without(names: readonly string[]): Record<string, string> {
  return Object.fromEntries(names.map((name) => [name, 'handed out']));
}

/** `pg` gives a bytea as bytes, PGlite as an array of them, and JSON as objects. */
function asContent(value: unknown): string | Uint8Array {
  if (value instanceof Uint8Array || typeof value === 'string') return value;
  return JSON.stringify(value);
}

function askOver(url: string, options: AskOptions): Promise<Answer & { readonly head: string }> {
  const { method = 'GET', headers = {}, body, hangUpAfterMs } = options;
  return new Promise((resolve) => {
    let head = '';
    let answer: Pick<Answer, 'status' | 'headers'> = { status: 0, headers: {} };
    const pieces: Buffer[] = [];
    const settle = () => {
      const text = Buffer.concat(pieces).toString('utf8');
      resolve({ ...answer, text, body: jsonOf(text), head });
    };
    const request = send(url, { method, headers, agent: false }, (response) => {
      const { statusCode: status = 0, statusMessage = '', rawHeaders } = response;
      head = [String(status), statusMessage, ...rawHeaders].join('\n');
      answer = { status, headers: response.headers };
      response.on('data', (piece: Buffer) => pieces.push(piece));
      response.on('close', settle);
      response.on('error', settle);
    });
    request.on('error', settle);
    request.end(body);
    if (hangUpAfterMs !== undefined) setTimeout(() => request.destroy(), hangUpAfterMs);
  });
}

function jsonOf(text: string): any {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

function descendantsOf(pid: number): number[] {
  const parents = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => [Number(name), Number(/\) \S (\d+)/.exec(readIfThere(`/proc/${name}/stat`))?.[1])] as const);
  const below = (one: number): number[] =>
    parents.filter(([, parent]) => parent === one).flatMap(([child]) => [child, ...below(child)]);
  return below(pid);
}

/** Processes end while they are looked at. */
function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
