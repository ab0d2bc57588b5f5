/**
 * Finds comparisons that can never hold: `context.subject == User::"…"`, `principal == Group::"…"`. Cedar's validator
 * takes them for `false` and only speaks up when the whole policy is impossible; inside an `||` of a `forbid` such a
 * slip would silently forbid nothing. So it is a fault.
 */
import type { PolicyJson } from './cedar.ts';

interface Reach {
  /** How a policy writes it. */
  readonly written: string;
  /** Entity types that it can be `==` to. */
  readonly is: readonly string[];
  /** Entity types that it can be `in`. */
  readonly within: readonly string[];
}

const PARTY = ['User', 'Client'];
const MEMBERSHIP = ['Group', 'Role'];
/** Types that are not among these are faults already. */
const KNOWN = [...PARTY, ...MEMBERSHIP, 'Subject', 'Scope', 'Resource', 'Grant'];
const PRINCIPAL: Reach = { written: 'principal', is: PARTY, within: [...PARTY, ...MEMBERSHIP] };
const RESOURCE: Reach = {
  written: 'resource',
  is: ['Scope', ...PARTY],
  within: ['Scope', 'Resource', ...PARTY, ...MEMBERSHIP],
};
const CONTEXT: ReadonlyMap<unknown, Reach> = new Map([
  ['subject', { written: 'context.subject', is: ['Subject'], within: ['Subject', ...PARTY, ...MEMBERSHIP] }],
  ['client', { written: 'context.client', is: ['Client'], within: ['Client', ...MEMBERSHIP] }],
  ['via', { written: 'context.via', is: ['Resource'], within: ['Resource'] }],
  ['grant', { written: 'context.grant', is: ['Grant'], within: ['Grant'] }],
]);

/** One sentence for every comparison in the policy's conditions that no request can fulfil. */
export function impossibleComparisons(policy: PolicyJson): string[] {
  const found: string[] = [];
  visit(policy.conditions, found);
  return [...new Set(found)];
}

function visit(node: unknown, found: string[]): void {
  if (Array.isArray(node)) {
    for (const item of node) visit(item, found);
    return;
  }
  if (!isRecord(node)) return;
  for (const [operator, value] of Object.entries(node)) {
    if (isRecord(value) && 'left' in value) examine(operator, value, found);
    visit(value, found);
  }
}

function examine(operator: string, { left, right, entity_type }: Record<string, unknown>, found: string[]): void {
  if (operator === '==' || operator === '!=')
    found.push(
      ...[
        ...slips(reachOf(left), typesOf(right), 'is', operator),
        ...slips(reachOf(right), typesOf(left), 'is', operator),
      ].slice(0, 1),
    );
  else if (operator === 'in') found.push(...slips(reachOf(left), typesOf(right), 'within', operator));
  else if (operator === 'is' && typeof entity_type === 'string')
    found.push(...slips(reachOf(left), [entity_type], 'is', operator));
}

function slips(
  side: Reach | undefined,
  types: readonly string[],
  relation: 'is' | 'within',
  operator: string,
): string[] {
  if (side === undefined) return [];
  return types
    .filter((type) => KNOWN.includes(type) && !side[relation].includes(type))
    .map((type) => {
      const written = `\`${side.written}\` ${operator} ${type} can never hold`;
      if (relation === 'is' && side.within.includes(type))
        return `${written}: write \`${side.written} in ${type}::"…"\``;
      return type === 'Subject' ? `${written}: write \`context.subject in ${side.written}\`` : written;
    });
}

/** What a variable or an attribute of the context can be; `undefined` for everything else. */
function reachOf(node: unknown): Reach | undefined {
  if (!isRecord(node)) return undefined;
  if (node['Var'] === 'principal') return PRINCIPAL;
  if (node['Var'] === 'resource') return RESOURCE;
  const access = node['.'];
  if (!isRecord(access) || !isRecord(access['left']) || access['left']['Var'] !== 'context') return undefined;
  return CONTEXT.get(access['attr']);
}

/** Entity types on the other side: of a literal, of each member of a set, or of an attribute of the context. */
function typesOf(node: unknown): string[] {
  if (!isRecord(node)) return [];
  const members = node['Set'];
  if (Array.isArray(members)) return members.flatMap((member) => typesOf(member));
  const value = node['Value'];
  if (isRecord(value) && isRecord(value['__entity'])) {
    const type = value['__entity']['type'];
    return typeof type === 'string' ? [type] : [];
  }
  const reach = reachOf(node);
  return reach?.is.length === 1 ? [...reach.is] : [];
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
