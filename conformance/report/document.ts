/**
 * The report as data, secrets masked: what the JSON file holds and what the HTML page and the JUnit file are made from.
 */
import { DOCUMENTS, sectionUrl } from '../requirements/requirement.ts';
import type { DocumentId, Level } from '../requirements/requirement.ts';
import type { Verdict } from '../run/probe.ts';
import type { BaselineFaults } from '../run/baseline.ts';
import type { Outcome } from '../run/runner.ts';
import type { Profile } from '../scenarios/scenario.ts';
import { transcript } from '../wire/mask.ts';
import type { Masker, Transcript } from '../wire/mask.ts';

export interface ReportEntry {
  readonly id: string;
  readonly document: DocumentId;
  readonly section: string;
  readonly link: string;
  readonly level: Level;
  readonly sentence: string;
  readonly profile: Profile;
  readonly scenario: string;
  readonly verdict: Verdict;
  readonly by_policy: boolean;
  readonly not_judged: boolean;
  readonly seen: string;
  readonly evidence: readonly Transcript[];
}

export interface Report {
  readonly suite: string;
  readonly target: { readonly name: string; readonly issuer: string };
  readonly started_at: string;
  readonly duration_ms: number;
  readonly profiles: readonly Profile[];
  readonly requests: { readonly planned_at_most: number; readonly sent: number };
  readonly counts: Outcome['counts'];
  readonly baseline: {
    readonly unexpected: readonly string[];
    readonly stale: readonly string[];
    readonly new_skips: readonly string[];
    readonly gone_skips: readonly string[];
  };
  readonly documents: readonly { readonly id: DocumentId; readonly title: string; readonly standing: string }[];
  readonly requirements: readonly ReportEntry[];
}

const EVIDENCE_MAX = 4;

export function reportOf(outcome: Outcome, faults: BaselineFaults, masker: Masker): Report {
  const profiles = new Map(outcome.plan.scenarios.map(({ id, profile }) => [id, profile]));
  const used = new Set(outcome.judgements.map(({ requirement }) => requirement.document));
  return {
    suite: 'cambist conformance',
    target: outcome.target,
    started_at: outcome.startedAt,
    duration_ms: outcome.durationMs,
    profiles: outcome.plan.profiles,
    requests: { planned_at_most: outcome.plan.requests, sent: outcome.requestsSent },
    counts: outcome.counts,
    baseline: {
      unexpected: faults.unexpected.map(({ requirement }) => requirement.id),
      stale: faults.stale,
      new_skips: faults.newSkips,
      gone_skips: faults.goneSkips,
    },
    documents: [...used].map((id) => ({ id, title: DOCUMENTS[id].title, standing: DOCUMENTS[id].standing })),
    requirements: outcome.judgements.map((one) => ({
      id: one.requirement.id,
      document: one.requirement.document,
      section: one.requirement.section,
      link: sectionUrl(one.requirement),
      level: one.requirement.level,
      sentence: one.requirement.sentence,
      profile: profiles.get(one.requirement.scenario) ?? 'core',
      scenario: one.requirement.scenario,
      verdict: one.verdict,
      by_policy: one.byPolicy,
      not_judged: one.blocked,
      seen: masker.text(one.seen),
      evidence: one.evidence.slice(0, EVIDENCE_MAX).map((answer) => transcript(answer, masker)),
    })),
  };
}
