/**
 * Decides: asks Cedar the questions of a request and holds the answers together. Deny is the default, a forbid wins,
 * and a policy that fails to evaluate denies the question it failed on: Cedar by itself skips such a policy, which
 * would drop a forbid (CVE-2026-9792 in Keycloak was that shape; A5 of the security reference).
 *
 * Owns the preparsed policies inside the WebAssembly module and the memo. The module never frees a name, so an engine
 * uses a fixed number of names over and over; make one per process and keep it.
 */
import * as cedar from './cedar.ts';
import { LRUCache } from 'lru-cache';
import { createHash, randomUUID } from 'node:crypto';
import { compilePolicies, isPolicySet } from './policy-set.ts';
import type { PolicyFault, PolicySet, PolicySource } from './policy-set.ts';
import { questionsOf, relevantGroupRoles, sameParty, textsOf } from './questions.ts';
import type { DecisionInput, Question } from './questions.ts';
import { CEDAR_SCHEMA } from './schema.ts';

export type { PolicyFault, PolicySet, PolicySource } from './policy-set.ts';
export type { DecisionInput, Party } from './questions.ts';

/** Stands in `Answer.errors` where Cedar refused the question itself; no policy can have this id. */
export const QUESTION_REFUSED = '!question';

/** The answer to one question. */
export interface Answer {
  /** At least one permit, no forbid, no error. */
  readonly permitted: boolean;
  /** Ids of the statements that determined it, sorted: permits, or forbids; none when nothing permits. */
  readonly policies: readonly string[];
  /** Ids of the statements whose evaluation failed, sorted; any one of them denies. */
  readonly errors: readonly string[];
}

export interface ScopeVerdict {
  readonly scope: string;
  /** Every question that concerns this scope was answered with yes: subject, actor and, where asked, actAs. */
  readonly permitted: boolean;
  readonly subject: Answer;
  /** `undefined` = self, not asked. */
  readonly actor: Answer | undefined;
}

export interface Decision {
  /** Version of the policies that decided. */
  readonly digest: string;
  /** One per scope, in the order asked. */
  readonly verdicts: readonly ScopeVerdict[];
  /** May the client present that actor's token; `undefined` = the actor is the client, not asked. */
  readonly actAs: Answer | undefined;
  /** There are permitted scopes and every one of them is permitted for impersonation too, by name. */
  readonly impersonation: boolean;
  /** Ids of the statements that permit the impersonation; empty unless `impersonation`. */
  readonly impersonationPolicies: readonly string[];
}

export interface PolicyEngine {
  /** Compiles sources and makes them ready to decide; faults leave everything as it was. */
  load(sources: readonly PolicySource[]): PolicySet | readonly PolicyFault[];
  /** Answers every question of a request by one set of policies. `mayImpersonate`: ask for that as well. */
  decide(set: PolicySet, input: DecisionInput & { readonly mayImpersonate: boolean }): Decision;
  /** Memo hits and misses, one per decision, since the engine was made. */
  stats(): { readonly hits: number; readonly misses: number };
}

const MEMO_MAX = 10_000;
/** Sets that can be in use at once without being parsed again: the present, the previous, and some for replay. */
const PREPARSED_MAX = 4;

/** Makes an engine; `memoMax` bounds the number of remembered decisions (10,000 unless given, 0 for none). */
export function createPolicyEngine(options: { readonly memoMax?: number } = {}): PolicyEngine {
  const name = `cambist-${randomUUID()}`;
  const preparsed = createPreparsed(name);
  const memoMax = options.memoMax ?? MEMO_MAX;
  const memo = memoMax > 0 ? new LRUCache<string, Decision>({ max: memoMax }) : undefined;
  let hits = 0;
  let misses = 0;
  const schema = cedar.preparseSchema(name, CEDAR_SCHEMA);
  if (schema.type === 'failure') throw new Error(`the policy schema is broken: ${schema.errors[0]?.message ?? ''}`);

  return {
    load(sources) {
      const result = compilePolicies(sources);
      if (isPolicySet(result)) preparsed(result);
      return result;
    },
    decide(set, input) {
      const key = memoKey(set, input);
      const known = memo?.get(key);
      if (known !== undefined) {
        hits += 1;
        return known;
      }
      misses += 1;
      const slot = preparsed(set);
      const decision = decideAfresh(set.digest, input, (question) => ask(name, slot, question));
      memo?.set(key, decision);
      return decision;
    },
    stats: () => ({ hits, misses }),
  };
}

