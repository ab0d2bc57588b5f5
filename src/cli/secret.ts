/**
 * `cambist secret`: the keys of third parties in the embedded secret store. Values are read from standard input or files
 * and never shown again; to see what is there, paths and names of fields are listed.
 */
import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import type { ListedSecretEntry } from '../admin/secret-operations.ts';
import { valueOf } from './context.ts';
import type { CliContext } from './context.ts';
import { CliFailure, EXIT } from './failure.ts';
import { table } from './output.ts';
import { addFieldOptions, parseTags, readFields } from './secret-fields.ts';
import type { FieldOptions } from './secret-fields.ts';

const PAGE_SECRETS = 500;

export function addSecretCommand(program: Command, context: CliContext): void {
  const secret = program
    .command('secret')
    .description('keys of third parties in the embedded secret store: set, list, show, rotate, rm')
    .addHelpText(
      'after',
      `
For upstreams whose credential says "store: embedded". A value is read from standard input or a file, encrypted in the
database, and never shown again. Secrets of clients of Cambist are another thing: cambist client secret.

Examples:
  cambist secret set github/bot --field token < token.txt
  cambist secret list`,
    );
  addSetCommand(secret, context);
  addRotateCommand(secret, context);
  addListCommand(secret, context);
  addShowCommand(secret, context);
  addRemoveCommand(secret, context);
}

interface SetOptions extends FieldOptions {
  readonly tag?: readonly string[];
  readonly tagsOnly?: boolean;
  readonly replace?: boolean;
}

function addSetCommand(secret: Command, context: CliContext): void {
  addFieldOptions(secret.command('set').argument('<PATH>'))
    .description('make a secret, or put fields and tags into one that is there')
    .addOption(
      new Option('--tag <name=value>', 'cambist_owner or cambist_audience: whose it is, for which upstream').argParser(
        (text: string, before: readonly string[] | undefined) => [...(before ?? []), text],
      ),
    )
    .option('--tags-only', 'change tags and read no value')
    .option('--replace', 'keep nothing of what is there: the secret then holds just what is given')
    .addHelpText(
      'after',
      `
In force with the next use, on every node. White space at the ends of a value is left out. At a terminal it asks for the
value and does not show it.

Examples:
  cambist secret set github/bot --field token < token.txt
  cambist secret set erp/login --field user=file:user.txt --field password=file:password.txt
  echo '{"user": "cambist", "password": "…"}' | cambist secret set erp/login --json-fields
  cambist secret set people/alice/github --field token --tag cambist_owner=corp:alice --file token.txt
  cambist secret set github/bot --tags-only --tag cambist_audience=github`,
    )
    .action(async (path: string, options: SetOptions, command: Command) => {
      const { tag, tagsOnly, replace = false } = options;
      if (tagsOnly === true && tag === undefined)
        throw new CliFailure(EXIT.usage, 'usage', '--tags-only needs a --tag');
      if (tagsOnly === true && (options.field ?? options.file ?? options.jsonFields) !== undefined)
        throw new CliFailure(EXIT.usage, 'usage', '--tags-only reads no value: leave the fields away');
      const tags = parseTags(tag);
      const fields = tagsOnly === true ? {} : await readFields(options, context, command);
      const { version } = await context.withOperations(
        command,
        async (operations) => valueOf(await operations.setSecret({ path, fields, tags, replace })),
        'create',
      );
      printChange(context, command, 'Set', { path, version, fields: Object.keys(fields).sort() });
    });
}

function addRotateCommand(secret: Command, context: CliContext): void {
  addFieldOptions(secret.command('rotate').argument('<PATH>'))
    .description('give fields of a secret new values')
    .addHelpText(
      'after',
      `
In force with the next use, on every node; the old value is gone. Refused where the secret or the field is not there, and
where the value is the old one.

Examples:
  cambist secret rotate github/bot --field token < new-token.txt
  cambist secret rotate erp/login --field password=file:password.txt`,
    )
    .action(async (path: string, options: FieldOptions, command: Command) => {
      const fields = await readFields(options, context, command);
      const { version } = await context.withOperations(command, async (operations) =>
        valueOf(await operations.rotateSecret({ path, fields })),
      );
      printChange(context, command, 'Rotated', { path, version, fields: Object.keys(fields).sort() });
    });
}

function printChange(
  context: CliContext,
  command: Command,
  verb: 'Set' | 'Rotated',
  changed: { readonly path: string; readonly version: number; readonly fields: readonly string[] },
): void {
  const { path, version, fields } = changed;
  const what = fields.length === 0 ? 'tags' : fields.join(', ');
  context.print(command, changed, () => `${verb} ${what} of ${path}, now at version ${version}.`);
}

