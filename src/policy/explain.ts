/**
 * A decision in words, for the operator who asks "why". Names scopes and policy ids only: no fact about a person.
 */
import { QUESTION_REFUSED } from './engine.ts';
import type { Answer, Decision } from './engine.ts';

/** Short English lines: one per scope, then one each for actAs and impersonation where they were asked and mattered. */
export function explainDecision(decision: Decision): readonly string[] {
  const lines = decision.verdicts.map(({ scope, subject, actor }) => {
    const answers = [`subject ${explainAnswer(subject)}`];
    if (actor !== undefined) answers.push(`actor ${explainAnswer(actor)}`);
    return `scope ${scope}: ${answers.join('; ')}`;
  });
  if (decision.actAs !== undefined) lines.push(`acting as another party: ${explainAnswer(decision.actAs)}`);
  if (decision.impersonation) lines.push(`impersonation: permitted by ${decision.impersonationPolicies.join(', ')}`);
  return lines;
}

function explainAnswer({ permitted, policies, errors }: Answer): string {
  if (permitted) return `permitted by ${policies.join(', ')}`;
  if (errors.includes(QUESTION_REFUSED)) return 'denied: the question does not fit the policy schema';
  const forbidden = policies.length > 0 ? `forbidden by ${policies.join(', ')}` : undefined;
  const failed = errors.length > 0 ? `evaluation failed in ${errors.join(', ')}` : undefined;
  const why = [forbidden, failed].filter((reason) => reason !== undefined);
  return `denied: ${why.length > 0 ? why.join('; ') : 'no policy permits'}`;
}
