/**
 * From policy sources to a set that may decide. A set exists only when every statement parsed, named its actions and
 * passed strict validation against the schema; otherwise all faults come back at once, with their places.
 *
 * Refused beyond what Cedar refuses: a permit without named actions (impersonation and actAs are permitted by name or
 * not at all), templates, statements that can never apply, and text that hides its direction.
 */
import * as cedar from './cedar.ts';
import type { DetailedError, PolicyJson, ValidationError } from './cedar.ts';
import { createHash } from 'node:crypto';
import { impossibleComparisons } from './comparisons.ts';
import { CEDAR_SCHEMA } from './schema.ts';
import { indexOfByte, placeAt, splitStatements } from './statements.ts';
import type { Statement } from './statements.ts';

/** One registered policy object: a name and one or more Cedar statements. */
export interface PolicySource {
  readonly id: string;
  readonly cedar: string;
}

/** What is wrong with a source, where (line and column from 1, of that source), and what to do about it. */
export interface PolicyFault {
  /** Id of the source. */
  readonly policy: string;
  readonly message: string;
  readonly line?: number;
  readonly column?: number;
  readonly help?: string;
}

/** One statement under the id by which decisions cite it. */
export interface PolicyStatement {
  readonly id: string;
  readonly source: string;
  readonly effect: 'permit' | 'forbid';
  readonly cedar: string;
}

declare const compiled: unique symbol;

/** A valid set of policies; only `compilePolicies` makes one. */
export interface PolicySet {
  readonly [compiled]: true;
  /** SHA-256 over the sources in the order of their ids, base64url: the version that a decision was made by. */
  readonly digest: string;
  /** Ids of the statements, sorted. */
  readonly ids: readonly string[];
  readonly statements: readonly PolicyStatement[];
  /** What is allowed but deserves a look: names that mix scripts. */
  readonly warnings: readonly PolicyFault[];
}

/** Tells a compiled set from the faults that stand in its place. */
export function isPolicySet(result: PolicySet | readonly PolicyFault[]): result is PolicySet {
  return !Array.isArray(result);
}

interface Parsed {
  readonly id: string;
  readonly source: PolicySource;
  readonly statement: Statement;
  readonly json: PolicyJson;
}

const STATEMENT_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

/** Compiles sources to a set, or gives every fault of all of them. No sources is a valid set, which denies all. */
export function compilePolicies(sources: readonly PolicySource[]): PolicySet | readonly PolicyFault[] {
  const faults: PolicyFault[] = [];
  const warnings: PolicyFault[] = [];
  const parsed: Parsed[] = [];
  const seen = new Set<string>();
  for (const source of sources) {
    if (seen.has(source.id)) faults.push({ policy: source.id, message: 'two policies have this id' });
    else parsed.push(...parseSource(source, faults));
    seen.add(source.id);
  }
  const names = new Set<string>();
  for (const item of parsed) {
    if (names.has(item.id))
      faults.push(faultAt(item, `two statements are called \`${item.id}\``, 'give one another @id'));
    names.add(item.id);
  }
  validate(parsed, faults, warnings);
  if (faults.length > 0) return inOrder(faults, sources);
  const statements = parsed.map(({ id, source, statement, json }): PolicyStatement => ({
    id,
    source: source.id,
    effect: json.effect,
    cedar: statement.text.trim(),
  }));
  const set = { digest: digestOf(sources), ids: [...names].sort(), statements, warnings };
  return Object.freeze(set) as unknown as PolicySet;
}

function parseSource(source: PolicySource, faults: PolicyFault[]): Parsed[] {
  const statements = splitStatements(source.cedar);
  if (statements.length === 0) faults.push({ policy: source.id, message: 'there is no statement in it' });
  const parsed: Parsed[] = [];
  statements.forEach((statement, index) => {
    if (statement.excess !== undefined) {
      const place = placeAt(source.cedar, statement.head);
      faults.push({
        policy: source.id,
        message: statement.excess,
        ...place,
        help: 'use sets, groups or several statements',
      });
      return;
    }
    const answer = cedar.policyToJson(statement.text);
    if (answer.type === 'failure') {
      for (const error of answer.errors) faults.push(faultOf(source, statement, error));
      return;
    }
    const name = answer.json.annotations?.['id'] ?? undefined;
    const ordinal = statements.length === 1 ? source.id : `${source.id}.${index + 1}`;
    const item = {
      id: name === undefined ? ordinal : `${source.id}.${name}`,
      source,
      statement,
      json: answer.json,
    };
    faults.push(...ownRules(item, name));
    parsed.push(item);
  });
  return parsed;
}

