/**
 * Operations on the embedded secret store. Values go in and never come out: what is answered, recorded and said in errors
 * are paths, names of fields and tags, versions and times. A path that may name a person is sealed in the record; it
 * stands there in clear only where a registered upstream names it, and none does so through a person.
 */
import type { RecordRow } from '../audit/record.ts';
import { SECRET_PATH_ISSUER } from '../audit/secret-path.ts';
import type { Principal } from '../core/principal.ts';
import { pathNaming } from '../objects/upstream-templates.ts';
import type { PathNaming } from '../objects/upstream-templates.ts';
import type { Upstream } from '../objects/upstream.ts';
import type { ObjectStore } from '../store/objects.ts';
import type { EmbeddedSecrets, SecretEdit, SecretEntry, StoredSecret } from '../store/secrets.ts';
import { refused } from './outcome.ts';
import type { Outcome } from './outcome.ts';
import { contentFault, editOfRotate, editOfSet } from './secret-content.ts';
import type { RotateSecretArguments, SetSecretArguments } from './secret-content.ts';

/** A secret without its values. */
export interface ListedSecretEntry {
  readonly path: string;
  readonly version: number;
  readonly fields: readonly string[];
  /** `null`: the row does not open; cambist doctor says why. */
  readonly tags: Readonly<Record<string, string>> | null;
  /** RFC 3339. */
  readonly created_at: string;
  /** RFC 3339; of the latest version. */
  readonly updated_at: string;
}

export interface ShownSecret extends ListedSecretEntry {
  /** Names of the upstreams that use it. */
  readonly upstreams: readonly string[];
}

export interface ChangedSecret {
  readonly path: string;
  readonly version: number;
}

export interface SecretOperations {
  /** Makes a secret, or puts fields and tags into one that is there. */
  setSecret(args: SetSecretArguments): Promise<Outcome<ChangedSecret>>;
  /** New values of fields that are there; refuses those that are the old ones. */
  rotateSecret(args: RotateSecretArguments): Promise<Outcome<ChangedSecret>>;
  listSecrets(args: {
    readonly after?: string | undefined;
    readonly limit: number;
  }): Promise<Outcome<{ readonly secrets: readonly ListedSecretEntry[]; readonly next: string | null }>>;
  showSecret(args: { readonly path: string }): Promise<Outcome<ShownSecret>>;
  /** Refuses while an upstream names the path word for word; warns where one names it by a template. */
  removeSecret(args: {
    readonly path: string;
    readonly dryRun: boolean;
  }): Promise<Outcome<{ readonly warnings: readonly string[] }>>;
}

export interface SecretOperationsParts {
  readonly store: EmbeddedSecrets;
  readonly objects: Pick<ObjectStore, 'list'>;
  /** Fetches what seals the persons concerned; what it returns builds the record. */
  prepareChange(persons: readonly Principal[]): Promise<(change: Readonly<Record<string, unknown>>) => RecordRow>;
  readonly author: string;
}

export function createSecretOperations(parts: SecretOperationsParts): SecretOperations {
  const { store } = parts;
  return {
    setSecret: async (args) =>
      contentFault(args) ??
      changeSecret(parts, { action: 'set', path: args.path, ...namesOf(args) }, (before) => editOfSet(args, before)),
    rotateSecret: async (args) =>
      contentFault({ ...args, tags: {} }) ??
      changeSecret(parts, { action: 'rotate', path: args.path, ...namesOf(args) }, (before) =>
        editOfRotate(args, before),
      ),
    async listSecrets({ after, limit }) {
      const found = await store.list({ after, limit });
      const next = found.length < limit ? null : (found.at(-1)?.path ?? null);
      return { ok: true, value: { secrets: found.map(listed), next } };
    },
    async showSecret({ path }) {
      const found = await store.find(path);
      if (found === undefined) return unknown(path);
      const upstreams = (await upstreamsNaming(parts, path)).map(({ name }) => name);
      return { ok: true, value: { ...listed(found), upstreams } };
    },
    async removeSecret({ path, dryRun }) {
      if ((await store.find(path)) === undefined) return unknown(path);
      const naming = await upstreamsNaming(parts, path);
      const [needing] = naming.filter((one) => one.naming === 'plain');
      if (needing !== undefined)
        return refused(
          'object_in_use',
          `upstream ${needing.name} takes its credential from ${path}: change or remove that upstream first`,
        );
      const warnings = naming.map(({ name }) => `upstream ${name} may take a credential from it`);
      if (dryRun) return { ok: true, value: { warnings } };
      const removed = await changeSecret(parts, { action: 'remove', path }, (before) =>
        before === undefined ? { refuse: unknown(path) } : { remove: true },
      );
      return removed.ok ? { ok: true, value: { warnings } } : removed;
    },
  };
}

interface RecordedChange {
  readonly action: 'set' | 'rotate' | 'remove';
  readonly path: string;
  readonly fields?: readonly string[];
  readonly tags?: readonly string[];
}

async function changeSecret(
  parts: SecretOperationsParts,
  { path, ...change }: RecordedChange,
  edit: (before: StoredSecret | 'unreadable' | undefined) => SecretEdit<Outcome<never>>,
): Promise<Outcome<ChangedSecret>> {
  const named = (await upstreamsNaming(parts, path)).map(({ naming }) => naming);
  const clear = named.length > 0 && !named.includes('personal');
  const recordOf = await parts.prepareChange(clear ? [] : [{ issuer: SECRET_PATH_ISSUER, sub: path }]);
  const changed = await parts.store.change(path, edit, (version) =>
    recordOf({
      author: parts.author,
      origin: 'command',
      changes: [{ ...change, kind: 'secret', ...(clear ? { name: path } : { person: 0 }), version }],
    }),
  );
  return 'refused' in changed ? changed.refused : { ok: true, value: { path, version: changed.version } };
}

const PAGE_OBJECTS = 1000;

interface NamingUpstream {
  readonly name: string;
  readonly naming: PathNaming;
}

/** Every upstream, disabled ones too, that may take its credential from there. */
async function upstreamsNaming({ objects }: SecretOperationsParts, path: string): Promise<readonly NamingUpstream[]> {
  const naming: NamingUpstream[] = [];
  for (let after: string | undefined; ;) {
    const page = await objects.list('upstream', { limit: PAGE_OBJECTS, ...(after === undefined ? {} : { after }) });
    naming.push(...page.flatMap(({ name, spec }) => namingOf(name, spec, path)));
    after = page.at(-1)?.name;
    if (page.length < PAGE_OBJECTS) return naming;
  }
}

function namingOf(name: string, { credential }: Upstream, path: string): readonly NamingUpstream[] {
  const naming = credential.store === 'embedded' ? pathNaming(credential.path, path) : undefined;
  return naming === undefined ? [] : [{ name, naming }];
}

function namesOf({ fields, tags = {} }: RotateSecretArguments & Partial<Pick<SetSecretArguments, 'tags'>>) {
  return { fields: Object.keys(fields).sort(), tags: Object.keys(tags).sort() };
}

function listed({ path, version, fields, tags, createdAtMs, updatedAtMs }: SecretEntry): ListedSecretEntry {
  const time = (ms: number) => new Date(ms).toISOString();
  return { path, version, fields, tags: tags ?? null, created_at: time(createdAtMs), updated_at: time(updatedAtMs) };
}

function unknown(path: string): Outcome<never> {
  return refused('object_unknown', `there is no secret ${path}: cambist secret list shows those that there are`);
}
