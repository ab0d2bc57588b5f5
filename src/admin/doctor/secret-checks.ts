/**
 * The embedded secrets beside the upstreams that use them: what is missing, what nobody uses, what was not rotated for
 * long, what does not open. Values are not looked at.
 */
import type { Clock } from '../../core/clock.ts';
import type { StoredObject } from '../../objects/kinds.ts';
import { pathNaming, placeholdersOf } from '../../objects/upstream-templates.ts';
import type { EmbeddedSecrets, SecretEntry } from '../../store/secrets.ts';
import { failed, ok, warning } from './findings.ts';
import type { Check, Found } from './findings.ts';
import { secretFaults } from './secret-faults.ts';

export interface SecretCheckParts {
  readonly clock: Clock;
  readonly upstreams: readonly StoredObject<'upstream'>[];
  readonly embeddedSecrets: Pick<EmbeddedSecrets, 'find' | 'list'>;
}

const OLD_DAYS = 90;
const DAY_MS = 86_400_000;
const PAGE_SECRETS = 500;
/** Beyond them the rest is not looked at, but for what upstreams name. */
const SECRETS_MAX = 10_000;

/** Every check of embedded secrets; nothing to say where there are none and no upstream wants one. */
export function secretChecks(parts: SecretCheckParts): Check[] {
  return [
    { noun: 'upstream', name: 'embedded secrets', run: () => checkNeeded(parts) },
    { noun: 'secret', name: 'all', run: () => checkKept(parts) },
  ];
}

async function checkNeeded({ upstreams, embeddedSecrets }: SecretCheckParts): Promise<Found[]> {
  const using = upstreams.filter(
    ({ disabled, spec: { credential } }) =>
      !disabled && credential.store === 'embedded' && placeholdersOf(credential.path).length === 0,
  );
  const found = await Promise.all(
    using.map(async (upstream) => lacksOf(upstream, await embeddedSecrets.find(upstream.spec.credential.path))),
  );
  return found.flat();
}

function lacksOf({ name, spec }: StoredObject<'upstream'>, secret: SecretEntry | undefined): Found[] {
  const { credential, require_tags: required } = spec;
  const { path } = credential;
  const setting = (fields: readonly string[]) =>
    `cambist secret set ${path}${fields.map((field) => ` --field ${field}`).join('')}`;
  return secretFaults({ name, credential, required }, secret, {
    set: setting,
    add: (field) => setting([field]),
    tag: (tag) => `cambist secret set ${path} --tags-only --tag ${tag}=…`,
  });
}

async function checkKept({ clock, upstreams, embeddedSecrets }: SecretCheckParts): Promise<Found[]> {
  const secrets: SecretEntry[] = [];
  while (secrets.length < SECRETS_MAX) {
    const page = await embeddedSecrets.list({ after: secrets.at(-1)?.path, limit: PAGE_SECRETS });
    secrets.push(...page);
    if (page.length < PAGE_SECRETS) break;
  }
  if (secrets.length === 0) return [];
  const templates = upstreams.flatMap(({ spec: { credential } }) =>
    credential.store === 'embedded' ? [credential.path] : [],
  );
  const found = secrets.flatMap(({ path, tags, updatedAtMs }) => {
    const days = Math.floor((clock.nowMs() - updatedAtMs) / DAY_MS);
    const used = templates.some((template) => pathNaming(template, path) !== undefined);
    return [
      ...(tags === undefined
        ? [
            failed(
              'it does not open: sealed under another key-encryption key, or altered',
              `give the key that it was sealed under, or set it anew: cambist secret set ${path} --replace`,
              path,
            ),
          ]
        : []),
      ...(used ? [] : [warning('no upstream names it', `cambist secret rm ${path}, or name it in an upstream`, path)]),
      ...(used && days > OLD_DAYS
        ? [warning(`it was last changed ${days} days ago`, `cambist secret rotate ${path}`, path)]
        : []),
    ];
  });
  return found.length > 0 ? found : [ok(`${secrets.length} kept, all of them used`)];
}
