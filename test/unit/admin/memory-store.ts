/** A store of objects in memory with the contract of the real one, as far as the admin floor uses it. */
import { KINDS } from '../../../src/objects/kinds.ts';
import type { Kind, ObjectKey, StoredObject } from '../../../src/objects/kinds.ts';
import { KeyTaken, ObjectMissing, StateMoved } from '../../../src/store/objects.ts';
import type { ListedObject, ObjectStore } from '../../../src/store/objects.ts';

export type MemoryStore = Pick<ObjectStore, 'current' | 'change' | 'list' | 'listByOrigin'> & {
  readonly objects: Map<string, ListedObject>;
};

export function createMemoryStore(): MemoryStore {
  const objects = new Map<string, ListedObject>();
  let version = 0;
  const keysOf = ({ kind, spec }: StoredObject) => KINDS[kind].keysOf(spec as never);
  const holderOf = (key: ObjectKey) =>
    [...objects.values()].find((object) =>
      keysOf(object).some((k) => k.namespace === key.namespace && k.key === key.key),
    );
  const sorted = (kind: Kind) =>
    [...objects.values()].filter((object) => object.kind === kind).sort((a, b) => (a.name < b.name ? -1 : 1));

  return {
    objects,
    current: () =>
      Promise.resolve({
        state: { version, revocations: 0, keys: 0, databaseMs: 0, revoking: false },
        get: <K extends Kind>(kind: K, name: string) =>
          Promise.resolve(objects.get(`${kind} ${name}`) as StoredObject<K> | undefined),
        find: (key) => Promise.resolve(holderOf(key)),
        all: <K extends Kind>(kind: K) => Promise.resolve(sorted(kind) as unknown as StoredObject<K>[]),
      }),
    change(mutations, { origin, expectVersion, record }) {
      if (expectVersion !== undefined && expectVersion !== version) throw new StateMoved(expectVersion, version);
      version++;
      for (const mutation of mutations) {
        const { kind, name } = mutation;
        const label = `${kind} ${name}`;
        const before = objects.get(label);
        if (mutation.type === 'remove') objects.delete(label);
        else if (mutation.type === 'put') {
          const disabled = mutation.disabled ?? before?.disabled ?? false;
          objects.set(label, { kind, name, spec: mutation.spec, disabled, version, origin });
        } else {
          if (before === undefined) throw new ObjectMissing(kind, name);
          objects.set(label, { ...before, disabled: mutation.type === 'disable', version });
        }
      }
      for (const mutation of mutations)
        if (mutation.type === 'put')
          for (const key of mutation.keys) {
            const holder = holderOf(key);
            if (holder !== undefined && holder.name !== mutation.name) throw new KeyTaken(key, holder);
          }
      record?.(version);
      return Promise.resolve({ version });
    },
    list: <K extends Kind>(kind: K, { after, limit }: { after?: string; limit: number }) =>
      Promise.resolve(
        sorted(kind)
          .filter(({ name }) => after === undefined || name > after)
          .slice(0, limit) as unknown as ListedObject<K>[],
      ),
    listByOrigin: (origin) => Promise.resolve([...objects.values()].filter((object) => object.origin === origin)),
  };
}

/** A small company without a fault: an issuer, an agent, two servers of which one may call the other, policies. */
export const COMPANY = `issuers:
  - name: corp
    issuer: https://login.example.com
    audiences:
      - value: company-app
        clients: [planner]
    claims: {groups: groups}
clients:
  - id: planner
    auth: [client_secret_basic]
  - id: notes-server
    auth: [client_secret_basic]
  - id: files-server
    auth: [client_secret_basic]
resources:
  - name: notes
    uri: https://notes.example.com/mcp
    scopes: {"notes:read": Read notes, "notes:write": Write notes}
    default_scopes: ["notes:read"]
    served_by: [notes-server]
    calls:
      - resource: files
        needs: ["notes:read"]
        gives: ["files:read"]
  - name: files
    uri: https://files.example.com/mcp
    aliases: [https://files.example.com]
    scopes: {"files:read": Read files}
    served_by: [files-server]
roles:
  - name: staff
    groups: ["corp:staff"]
subjects:
  - issuer: corp
    sub: alice
    roles: [staff]
policies:
  - id: staff-read
    cedar: |
      permit (
        principal in Role::"staff",
        action in [Action::"access", Action::"act"],
        resource
      );
`;
