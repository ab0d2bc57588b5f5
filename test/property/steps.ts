/**
 * What a run does, step by step, as generated values: a first exchange of an external token, a token of the client's
 * own, a hop with a token that an earlier step brought, somebody disabled or enabled. Choices that depend on what there
 * is at that moment are numbers, taken modulo.
 */
import fc from 'fast-check';
import { AGENTS, chance, RESOURCES, SINGLE_USE_SWITCH, SWITCHED, UPSTREAMS, USERS } from './company.ts';

export interface TargetChoice {
  readonly how: 'uri' | 'slash' | 'alias' | 'name' | 'audience_uri' | 'unknown' | 'fragment' | 'relative' | 'none';
  /** Asked for beside the first. */
  readonly beside: 'nothing' | 'itself by alias' | 'its group' | 'another';
}

export type ScopeChoice =
  | { readonly kind: 'default' }
  /** Which of the target's three scopes; `within` what a call edge gives, where there is one. */
  | { readonly kind: 'names'; readonly picks: readonly number[]; readonly within: boolean }
  | { readonly kind: 'unknown' }
  | { readonly kind: 'malformed' };

export type ActorChoice =
  | 'none'
  | 'own'
  | 'workload'
  | 'user'
  | 'another user'
  | 'single use'
  | 'chained'
  | 'stranger'
  | 'of another client'
  | 'bound'
  | 'expired';

export interface ExternalToken {
  /** Tokens of `once` count once. */
  readonly issuer: 'corp' | 'partner' | 'cluster' | 'once' | 'stranger';
  readonly user: (typeof USERS)[number];
  readonly audience: 'portal' | 'cambist' | 'elsewhere';
  readonly lifeSeconds: number;
  readonly partnerScope: 'p:read' | 'p:all' | 'p:other';
  readonly mayAct:
    | 'absent'
    | 'caller'
    | 'caller by client_id'
    | 'caller by a bare client_id'
    | 'workload'
    | 'somebody else'
    | 'own issuer';
  readonly bound: boolean;
  readonly flaw: 'none' | 'expired' | 'forged';
  /** Actors that it names already. */
  readonly actors: readonly ('caller' | 'foreign' | 'ghost' | 'local')[];
}

export type Step =
  | {
      readonly kind: 'external';
      readonly client: number;
      readonly token: ExternalToken;
      readonly resource: (typeof RESOURCES | typeof UPSTREAMS)[number];
      readonly target: TargetChoice;
      readonly scope: ScopeChoice;
      readonly actor: ActorChoice;
      readonly lastSecond: boolean;
      /** The same tokens a second time. */
      readonly again: boolean;
    }
  | {
      readonly kind: 'self';
      readonly client: number;
      readonly byIdentityToken: boolean;
      readonly resource: (typeof RESOURCES | typeof UPSTREAMS)[number];
      readonly target: TargetChoice;
      readonly scope: ScopeChoice;
    }
  | {
      readonly kind: 'onward';
      readonly pick: number;
      /** Prefer tokens that have hopped already, and edges that are open to it. */
      readonly deep: boolean;
      readonly open: boolean;
      readonly byServer: boolean;
      readonly edge: number;
      readonly client: number;
      readonly target: TargetChoice;
      readonly scope: ScopeChoice;
      readonly actor: ActorChoice;
    }
  | { readonly kind: 'switch'; readonly which: (typeof SWITCHED)[number] | typeof SINGLE_USE_SWITCH };

const weighted = <T>(...entries: readonly (readonly [weight: number, value: T])[]): fc.Arbitrary<T> =>
  fc.oneof(...entries.map(([weight, value]) => ({ weight, arbitrary: fc.constant(value) })));

const target: fc.Arbitrary<TargetChoice> = fc.record({
  how: weighted<TargetChoice['how']>(
    [80, 'uri'],
    [8, 'slash'],
    [8, 'alias'],
    [8, 'name'],
    [8, 'audience_uri'],
    [2, 'unknown'],
    [2, 'fragment'],
    [2, 'relative'],
    [2, 'none'],
  ),
  beside: weighted<TargetChoice['beside']>([90, 'nothing'], [4, 'itself by alias'], [4, 'its group'], [3, 'another']),
});

