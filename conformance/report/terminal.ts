/**
 * What a person sees in the terminal: what the run will cost, one line per scenario, and at the end what is wrong.
 */
import { DOCUMENTS } from '../requirements/requirement.ts';
import type { DocumentId } from '../requirements/requirement.ts';
import type { BaselineFaults } from '../run/baseline.ts';
import type { Judgement, Verdict } from '../run/probe.ts';
import type { Outcome, Plan } from '../run/runner.ts';
import type { Scenario } from '../scenarios/scenario.ts';

const MARKS: Readonly<Record<Verdict, string>> = { pass: '✓', warn: '!', fail: '✗', skipped: '–' };
const COLOURS: Readonly<Record<Verdict, number>> = { pass: 32, warn: 33, fail: 31, skipped: 90 };

export interface Terminal {
  plan(plan: Plan, issuer: string): void;
  scenario(scenario: Scenario, judgements: readonly Judgement[]): void;
  summary(outcome: Outcome, faults: BaselineFaults): void;
}

export function openTerminal(write: (line: string) => void, coloured: boolean): Terminal {
  const paint = (verdict: Verdict, text: string) => (coloured ? `\u001b[${COLOURS[verdict]}m${text}\u001b[0m` : text);
  const line = ({ verdict, requirement, seen }: Judgement) =>
    `  ${paint(verdict, MARKS[verdict])} ${requirement.id} (${requirement.level}): ${seen}`;
  return {
    plan(plan, issuer) {
      write(`Token exchange conformance of ${issuer}`);
      write(`Profiles: ${plan.profiles.join(', ')}`);
      write(
        `${plan.requirements.length} requirements in ${plan.scenarios.length} scenarios; at most ${plan.requests} requests, ` +
          `usually a few seconds, ${plan.worstSeconds} s if every request runs into its timeout`,
      );
      write('');
    },
    scenario(scenario, judgements) {
      const worst = (['fail', 'warn', 'pass'] as const).find((one) =>
        judgements.some(({ verdict }) => verdict === one),
      );
      const verdict = worst ?? 'skipped';
      const passed = judgements.filter((one) => one.verdict === 'pass').length;
      const note = verdict === 'skipped' ? `skipped: ${judgements[0]?.seen ?? ''}` : `${passed}/${judgements.length}`;
      write(`${paint(verdict, MARKS[verdict])} ${scenario.id}: ${scenario.title} (${note})`);
      for (const one of judgements) if (one.verdict === 'fail' || one.verdict === 'warn') write(line(one));
    },
    summary(outcome, faults) {
      const { counts } = outcome;
      write('');
      write(`${outcome.target.name} at ${outcome.target.issuer}`);
      for (const [document, of] of byDocument(outcome.judgements)) write(`  ${documentLine(document, of)}`);
      write(
        `${counts.pass} passed (${counts.byPolicy} of them by the target’s policy), ${counts.fail} failed, ` +
          `${counts.warn} warnings, ${counts.skipped} skipped; ` +
          `${outcome.requestsSent} requests in ${(outcome.durationMs / 1000).toFixed(1)} s`,
      );
      // Without a list of expected failures every failure is unexpected, and was shown above.
      if (faults.unexpected.length < counts.fail)
        for (const one of faults.unexpected) write(`unexpected failure${line(one).slice(1)}`);
      for (const id of faults.stale) write(`stale: ${id} is expected to fail and does not`);
      for (const id of faults.newSkips) write(`new skip: ${id} is skipped and not pinned`);
      for (const id of faults.goneSkips) write(`stale pin: ${id} is pinned as skipped and was judged`);
    },
  };
}

/** Judgements grouped by the document that they come from, in the order of the documents. */
export function byDocument(judgements: readonly Judgement[]): Map<DocumentId, Judgement[]> {
  const groups = new Map<DocumentId, Judgement[]>();
  for (const one of judgements) {
    const group = groups.get(one.requirement.document) ?? [];
    group.push(one);
    groups.set(one.requirement.document, group);
  }
  return groups;
}

function documentLine(document: DocumentId, judgements: readonly Judgement[]): string {
  const count = (verdict: Verdict) => judgements.filter((one) => one.verdict === verdict).length;
  const parts = (['fail', 'warn', 'skipped'] as const)
    .filter((verdict) => count(verdict) > 0)
    .map((verdict) => `${count(verdict)} ${verdict}`);
  const rest = parts.length === 0 ? '' : `, ${parts.join(', ')}`;
  return `${DOCUMENTS[document].title}: ${count('pass')} pass${rest}`;
}
