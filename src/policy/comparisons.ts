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
const PRINCIPAL: Reach = { written: 'principal', is: PARTY, within: [...PARTY, ...MEMBERSHIP] };
const RESOURCE: Reach = {
  written: 'resource',
  is: ['Scope', ...PARTY],
  within: ['Scope', 'Resource', ...PARTY, ...MEMBERSHIP],
};
const CONTEXT: Readonly<Record<string, Reach>> = {
  subject: { written: 'context.subject', is: ['Subject'], within: ['Subject', ...PARTY, ...MEMBERSHIP] },
  client: { written: 'context.client', is: ['Client'], within: ['Client', ...MEMBERSHIP] },
  via: { written: 'context.via', is: ['Resource'], within: ['Resource'] },
  grant: { written: 'context.grant', is: ['Grant'], within: ['Grant'] },
};

/** One sentence for every comparison in the policy's conditions that no request can fulfil. */
export function impossibleComparisons(policy: PolicyJson): string[] {
  const found: string[] = [];
  visit(policy.conditions, found);
  return found;
}

function visit(node: unknown, found: string[]): void {
  if (Array.isArray(node)) {
    for (const item of node) visit(item, found);
    return;
  }
  if (!isRecord(node)) return;
  for (const [key, value] of Object.entries(node)) {
    if (isRecord(value) && 'left' in value && 'right' in value) examine(key, value['left'], value['right'], found);
    visit(value, found);
  }
}

function examine(operator: string, left: unknown, right: unknown, found: string[]): void {
  if (operator === '==' || operator === '!=') {
    compare(reachOf(left), right, 'is', operator, found);
    compare(reachOf(right), left, 'is', operator, found);
  } else if (operator === 'in') {
    compare(reachOf(left), right, 'within', operator, found);
  } else if (operator === 'contains') {
    compare(reachOf(right), left, 'is', operator, found);
  }
}

function compare(
  subject: Reach | undefined,
  other: unknown,
  relation: 'is' | 'within',
  operator: string,
  found: string[],
): void {
  if (subject === undefined) return;
  for (const type of typesOf(other)) {
    if (subject[relation].includes(type)) continue;
    const help =
      relation === 'is' && subject.within.includes(type) ? `; write \`${subject.written} in ${type}::"…"\`` : '';
    found.push(`\`${subject.written}\` ${operator} ${type} never holds${help}`);
  }
}

/** What a variable or an attribute of the context can be; `undefined` for everything else. */
function reachOf(node: unknown): Reach | undefined {
  if (!isRecord(node)) return undefined;
  if (node['Var'] === 'principal') return PRINCIPAL;
  if (node['Var'] === 'resource') return RESOURCE;
  const access = node['.'];
  if (!isRecord(access) || !isRecord(access['left']) || access['left']['Var'] !== 'context') return undefined;
  return typeof access['attr'] === 'string' ? CONTEXT[access['attr']] : undefined;
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
