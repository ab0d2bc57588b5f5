/**
 * The command line over a store in memory, in a folder of its own: what a command reads, says and changes, without a
 * process. Operations that a test does not use need not be there.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { ChangeSummary } from '../../../src/admin/change-record.ts';
import { createOperations } from '../../../src/admin/operations.ts';
import type { OperationsParts } from '../../../src/admin/operations.ts';
import { runCli } from '../../../src/cli/program.ts';
import type { CliParts } from '../../../src/cli/program.ts';
import { record } from '../../store/fixtures.ts';
import { COMPANY, createMemoryStore } from '../admin/memory-store.ts';
import type { MemoryStore } from '../admin/memory-store.ts';

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export interface Bench {
  /** Holds company.yaml; gone after the test. */
  readonly cwd: string;
  readonly store: MemoryStore;
  /** What was recorded, in order. */
  readonly recorded: readonly ChangeSummary[];
  /** A file in the folder. */
  file(name: string, text: string): string;
  /** Words as a shell splits them, double quotes only. */
  run(args: string, over?: Partial<CliParts>): Promise<Ran>;
}

export function createBench(): Bench {
  const cwd = mkdtempSync(join(tmpdir(), 'cambist-cli-'));
  onTestFinished(() => {
    rmSync(cwd, { recursive: true, force: true });
  });
  const store = createMemoryStore();
  const recorded: ChangeSummary[] = [];
  const given = {
    objects: store as unknown as OperationsParts['objects'],
    records: { byRequestId: () => Promise.resolve([]), byJti: () => Promise.resolve([]) },
    prepareChange: () =>
      Promise.resolve((summary: ChangeSummary) => {
        recorded.push(summary);
        return record('changed');
      }),
    ownIssuer: 'http://127.0.0.1:8080',
    demoRefusedBecause: undefined,
    author: 'local:test',
  };
  const unused = new Proxy(given, { get: (parts, name) => (name in parts ? parts[name as keyof typeof parts] : {}) });
  const operations = createOperations(unused as unknown as OperationsParts);
  const file = (name: string, text: string) => {
    writeFileSync(join(cwd, name), text);
    return join(cwd, name);
  };
  file('company.yaml', COMPANY);
  return {
    cwd,
    store,
    recorded,
    file,
    async run(args, over = {}) {
      let out = '';
      let err = '';
      const parts = {
        version: '1.2.3',
        env: {},
        cwd,
        out: (text: string) => (out += text),
        err: (text: string) => (err += text),
        readStdin: () => Promise.resolve(''),
        openOperations: () => Promise.resolve({ operations, close: () => Promise.resolve() }),
        ...over,
      } as unknown as CliParts;
      const words = args.match(/(?:"[^"]*"|\S)+/g) ?? [];
      const code = await runCli(
        words.map((word) => word.replaceAll('"', '')),
        parts,
      );
      return { code, out, err };
    },
  };
}