const scope: fc.Arbitrary<ScopeChoice> = fc.oneof(
  { weight: 22, arbitrary: fc.constant({ kind: 'default' as const }) },
  {
    weight: 72,
    arbitrary: fc.record({
      kind: fc.constant('names' as const),
      picks: fc.noBias(fc.subarray([0, 1, 2], { minLength: 1 })),
      within: chance(90),
    }),
  },
  { weight: 2, arbitrary: fc.constant({ kind: 'unknown' as const }) },
  { weight: 2, arbitrary: fc.constant({ kind: 'malformed' as const }) },
);

const actor = weighted<ActorChoice>(
  [96, 'none'],
  [6, 'own'],
  [5, 'workload'],
  [6, 'user'],
  [2, 'chained'],
  [1, 'stranger'],
  [2, 'of another client'],
  [1, 'bound'],
  [1, 'another user'],
  [1, 'single use'],
  [1, 'expired'],
);

const member = fc.constantFrom<ExternalToken['actors'][number]>('caller', 'foreign', 'local', 'foreign', 'local');
const external: fc.Arbitrary<ExternalToken> = fc.record({
  issuer: weighted<ExternalToken['issuer']>(
    [70, 'corp'],
    [15, 'partner'],
    [8, 'cluster'],
    [2, 'once'],
    [2, 'stranger'],
  ),
  user: fc.noBias(fc.constantFrom(...USERS)),
  audience: weighted<ExternalToken['audience']>([60, 'portal'], [30, 'cambist'], [3, 'elsewhere']),
  lifeSeconds: fc.noBias(fc.constantFrom(600, 40, 100, 200, 3600)),
  partnerScope: fc.constantFrom('p:read', 'p:all', 'p:other'),
  mayAct: weighted<ExternalToken['mayAct']>(
    [82, 'absent'],
    [5, 'caller'],
    [4, 'caller by client_id'],
    [2, 'caller by a bare client_id'],
    [3, 'workload'],
    [4, 'somebody else'],
    [2, 'own issuer'],
  ),
  bound: chance(97).map((usual) => !usual),
  flaw: weighted<ExternalToken['flaw']>([98, 'none'], [1, 'expired'], [1, 'forged']),
  actors: fc.oneof(
    { weight: 80, arbitrary: fc.constant([]) },
    { weight: 12, arbitrary: fc.array(member, { minLength: 1, maxLength: 3 }) },
    { weight: 5, arbitrary: fc.array(member, { minLength: 7, maxLength: 9 }) },
    { weight: 2, arbitrary: fc.constant(['local' as const, 'ghost' as const]) },
  ),
});

/** Tokens for upstreams end there, so that there are fewer of them. */
const anyTarget = fc.noBias(fc.constantFrom(...RESOURCES, ...RESOURCES, ...UPSTREAMS));

const externalStep = fc
  .record({
    kind: fc.constant('external' as const),
    client: fc.noBias(fc.nat(AGENTS.length - 1)),
    token: external,
    resource: anyTarget,
    target,
    scope,
    actor,
    lastSecond: chance(97).map((usual) => !usual),
    again: chance(97).map((usual) => !usual),
  })
  // An expired token is none any more when the clock is set back to its last second.
  .map((step) => (step.token.flaw === 'expired' ? { ...step, lastSecond: false } : step));

const selfStep = fc.record({
  kind: fc.constant('self' as const),
  client: fc.noBias(fc.nat()),
  byIdentityToken: fc.boolean(),
  resource: anyTarget,
  target,
  scope,
});

/** Ways onward are many steps long, so each step is plain more often than a first exchange is. */
const onwardStep = fc.record({
  kind: fc.constant('onward' as const),
  pick: fc.noBias(fc.nat()),
  deep: chance(90),
  open: chance(95),
  byServer: chance(97),
  edge: fc.noBias(fc.nat()),
  client: fc.noBias(fc.nat()),
  target: fc.oneof(
    { weight: 3, arbitrary: fc.constant<TargetChoice>({ how: 'uri', beside: 'nothing' }) },
    { weight: 1, arbitrary: target },
  ),
  scope: fc.oneof(
    {
      weight: 2,
      arbitrary: fc
        .noBias(fc.subarray([0, 1, 2], { minLength: 1 }))
        .map((picks): ScopeChoice => ({ kind: 'names', picks, within: true })),
    },
    { weight: 1, arbitrary: scope },
  ),
  actor: fc.oneof({ weight: 3, arbitrary: fc.constant<ActorChoice>('none') }, { weight: 1, arbitrary: actor }),
});

