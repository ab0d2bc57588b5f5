/**
 * What is known beforehand of a target: failures that are expected, and skips that are pinned. Both lists are wrong in
 * two ways, too short and too long, and both ways fail: an expectation that no longer comes true is stale.
 */
import { existsSync, readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { z } from 'zod';
import { ConfigFault } from '../target/config.ts';
import type { Judgement } from './probe.ts';

const entries = z.strictObject({
  expected_failures: z.array(z.strictObject({ id: z.string(), why: z.string().min(1) })).default([]),
  skips: z.array(z.string()).optional(),
});
export type Baseline = z.infer<typeof entries>;

export interface BaselineFaults {
  /** Failed, and nobody expected it. */
  readonly unexpected: readonly Judgement[];
  /** Expected to fail, and did not. */
  readonly stale: readonly string[];
  /** Skipped without being pinned. */
  readonly newSkips: readonly string[];
  /** Pinned as skipped, and judged. */
  readonly goneSkips: readonly string[];
}

/** Reads a list of expected failures (`expected_failures`) or of pinned skips (`skips`), or a file with both. */
export function readBaseline(path: string): Baseline {
  if (!existsSync(path)) throw new ConfigFault(`${path}: no such file`);
  const checked = entries.safeParse(parse(readFileSync(path, 'utf8')) ?? {});
  if (!checked.success) throw new ConfigFault(`${path}:\n${z.prettifyError(checked.error)}`);
  return checked.data;
}

/** Holds the verdicts against what was expected. Only requirements that were in the run are compared. */
export function compareBaseline(judgements: readonly Judgement[], baseline: Baseline): BaselineFaults {
  const verdicts = new Map(judgements.map((one) => [one.requirement.id, one.verdict]));
  const expected = new Set(baseline.expected_failures.map(({ id }) => id));
  const skipped = judgements.filter(({ verdict }) => verdict === 'skipped').map(({ requirement }) => requirement.id);
  const pinned = new Set(baseline.skips ?? skipped);
  return {
    unexpected: judgements.filter(({ verdict, requirement }) => verdict === 'fail' && !expected.has(requirement.id)),
    stale: [...expected].filter((id) => verdicts.has(id) && verdicts.get(id) !== 'fail'),
    newSkips: skipped.filter((id) => !pinned.has(id)),
    goneSkips: [...pinned].filter((id) => verdicts.has(id) && verdicts.get(id) !== 'skipped'),
  };
}

/** Ids in a baseline that name no requirement at all: typing errors, or requirements that are gone. */
export function unknownIds(baseline: Baseline, known: ReadonlySet<string>): string[] {
  const named = [...baseline.expected_failures.map(({ id }) => id), ...(baseline.skips ?? [])];
  return named.filter((id) => !known.has(id));
}
