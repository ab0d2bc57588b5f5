/**
 * `cambist client`: the agents, servers and tools that authenticate here, and their secrets. A secret is made by the
 * service and goes into a file that only its owner can read; it is never printed. Secrets are listed and retired by id.
 */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { valueOf } from './context.ts';
import type { CliContext } from './context.ts';
import { count } from './failure.ts';
import { CLIENT_FIELDS } from './client-fields.ts';
import { addNounCommand } from './noun.ts';
import { openPrivateFile } from './private-file.ts';
import { table } from './output.ts';

export function addClientCommand(program: Command, context: CliContext): void {
  const client = addNounCommand(program, context, {
    kind: 'client',
    about: 'clients: the agents, MCP servers and tools that authenticate here',
    argument: 'ID',
    example: 'planner',
    disabling: 'refuse a client, and every token in whose chain it is',
    columns: { AUTH: (spec) => spec.auth.join(','), GRANTS: (spec) => spec.grants.join(',') },
    naming: (id) => ({ id }),
    fields: CLIENT_FIELDS,
    addExamples: [
      'cambist client add planner --auth client_secret_basic --grant token_exchange',
      'cambist client add notes-server --auth private_key_jwt --jwks-file notes-server.public.jwks.json',
      'cambist client add builder --auth workload_identity --identity cluster:system:serviceaccount:ci:builder',
      'cambist client add -f planner.yaml',
    ],
    next: (id, { auth }) =>
      Array.isArray(auth) && auth.some((method) => String(method).startsWith('client_secret'))
        ? `Make its secret: cambist client secret ${id} --out ${id}.secret`
        : undefined,
  });
  const secret = client
    .command('secret')
    .usage('<ID> --out <file> | list <ID> | retire <ID>')
    .description('make, list and retire the secrets of a client')
    .addHelpText(
      'after',
      `
Two secrets are valid at a time, so that a client can change over: make one, roll it out, retire the other; a third one
that is made retires the oldest.

Examples:
  cambist client secret planner --out ./planner.secret
  cambist client secret list planner
  cambist client secret retire planner --secret 01890a5d-ac96-774b-bcce-b302099a8057`,
    );
  addMakeCommand(secret, context);
  addListCommand(secret, context);
  addRetireCommand(secret, context);
}

function addMakeCommand(secret: Command, context: CliContext): void {
  secret
    .command('make', { isDefault: true })
    .argument('<ID>')
    .description('make a secret and write it to a file (0600); it cannot be read again. "make" may be left out')
    .requiredOption('--out <file>', 'where to write it; must not exist')
    .option('--force', 'replace the file if it exists')
    .addHelpText(
      'after',
      `
Two secrets are valid at a time; a third one that is made retires the oldest. The file holds the secret and nothing
else, not even a line break.

Example:
  cambist client secret planner --out ./planner.secret`,
    )
    .action(async (clientId: string, options: { out: string; force?: boolean }, command: Command) => {
      const path = resolve(context.parts.cwd, options.out);
      const file = openPrivateFile(path, options.force === true);
      try {
        const { secret: made, retired } = await context.withOperations(command, async (operations) =>
          valueOf(await operations.addClientSecret({ clientId })),
        );
        file.commit(made);
        const retirement = retired === 0 ? '' : `; ${count(retired, 'older secret')} stopped working`;
        context.print(
          command,
          { client_id: clientId, out: path, retired },
          () => `Wrote a new secret of ${clientId} to ${path} (0600)${retirement}.`,
        );
      } catch (error) {
        file.abandon();
        throw error;
      }
    });
}

function addListCommand(secret: Command, context: CliContext): void {
  secret
    .command('list')
    .argument('<ID>')
    .description('list the secrets of a client by their ids; the secrets themselves cannot be read')
    .addHelpText('after', '\nExample:\n  cambist client secret list planner')
    .action(async (clientId: string, _options: unknown, command: Command) => {
      const { secrets } = await context.withOperations(command, async (operations) =>
        valueOf(await operations.listClientSecrets({ clientId })),
      );
      context.print(command, secrets, () =>
        secrets.length === 0
          ? `${clientId} has no secret. Make one with: cambist client secret ${clientId} --out FILE`
          : table(
              ['SECRET', 'CREATED', 'STATE'],
              secrets.map(({ id, created_at, retired_at }) => [
                id,
                created_at,
                retired_at === null ? 'valid' : `retired ${retired_at}`,
              ]),
            ),
      );
    });
}

function addRetireCommand(secret: Command, context: CliContext): void {
  secret
    .command('retire')
    .argument('<ID>')
    .description('make a secret of a client worthless, or all of them')
    .option('--secret <id>', 'only this one, by its id (see: client secret list); otherwise every one of the client')
    .addHelpText(
      'after',
      `
In force with the next request, on every node. Tokens that were issued before stay valid until they expire; to refuse
those as well, disable the client.

Examples:
  cambist client secret retire planner --secret 01890a5d-ac96-774b-bcce-b302099a8057
  cambist client secret retire planner`,
    )
    .action(async (clientId: string, options: { secret?: string }, command: Command) => {
      const { retired } = await context.withOperations(command, async (operations) =>
        valueOf(await operations.retireClientSecrets({ clientId, secretId: options.secret })),
      );
      context.print(command, { client_id: clientId, retired }, () => {
        if (retired.length > 0)
          return `Retired ${count(retired.length, 'secret')} of ${clientId}: ${retired.join(', ')}.`;
        return options.secret === undefined
          ? `${clientId} has no valid secret.`
          : `Secret ${options.secret} of ${clientId} is retired already.`;
      });
    });
}