const switchStep = fc.record({ kind: fc.constant('switch' as const), which: fc.constantFrom(...SWITCHED) });

type ExternalStep = Extract<Step, { kind: 'external' }>;

/** An ordinary first exchange but for one thing, so that rare refusals are met in every run. */
const ordinary = (
  step: ExternalStep,
  token: Partial<ExternalToken>,
  change: Partial<ExternalStep> = {},
): ExternalStep => ({
  ...step,
  token: {
    ...step.token,
    issuer: 'corp',
    user: 'u0',
    audience: 'cambist',
    mayAct: 'absent',
    bound: false,
    flaw: 'none',
    ...token,
  },
  target: { how: 'uri', beside: 'nothing' },
  scope: { kind: 'default' },
  actor: 'none',
  lastSecond: false,
  again: false,
  ...change,
});
const eight = Array<'foreign'>(8).fill('foreign');
const rareSteps = externalStep.map((step): Step[] => {
  const plain = (change: Partial<ExternalStep>, token: Partial<ExternalToken> = {}): Step =>
    ordinary(step, { actors: [], ...token }, change);
  return [
    { kind: 'switch', which: SWITCHED[0] },
    plain({}, { actors: ['local', 'ghost'] }),
    { kind: 'switch', which: SWITCHED[0] },
    { kind: 'switch', which: SWITCHED[1] },
    plain({}, { user: 'u3' }),
    plain({ actor: 'another user' }),
    { kind: 'switch', which: SWITCHED[1] },
    { kind: 'switch', which: SWITCHED[2] },
    plain({ resource: 'r5' }),
    { kind: 'switch', which: SWITCHED[2] },
    { kind: 'switch', which: SINGLE_USE_SWITCH },
    plain({}, { issuer: 'once' }),
    plain({ actor: 'single use' }),
    { kind: 'switch', which: SINGLE_USE_SWITCH },
    plain({ again: true }, { issuer: 'once' }),
    plain({ actor: 'single use', again: true }),
    plain({}, { flaw: 'expired' }),
    plain({}, { flaw: 'forged' }),
    plain({ actor: 'expired' }),
    plain({}, { actors: eight }),
    plain({}, { issuer: 'stranger' }),
    plain({}, { audience: 'elsewhere' }),
    plain({}, { bound: true }),
    plain({}, { mayAct: 'somebody else' }),
    plain({}, { mayAct: 'caller by a bare client_id' }),
    plain({ client: 0, lastSecond: true }),
    plain({ client: 1 }),
    plain({ client: 2, actor: 'user' }),
    plain({ client: 2, resource: 'r1' }),
    plain({ client: 2, resource: 'r2', scope: { kind: 'names', picks: [0, 1], within: false } }),
    plain({ client: 2, resource: 'r2', scope: { kind: 'names', picks: [1], within: false } }),
    ...(['stranger', 'bound', 'chained', 'of another client'] as const).map((actor) => plain({ actor })),
    ...(['none', 'unknown', 'fragment'] as const).map((how) => plain({ target: { how, beside: 'nothing' } })),
    plain({ target: { how: 'uri', beside: 'another' } }),
    plain({ scope: { kind: 'unknown' } }),
    plain({ scope: { kind: 'malformed' } }),
  ];
});

/** First exchanges at the start, so that there is something to hop with; then everything in turn. */
export const steps: fc.Arbitrary<Step[]> = fc
  .tuple(
    rareSteps,
    fc.array(externalStep, { minLength: 6, maxLength: 6 }),
    fc.array(
      fc.oneof(
        { weight: 14, arbitrary: externalStep },
        { weight: 6, arbitrary: selfStep },
        { weight: 78, arbitrary: onwardStep },
        { weight: 2, arbitrary: switchStep },
      ),
      { minLength: 90, maxLength: 90 },
    ),
  )
  .map((parts): Step[] => parts.flat());
