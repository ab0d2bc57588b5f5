/**
 * Everything that can be done to registered objects from outside, in one interface: the command line uses it over a
 * database that it opened itself or over the local socket of a running server, and cannot tell which. All arguments
 * and results are JSON. Problems of the caller are values; only `Unavailable` and bugs are thrown.
 *
 * Every change is one transaction with its audit record, of what changed and who did it: there is no change without its
 * record.
 */
import type { Kind, StoredObject } from '../objects/kinds.ts';
import { subjectName } from '../objects/kinds.ts';
import type { ObjectReader } from '../objects/registry.ts';
import { subjectSpec } from '../objects/policy.ts';
import type { ClientSecrets, SecretsChangeOptions } from '../store/client-secrets.ts';
import { ObjectMissing, StateMoved } from '../store/objects.ts';
import type { ObjectStore } from '../store/objects.ts';
import { APPLY_ORIGIN, applyPlan, planApply } from './apply.ts';
import type { Plan, PlanOptions } from './apply.ts';
import { createChangePreparer, plannedChanges, splitSubject } from './change-record.ts';
import type { PrepareChange } from './change-record.ts';
import type { ConfigFault } from './fault.ts';
import { createKeyOperations } from './key-operations.ts';
import type { KeyOperations, KeyOperationsParts } from './key-operations.ts';
import { createObjectOperations } from './object-operations.ts';
import type { ListedEntry, ObjectOperations } from './object-operations.ts';
import { createRevocationOperations } from './revocation-operations.ts';
import type { RevocationOperations, RevocationOperationsParts } from './revocation-operations.ts';
import { nounOf } from './objects-file.ts';
import type { ObjectsText } from './objects-file.ts';
import { createSecretOperations } from './secret-operations.ts';
import type { SecretOperations, SecretOperationsParts } from './secret-operations.ts';
import { createUpkeepOperations } from './upkeep-operations.ts';
import type { UpkeepOperations, UpkeepParts } from './upkeep-operations.ts';
import { orProblem, refused } from './outcome.ts';
import type { Outcome } from './outcome.ts';

export type { ListedEntry } from './object-operations.ts';
export type { Outcome, Problem } from './outcome.ts';

export interface PlanArguments {
  readonly texts: readonly ObjectsText[];
  readonly prune: boolean;
}

export interface ApplyArguments extends PlanArguments {
  /** The version of the plan that was shown; when the state has moved on since, nothing is done. */
  readonly expectVersion?: number | undefined;
}

export interface NewSecret {
  readonly secret: string;
  /** How many older secrets stopped working because of it; two are valid at a time. */
  readonly retired: number;
}

/** A secret of a client, without the secret. */
export interface ListedSecret {
  readonly id: string;
  /** RFC 3339. */
  readonly created_at: string;
  /** `null` = valid. */
  readonly retired_at: string | null;
}

/** A record as it was stored, with the personal fields of those who were not erased. */
export interface ExplainedRecord {
  readonly id: string;
  readonly kind: string;
  /** The canonical JSON, parsed. */
  readonly body: Readonly<Record<string, unknown>>;
  readonly persons: readonly Readonly<Record<string, unknown>>[];
}

/** Everything; what a further file of operations adds is one name after `extends`. */
export interface Operations
  extends KeyOperations, ObjectOperations, UpkeepOperations, RevocationOperations, SecretOperations {
  plan(args: PlanArguments): Promise<Outcome<Plan>>;
  apply(args: ApplyArguments): Promise<Outcome<{ readonly plan: Plan; readonly version: number }>>;
  /** Makes a secret and returns it, this once. */
  addClientSecret(args: { readonly clientId: string }): Promise<Outcome<NewSecret>>;
  /** Retires one secret, or all without `secretId`; `retired` are the ids of those that were valid until now. */
  retireClientSecrets(args: {
    readonly clientId: string;
    readonly secretId?: string | undefined;
  }): Promise<Outcome<{ readonly retired: readonly string[] }>>;
  listClientSecrets(args: {
    readonly clientId: string;
  }): Promise<Outcome<{ readonly secrets: readonly ListedSecret[] }>>;
  /** A subject that is not registered is registered, so that anybody can be disabled. */
  setDisabled(args: {
    readonly kind: Kind;
    readonly name: string;
    readonly disabled: boolean;
  }): Promise<Outcome<{ readonly changed: boolean }>>;
  list(args: {
    readonly kind: Kind;
    readonly after?: string | undefined;
    readonly limit: number;
  }): Promise<Outcome<{ readonly objects: readonly ListedEntry[]; readonly next: string | null }>>;
  show(args: { readonly kind: Kind; readonly name: string }): Promise<Outcome<ListedEntry>>;
  recordsByRequestId(args: { readonly requestId: string }): Promise<Outcome<readonly ExplainedRecord[]>>;
  /** What was recorded about the token of that `jti` when it was issued. */
  recordsByJti(args: { readonly jti: string }): Promise<Outcome<readonly ExplainedRecord[]>>;
}