function addListCommand(secret: Command, context: CliContext): void {
  secret
    .command('list')
    .description('list secrets by path: fields, versions, times and tags, never values')
    .addOption(new Option('--limit <n>', 'list at most so many').argParser(positiveInteger))
    .addOption(new Option('--after <path>', 'only those after this path'))
    .addHelpText(
      'after',
      '\nExamples:\n  cambist secret list\n  cambist secret list --limit 100 --after github/bot\n  cambist secret list --json',
    )
    .action(async ({ limit = Infinity, after }: { limit?: number; after?: string }, command: Command) => {
      const secrets = await context.withOperations(command, async (operations) => {
        const found: ListedSecretEntry[] = [];
        let next: string | undefined = after;
        do {
          const rest = Math.min(PAGE_SECRETS, limit - found.length);
          const page = valueOf(await operations.listSecrets({ after: next, limit: rest }));
          found.push(...page.secrets);
          next = page.next ?? undefined;
        } while (next !== undefined && found.length < limit);
        return found;
      });
      context.print(command, secrets, () =>
        secrets.length === 0
          ? 'There is no secret. Make one with: cambist secret set PATH --field NAME'
          : table(
              ['PATH', 'FIELDS', 'VERSION', 'CHANGED', 'TAGS'],
              secrets.map(({ path, fields, version, updated_at: changed, tags }) => [
                path,
                fields.join(', '),
                String(version),
                changed,
                describeTags(tags),
              ]),
            ),
      );
    });
}

function addShowCommand(secret: Command, context: CliContext): void {
  secret
    .command('show')
    .argument('<PATH>')
    .description('show what is known of one secret, and which upstreams use it; never its values')
    .addHelpText('after', '\nExample:\n  cambist secret show github/bot')
    .action(async (path: string, _options: unknown, command: Command) => {
      const shown = await context.withOperations(command, async (operations) =>
        valueOf(await operations.showSecret({ path })),
      );
      context.print(command, shown, () =>
        [
          `path       ${shown.path}`,
          `fields     ${shown.fields.join(', ')}`,
          `version    ${shown.version}`,
          `tags       ${describeTags(shown.tags)}`,
          `created    ${shown.created_at}`,
          `changed    ${shown.updated_at}`,
          `upstreams  ${shown.upstreams.length === 0 ? 'none' : shown.upstreams.join(', ')}`,
        ].join('\n'),
      );
    });
}

function describeTags(tags: ListedSecretEntry['tags']): string {
  if (tags === null) return 'does not open: see cambist doctor';
  return Object.entries(tags)
    .map(([name, value]) => `${name}=${value}`)
    .join(', ');
}

function addRemoveCommand(secret: Command, context: CliContext): void {
  secret
    .command('rm')
    .argument('<PATH>')
    .description('remove a secret that no upstream needs')
    .option('-y, --yes', 'do not ask')
    .addHelpText(
      'after',
      `
Refused while an upstream names the path; where one names it by a template, such as people/{subject}/github, it warns.
It asks first; where there is no terminal to ask at, --yes is needed. The third party still takes the key: revoke it
there too.

Examples:
  cambist secret rm github/bot
  cambist secret rm people/alice/github --yes`,
    )
    .action(async (path: string, options: { yes?: boolean }, command: Command) => {
      const { ask } = context.parts;
      if (options.yes !== true && ask === undefined)
        throw new CliFailure(EXIT.usage, 'usage', 'there is no terminal to ask at: say --yes if it is meant');
      const removed = await context.withOperations(command, async (operations) => {
        const planned = valueOf(await operations.removeSecret({ path, dryRun: true }));
        for (const warning of planned.warnings) context.note(command, `warning: ${warning}`);
        if (options.yes !== true && !/^y(es)?$/i.test((await ask?.(`Remove secret ${path}? [y/N] `)) ?? ''))
          return undefined;
        return valueOf(await operations.removeSecret({ path, dryRun: false }));
      });
      if (removed === undefined) throw new CliFailure(EXIT.failed, 'not_confirmed', 'nothing was changed');
      context.print(command, { path, removed: true, ...removed }, () => `Removed secret ${path}.`);
    });
}

function positiveInteger(text: string): number {
  const number = Number(text);
  if (Number.isSafeInteger(number) && number > 0) return number;
  throw new InvalidArgumentError('It must be a whole number above 0.');
}