/** Rules that are ours and not Cedar's. */
function ownRules(item: Parsed, name: string | undefined): PolicyFault[] {
  const faults: PolicyFault[] = [];
  const { annotations, effect, action } = item.json;
  if (annotations !== undefined && 'id' in annotations && (name === undefined || !STATEMENT_NAME.test(name)))
    faults.push(
      faultAt(item, '@id must be 1 to 63 letters, digits, ".", "_" or "-", and start with a letter or digit'),
    );
  if (effect === 'permit' && action.op === 'All')
    faults.push(
      faultAt(
        item,
        'a permit must name its actions',
        'write `action == Action::"access"` or `action in [Action::"access", Action::"act"]`',
      ),
    );
  for (const message of impossibleComparisons(item.json)) faults.push(faultAt(item, message));
  return faults;
}

function validate(parsed: readonly Parsed[], faults: PolicyFault[], warnings: PolicyFault[]): void {
  if (parsed.length === 0) return;
  // Keyed by position, so that two statements of one name are both looked at.
  const byKey = new Map(parsed.map((item, index) => [String(index), item]));
  const staticPolicies = Object.fromEntries(parsed.map((item, index) => [String(index), item.statement.text]));
  const answer = cedar.validate({
    schema: CEDAR_SCHEMA,
    policies: { staticPolicies },
    validationSettings: { mode: 'strict' },
  });
  if (answer.type === 'failure')
    throw new Error(`policies that parse one by one do not parse together: ${answer.errors[0]?.message ?? ''}`);
  const faulty = new Set<string>();
  const places = new Set<string>();
  const report = ({ policyId, error }: ValidationError, into: PolicyFault[]) => {
    const item = byKey.get(policyId);
    if (item === undefined) throw new Error('the validator speaks of a statement that it was not given');
    const span = error.sourceLocations?.[0];
    // The same slip is reported once per action that the statement could apply to.
    const place = JSON.stringify([policyId, span?.start ?? error.message, span?.end]);
    if (!places.has(place)) into.push(faultOf(item.source, item.statement, error));
    places.add(place);
  };
  // Cedar's order changes from run to run.
  for (const found of answer.validationErrors.sort((a, b) => (a.error.message < b.error.message ? -1 : 1))) {
    report(found, faults);
    faulty.add(found.policyId);
  }
  for (const found of answer.validationWarnings) {
    // Names in other scripts are people's names. Whatever else Cedar warns of is a statement that cannot do what it says.
    if (/contains mixed scripts|General Security Profile/.test(found.error.message)) report(found, warnings);
    else if (!faulty.has(found.policyId)) report(found, faults);
  }
}

function faultOf(source: PolicySource, statement: Statement, error: DetailedError): PolicyFault {
  const span = error.sourceLocations?.[0];
  const index = span === undefined ? statement.head : statement.start + indexOfByte(statement.text, span.start);
  const message = error.message
    .replace(/^failed to parse policy(?: with id `[^`]*`)? from string: /, '')
    .replace(/^for policy `[^`]*`[,:] /, '')
    .replace(/ for Action::"\w+"/, '');
  const expected = span?.label ?? undefined;
  const help = error.help ?? expected;
  return {
    policy: source.id,
    message,
    // A span over the whole statement begins with the comments before it.
    ...placeAt(source.cedar, Math.max(index, statement.head)),
    ...(help === undefined ? {} : { help: help.replace(/^for policy `[^`]*`[,:] /, '') }),
  };
}

function faultAt({ source, statement }: Parsed, message: string, help?: string): PolicyFault {
  return {
    policy: source.id,
    message,
    ...placeAt(source.cedar, statement.head),
    ...(help === undefined ? {} : { help }),
  };
}

function inOrder(faults: readonly PolicyFault[], sources: readonly PolicySource[]): PolicyFault[] {
  const order = new Map(sources.map(({ id }, index) => [id, index]));
  const rank = (fault: PolicyFault) => [order.get(fault.policy) ?? 0, fault.line ?? 0, fault.column ?? 0] as const;
  return [...faults].sort((a, b) => {
    const [x, y] = [rank(a), rank(b)];
    return x[0] - y[0] || x[1] - y[1] || x[2] - y[2];
  });
}

function digestOf(sources: readonly PolicySource[]): string {
  const sorted = sources.map(({ id, cedar }) => [id, cedar] as const).sort(([a], [b]) => (a < b ? -1 : 1));
  return createHash('sha256').update(JSON.stringify(sorted)).digest('base64url');
}
