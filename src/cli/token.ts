/**
 * `cambist token`: what was issued, made worthless before its time. The help says what each aim hits, and that revoking
 * is not disabling: at three in the morning it is the only manual.
 */
import { Option } from 'commander';
import type { Command } from 'commander';
import type { Revoked, RevokeArguments } from '../admin/revocation-operations.ts';
import { tokenIdentity } from '../tokens/claims.ts';
import { decodeCompact } from '../tokens/compact.ts';
import { isFault } from '../tokens/fault.ts';
import type { RevocationKind } from '../tokens/revocation.ts';
import { valueOf } from './context.ts';
import type { CliContext } from './context.ts';
import { CliFailure, EXIT, count } from './failure.ts';
import { readTextInput } from './objects-input.ts';
import { table } from './output.ts';

/** The aims that are options with a value. */
const AIMS = ['jti', 'token-file', 'subject', 'actor', 'client', 'resource', 'issuer', 'key', 'all'] as const;

interface RevokeOptions {
  readonly jti?: string;
  readonly tokenFile?: string;
  readonly subject?: string;
  readonly actor?: string;
  readonly client?: string;
  readonly resource?: string;
  readonly issuer?: string;
  readonly key?: string;
  readonly all?: boolean;
  readonly issuedBefore?: string;
}

export function addTokenCommand(program: Command, context: CliContext): void {
  const token = program.command('token').description('make issued tokens worthless, and see what was');
  addRevokeCommand(token, context);
  token
    .command('revocations')
    .description('list what was revoked and can still hit a living token; persons stand there as digests')
    .addHelpText('after', '\nExamples:\n  cambist token revocations\n  cambist token revocations --json')
    .action(async (_options: unknown, command: Command) => {
      const listed = await context.withOperations(command, async (operations) =>
        valueOf(await operations.listRevocations({})),
      );
      context.print(command, listed, () =>
        [
          `${count(listed.tokens.length, 'living token')} revoked, or exchanged from one that was.`,
          ...(listed.clients_with_more.length === 0
            ? []
            : [`Too many to count, of these clients: ${listed.clients_with_more.join(', ')}.`]),
          listed.predicates.length === 0
            ? 'Nothing else is revoked.'
            : table(
                ['KIND', 'VALUE', 'ISSUED UNTIL'],
                listed.predicates.map(({ kind, value, issued_until: until }) => [kind, value, until ?? 'whenever']),
              ),
        ].join('\n'),
      );
    });
}

function addRevokeCommand(token: Command, context: CliContext): void {
  token
    .command('revoke')
    .description('revoke one token and all that was exchanged from it, or everything of an aim')
    .option('--jti <jti>', 'one token, by its jti (see: cambist explain)')
    .option('--token-file <file>', 'one token, ours or of a trusted issuer; - is standard input')
    .option('--subject <issuer:sub>', 'tokens about somebody, and the sign-ins that they came from')
    .option('--actor <issuer:sub>', 'tokens in whose chain somebody is; a client by its id')
    .option('--client <id>', 'tokens that a client asked for, or is subject or actor of')
    .option('--resource <name>', 'tokens for a resource or an upstream, by name or URI')
    .option('--issuer <name>', 'what a trusted issuer vouched for')
    .option('--key <kid>', 'tokens signed with one of our keys (to stop the key as well: cambist keys taint)')
    .option('--all', 'every token')
    .addOption(new Option('--issued-before <time>', 'only what was issued before, such as 2026-11-23T14:02:00Z'))
    .addHelpText(
      'after',
      `
In force with the next request on every node, and within 6 seconds at servers that verify offline and read the
revocation document. It cuts what was issued until now: whoever signs in again, or authenticates again, gets new tokens.
What was removed, or had another URI or iss, goes by the names that it had. To stop new tokens as well, disable the
object:

  cambist client disable planner         no more tokens for it, and none in whose chain it is
  cambist subject disable corp:alice     nobody acts for her any more

Examples:
  cambist token revoke --jti 412e005e-44be-4b81-8c18-6bbaa2d6a674
  cambist token revoke --subject corp:alice
  cambist token revoke --client planner --issued-before 2026-11-23T14:02:00Z
  cambist token revoke --all`,
    )
    .action(async (options: RevokeOptions, command: Command) => {
      const args = await argumentsOf(options, command, context);
      const revoked = await context.withOperations(command, async (operations) =>
        valueOf(await operations.revoke(args)),
      );
      context.print(command, revoked, () => describe(revoked));
    });
}

function describe({ kind, issued_until: until, offline_within_seconds: seconds }: Revoked): string {
  const what = kind === 'token' ? 'The token and all that was exchanged from it' : `By ${kind}, what was issued`;
  const when = until === null ? '' : ` up to ${until}`;
  return `Revoked. ${what}${when} is refused from now on here, and within ${seconds} s at servers that verify offline.`;
}

/** Exactly one aim: two would have to mean "both" to one reader and "either" to the next. */
async function argumentsOf(options: RevokeOptions, command: Command, context: CliContext): Promise<RevokeArguments> {
  const { jti, tokenFile, issuedBefore, all, ...named } = options;
  const given = Object.entries({ ...named, jti, tokenFile, all }).filter(([, value]) => value !== undefined);
  if (given.length !== 1)
    throw new CliFailure(EXIT.usage, 'usage', `give exactly one of ${AIMS.map((aim) => `--${aim}`).join(', ')}`);
  const before = issuedBefore === undefined ? {} : { issuedBefore };
  if (all === true) return { by: 'all', ...before };
  if (jti !== undefined) return { by: 'token', value: jti, ...before };
  if (tokenFile !== undefined) return { by: 'token', value: await identityOf(tokenFile, command, context), ...before };
  const [[by, value] = ['all', '']] = given;
  return { by: by as RevocationKind, value: String(value), ...before };
}

/** How the token of a file is named where tokens are remembered; its signature is not looked at: nobody else has that name. */
async function identityOf(file: string, command: Command, context: CliContext): Promise<string> {
  const text = await readTextInput(file, context.parts);
  const jwt = decodeCompact(text.trim());
  if (isFault(jwt))
    throw new CliFailure(
      EXIT.failed,
      'token_malformed',
      `${file} holds no signed JWT: give the token itself, nothing else`,
    );
  const { iss, jti } = jwt.unverifiedClaims;
  if (typeof iss !== 'string') throw new CliFailure(EXIT.failed, 'token_malformed', `the token in ${file} has no iss`);
  return iss === context.settings(command).issuer && typeof jti === 'string'
    ? jti
    : tokenIdentity(iss, jwt.unverifiedClaims);
}