/**
 * The key is a hash of the whole input as it stands: a fact that is added to `DecisionInput` one day is in it by
 * itself. Another order of the same groups is another key, which costs a miss and never a wrong answer.
 */
function memoKey(set: PolicySet, input: DecisionInput): string {
  const text = JSON.stringify([set.digest, { ...input, groupRoles: relevantGroupRoles(input) }]);
  return createHash('sha256').update(text).digest('base64');
}

/** Gives the name under which a set's policies are preparsed, parsing them first where they are not. */
function createPreparsed(name: string): (set: PolicySet) => string {
  const slots = new Map<string, string>();
  return (set) => {
    const known = slots.get(set.digest);
    if (known !== undefined) {
      slots.delete(set.digest);
      slots.set(set.digest, known);
      return known;
    }
    const oldest = slots.size < PREPARSED_MAX ? undefined : slots.entries().next().value;
    if (oldest !== undefined) slots.delete(oldest[0]);
    const slot = oldest?.[1] ?? `${name}-${slots.size}`;
    const staticPolicies = Object.fromEntries(set.statements.map(({ id, cedar: text }) => [id, text]));
    const answer = cedar.preparsePolicySet(slot, { staticPolicies });
    if (answer.type === 'failure') throw new Error('a compiled policy set does not parse');
    slots.set(set.digest, slot);
    return slot;
  };
}

function ask(schemaName: string, policySetName: string, question: Question): Answer {
  const result = cedar.statefulIsAuthorized({
    ...question,
    preparsedSchemaName: schemaName,
    preparsedPolicySetId: policySetName,
    validateRequest: true,
  });
  // A question that does not fit the schema is not understood, and what is not understood is denied (A5).
  if (result.type === 'failure') return refusedQuestion();
  const { decision, diagnostics } = result.response;
  const errors = [...new Set(diagnostics.errors.map(({ policyId }) => policyId))].sort();
  const permitted = decision === 'allow' && errors.length === 0;
  const determined = permitted || decision === 'deny';
  return { permitted, policies: determined ? [...diagnostics.reason].sort() : [], errors };
}

function refusedQuestion(): Answer {
  return { permitted: false, policies: [], errors: [QUESTION_REFUSED] };
}

function decideAfresh(
  digest: string,
  input: DecisionInput & { readonly mayImpersonate: boolean },
  askCedar: (question: Question) => Answer,
): Decision {
  const questions = questionsOf(input);
  // Text that is not well-formed would be changed on its way into Cedar, and two names could become one.
  const wellFormed = !textsOf(input).some((text) => /\p{Surrogate}/u.test(text));
  const put = wellFormed ? askCedar : refusedQuestion;
  const { actor, client, subject } = input;
  if (actor === undefined && input.actAs) throw new TypeError('actAs without an actor');
  const asOther = actor !== undefined && (input.actAs || !sameParty(actor, client));
  const actAs = asOther ? put(questions.actAs(actor)) : undefined;
  const verdicts = input.scopes.map((scope): ScopeVerdict => {
    const subjectAnswer = put(questions.access(scope));
    const actorAnswer = actor === undefined ? undefined : put(questions.act(actor, scope));
    const permitted = subjectAnswer.permitted && actorAnswer?.permitted !== false && actAs?.permitted !== false;
    return { scope, permitted, subject: subjectAnswer, actor: actorAnswer };
  });
  const permitted = verdicts.filter((verdict) => verdict.permitted);
  const askImpersonation = input.mayImpersonate && actor !== undefined && !asOther && !sameParty(actor, subject);
  const answers = askImpersonation ? permitted.map(({ scope }) => put(questions.impersonate(scope))) : [];
  const impersonation = answers.length > 0 && answers.every((answer) => answer.permitted);
  return deepFreeze({
    digest,
    verdicts,
    actAs,
    impersonation,
    impersonationPolicies: impersonation ? [...new Set(answers.flatMap((answer) => answer.policies))].sort() : [],
  });
}

/** A remembered decision is handed out again and again: nobody may change it. */
function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value;
  for (const inner of Object.values(value)) deepFreeze(inner);
  return Object.freeze(value);
}
