/**
 * Cambist itself, as it is built: started in an empty folder, held against the whole suite with the pinned skips and
 * without expected failures. Needs `npm run build`, as `npm test` does.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { checkout } from '../targets/process.ts';

const RUN = join(checkout(import.meta.url), 'dist', 'conformance', 'targets', 'cambist', 'run.js');

interface Report {
  readonly counts: { readonly pass: number; readonly fail: number };
  readonly baseline: Readonly<Record<'unexpected' | 'stale' | 'new_skips' | 'gone_skips', readonly string[]>>;
}

it('Cambist passes, and skips nothing but what is pinned', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'conformance-'));
  try {
    const { stdout } = await promisify(execFile)(process.execPath, [RUN, '--out', folder]).catch(
      (fault: unknown) => fault as { stdout: string },
    );
    const report = JSON.parse(readFileSync(join(folder, 'report.json'), 'utf8')) as Report;
    expect(report.baseline, stdout).toEqual({ unexpected: [], stale: [], new_skips: [], gone_skips: [] });
    expect(report.counts.fail).toBe(0);
    expect(report.counts.pass).toBeGreaterThan(195);
  } finally {
    rmSync(folder, { recursive: true });
  }
}, 180_000);