interface FoundRow {
  readonly id: string;
  readonly kind: string;
  readonly canonical: Uint8Array;
}

export interface OperationsParts {
  readonly objects: ObjectStore;
  readonly clientSecrets: Pick<ClientSecrets, 'add' | 'retire' | 'list'>;
  readonly records: {
    byRequestId(requestId: string): Promise<readonly FoundRow[]>;
    byJti(jti: string): Promise<readonly FoundRow[]>;
  };
  /** The personal fields of a record, of those who were not erased. */
  readonly openPersons: (row: { readonly id: string; readonly canonical: Uint8Array }) => Promise<readonly object[]>;
  readonly prepareChange: PrepareChange;
  readonly keys: Omit<KeyOperationsParts, 'author'>;
  readonly upkeep: UpkeepParts;
  readonly revocation: Pick<
    RevocationOperationsParts,
    'isIssued' | 'keyState' | 'inForce' | 'prepareChange' | 'commitRevocation'
  >;
  readonly secrets: Pick<SecretOperationsParts, 'store' | 'prepareChange'>;
  readonly ownIssuer: string;
  readonly demoRefusedBecause: string | undefined;
  /** Who changes things, for history and records: `local:alice`. */
  readonly author: string;
}

const REPLANS_MAX = 5;

/** The operations over a store. */
export function createOperations(parts: OperationsParts): Operations {
  const { objects } = parts;
  const optionsFor = (prune: boolean): PlanOptions => ({
    prune,
    ownIssuer: parts.ownIssuer,
    demoRefusedBecause: parts.demoRefusedBecause,
  });
  const prepareRecord = createChangePreparer(parts);

  async function applyOnce(args: ApplyArguments): Promise<Outcome<{ plan: Plan; version: number }>> {
    const prepared = await planApply(args.texts, objects, optionsFor(args.prune));
    if (Array.isArray(prepared)) return invalid(prepared);
    if (args.expectVersion !== undefined && prepared.plan.stateVersion !== args.expectVersion)
      throw new StateMoved(args.expectVersion, prepared.plan.stateVersion);
    const recordOf = await prepareRecord(APPLY_ORIGIN, plannedChanges(prepared.plan), prepared.mutations);
    const { version } = await applyPlan(prepared, objects, parts.author, recordOf);
    return { ok: true, value: { plan: prepared.plan, version } };
  }

  async function secretsChange(
    clientId: string,
    action: 'add_secret' | 'retire_secret',
  ): Promise<SecretsChangeOptions> {
    const prepared = await prepareRecord('command', [{ action, kind: 'client', name: clientId }]);
    return {
      author: parts.author,
      record: ({ version, added, retired }) =>
        prepared(version, { ...(added === undefined ? {} : { secret_added: added }), secrets_retired: retired }),
    };
  }

  async function explained(rows: readonly FoundRow[]): Promise<Outcome<readonly ExplainedRecord[]>> {
    const value = rows.map(async (row): Promise<ExplainedRecord> => {
      const body = JSON.parse(new TextDecoder().decode(row.canonical)) as Record<string, unknown>;
      const persons = (await parts.openPersons(row)) as readonly Record<string, unknown>[];
      return { id: row.id, kind: row.kind, body, persons };
    });
    return { ok: true, value: await Promise.all(value) };
  }
  const { author, ownIssuer } = parts;

  return {
    ...createKeyOperations({ ...parts.keys, author }),
    ...createUpkeepOperations(parts.upkeep),
    ...createSecretOperations({ ...parts.secrets, objects, author }),
    ...createRevocationOperations({ ...parts.revocation, objects, ownIssuer, author }),
    async plan({ texts, prune }) {
      const prepared = await planApply(texts, objects, optionsFor(prune));
      return Array.isArray(prepared) ? invalid(prepared) : { ok: true, value: prepared.plan };
    },
    apply: (args) =>
      orProblem(async () => {
        for (let attempt = 1; ; attempt++)
          try {
            return await applyOnce(args);
          } catch (error) {
            // Nobody saw a plan: another change came between planning and applying, and a new plan is as good.
            if (!(error instanceof StateMoved) || args.expectVersion !== undefined || attempt === REPLANS_MAX)
              throw error;
          }
      }),
    addClientSecret: ({ clientId }) =>
      orProblem(async () => {
        const { secret, retired } = await parts.clientSecrets.add(
          clientId,
          await secretsChange(clientId, 'add_secret'),
        );
        return { ok: true, value: { secret, retired: retired.length } };
      }),
    retireClientSecrets: ({ clientId, secretId }) =>
      orProblem<{ retired: readonly string[] }>(async () => {
        const change = await secretsChange(clientId, 'retire_secret');
        const retired = await parts.clientSecrets.retire(clientId, secretId, change);
        if (retired.length > 0 || secretId === undefined) return { ok: true, value: { retired } };
        const known = (await parts.clientSecrets.list(clientId)).some(({ id }) => id === secretId);
        if (!known) return refused('object_unknown', `client ${clientId} has no secret ${secretId}`);
        return { ok: true, value: { retired } };
      }),
    listClientSecrets: ({ clientId }) =>
      orProblem(async () => {
        if ((await (await objects.current()).get('client', clientId)) === undefined)
          throw new ObjectMissing('client', clientId);
        const secrets = (await parts.clientSecrets.list(clientId)).map(({ id, createdAtMs, retiredAtMs }) => ({
          id,
          created_at: new Date(createdAtMs).toISOString(),
          retired_at: retiredAtMs === null ? null : new Date(retiredAtMs).toISOString(),
        }));
        return { ok: true, value: { secrets } };
      }),
    setDisabled: ({ kind, name, disabled }) =>
      orProblem<{ changed: boolean }>(async () => {
        const reader = await objects.current();
        const found = await reader.get(kind, name);
        if (found?.disabled === disabled) return { ok: true, value: { changed: false } };
        const mutation =
          found === undefined && kind === 'subject' && disabled
            ? await newSubject(name, reader)
            : ({ type: disabled ? 'disable' : 'enable', kind, name } as const);
        if (mutation === undefined)
          return refused('argument_invalid', 'a sub has 1 to 1024 characters and no control characters');
        const record = await prepareRecord('command', [{ action: disabled ? 'disable' : 'enable', kind, name }]);
        await objects.change([mutation], { author: parts.author, origin: 'command', record });
        return { ok: true, value: { changed: true } };
      }),
    async list({ kind, after, limit }) {
      const found = await objects.list(kind, { limit, ...(after === undefined ? {} : { after }) });
      const next = found.length < limit ? null : (found.at(-1)?.name ?? null);
      return { ok: true, value: { objects: found.map(entryOf), next } };
    },
    show: ({ kind, name }) =>
      orProblem(async () => {
        const found = await (await objects.current()).get(kind, name);
        if (found === undefined) throw new ObjectMissing(kind, name);
        return { ok: true, value: entryOf(found) };
      }),
    ...createObjectOperations({ objects, author, ownIssuer, prepareRecord, optionsFor }),
    recordsByRequestId: async ({ requestId }) => explained(await parts.records.byRequestId(requestId)),
    recordsByJti: async ({ jti }) => explained(await parts.records.byJti(jti)),
  };
}

function invalid(faults: readonly ConfigFault[]): Outcome<never> {
  const title = faults.length === 1 ? '1 fault' : `${faults.length} faults`;
  return refused('objects_invalid', `nothing was changed: ${title}`, faults);
}

/** A subject that nobody has registered, disabled. The name is the short name of its issuer, a colon, its `sub`. */
async function newSubject(name: string, reader: ObjectReader) {
  const { issuer, sub } = splitSubject(name);
  if ((await reader.get('issuer', issuer)) === undefined) throw new ObjectMissing('issuer', issuer);
  const { data: spec } = subjectSpec.safeParse({ issuer, sub });
  if (spec === undefined) return undefined;
  const keys = nounOf('subject').keysOf(spec);
  return { type: 'put', kind: 'subject', name: subjectName(issuer, sub), spec, disabled: true, keys } as const;
}

function entryOf({ kind, name, disabled, version, spec, ...more }: StoredObject & { origin?: string }): ListedEntry {
  return { kind, name, disabled, version, spec, ...(more.origin === undefined ? {} : { origin: more.origin }) };
}
