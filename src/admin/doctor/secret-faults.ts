/** What a secret lacks of what its upstream wants, in whichever store it lies; each with the command that mends it. */
import type { StoredObject } from '../../objects/kinds.ts';
import { failed } from './findings.ts';
import type { Found } from './findings.ts';

type Spec = StoredObject<'upstream'>['spec'];

/** What is there of it; no value. */
export interface SecretShape {
  readonly fields: readonly string[];
  /** `undefined` = they cannot be read, which is said elsewhere. */
  readonly tags: Readonly<Record<string, string>> | undefined;
}

/** Commands of the store. */
export interface SecretCommands {
  /** Makes it, with these fields. */
  set(fields: readonly string[]): string;
  add(field: string): string;
  tag(tag: string): string;
}

/** `secret` is `undefined` where there is none. */
export function secretFaults(
  of: { readonly name: string; readonly credential: Spec['credential']; readonly required: Spec['require_tags'] },
  secret: SecretShape | undefined,
  commands: SecretCommands,
): Found[] {
  const { name, credential, required } = of;
  const { path } = credential;
  const wanted = [credential.field, 'username_field' in credential ? credential.username_field : undefined].filter(
    (field) => field !== undefined,
  );
  if (secret === undefined)
    return [
      failed(`there is no secret ${path}: every request to it is refused`, commands.set(wanted.slice(0, 1)), name),
    ];
  const { tags } = secret;
  const lacking = wanted.filter((field) => !secret.fields.includes(field));
  const untagged = (['owner', 'audience'] as const).filter(
    (tag) => required[tag] && tags !== undefined && !Object.hasOwn(tags, `cambist_${tag}`),
  );
  return [
    ...lacking.map((field) => failed(`its secret ${path} has no field ${field}`, commands.add(field), name)),
    ...untagged.map((tag) =>
      failed(
        `its secret ${path} has no tag cambist_${tag}, which require_tags asks for`,
        commands.tag(`cambist_${tag}`),
        name,
      ),
    ),
  ];
}
