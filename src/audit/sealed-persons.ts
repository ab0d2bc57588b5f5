/**
 * Everybody in a request who is not a client, each sealed once under the key of their own. Clients stand by their ids.
 */
import { principalKey } from '../core/principal.ts';
import type { Principal } from '../core/principal.ts';
import { sealPerson } from './personal.ts';
import type { PersonalFields, PersonKey } from './personal.ts';
import type { SealedPerson } from './record.ts';

export interface PersonSource {
  readonly ourIssuer: string;
  /** The key of a person, made when there is none yet. */
  keyFor(principal: Principal): Promise<PersonKey>;
}

interface Person {
  readonly key: PersonKey;
  readonly fields: PersonalFields;
}

export interface Persons {
  /** What is said of somebody first, stands. */
  add(principal: Principal, fields: Omit<PersonalFields, 'iss' | 'sub'>): Promise<void>;
  get(principal: Principal): Person | undefined;
  /** How records name them: the ref of a person, or `client:<id>`. */
  refOf(principal: Principal): string;
  /** In the order in which they were added. */
  seal(recordId: string): readonly SealedPerson[];
}

export function collectPersons(source: PersonSource): Persons {
  const persons = new Map<string, Person>();
  return {
    async add(principal, fields) {
      const id = principalKey(principal);
      if (principal.issuer === source.ourIssuer || persons.has(id)) return;
      const key = await source.keyFor(principal);
      persons.set(id, { key, fields: { iss: principal.issuer, sub: principal.sub, ...fields } });
    },
    get: (principal) => persons.get(principalKey(principal)),
    refOf: (principal) => persons.get(principalKey(principal))?.key.ref ?? `client:${principal.sub}`,
    seal: (recordId) => [...persons.values()].map(({ key, fields }) => sealPerson(key, recordId, fields)),
  };
}
