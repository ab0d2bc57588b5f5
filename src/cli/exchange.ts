/**
 * `cambist exchange`: one request at the token endpoint of a running server, as a client would make it, and its answer in
 * words. The token itself is shown only when asked for: it is good for whoever has it.
 */
import { resolve } from 'node:path';
import { Option } from 'commander';
import type { Command } from 'commander';
import type { CliContext } from './context.ts';
import { CliFailure, EXIT } from './failure.ts';
import { openPrivateFile } from './private-file.ts';
import { readSecret, refusedSecretOption } from './secret-input.ts';
import type { Credential, Presented, TokenAnswer, TokenQuestion } from './token-request.ts';

const TOKEN_TYPES = ['id_token', 'access_token', 'jwt'] as const;
type TokenType = (typeof TOKEN_TYPES)[number];

interface ExchangeOptions {
  readonly client: string;
  readonly secretFile?: string;
  readonly keyFile?: string;
  readonly assertionFile?: string;
  readonly kid?: string;
  readonly post?: boolean;
  readonly subjectTokenFile?: string;
  readonly subjectTokenType?: TokenType;
  readonly actorTokenFile?: string;
  readonly actorTokenType?: TokenType;
  readonly resource?: readonly string[];
  readonly audience?: readonly string[];
  readonly scope?: string;
  readonly requestedTokenType?: 'access_token' | 'credential';
  readonly issuer?: string;
  readonly out?: string;
  readonly raw?: boolean;
}

const collect = (text: string, before: readonly string[] = []): string[] => [...before, text];

export function addExchangeCommand(program: Command, context: CliContext): void {
  const exchange = program
    .command('exchange')
    .description('ask a running server for a token, as a client would, and show what it answers')
    .requiredOption('--client <id>', 'who asks')
    .option('--secret-file <file>', 'file with its secret; - is standard input')
    .option('--key-file <file>', 'file with its private key (JWK or PEM): it signs an assertion (private_key_jwt)')
    .option('--assertion-file <file>', 'file with a JWT of its platform (workload identity)')
    .option('--kid <kid>', 'with --key-file: the kid of the key, where the file does not say it')
    .option('--post', 'send the secret in the body (client_secret_post) instead of a header')
    .option('--subject-token-file <file>', 'for whom: their token; without it, a token of the client for itself')
    .addOption(
      new Option('--subject-token-type <type>', 'what it is (default: told from the token)').choices(TOKEN_TYPES),
    )
    .option('--actor-token-file <file>', 'who acts for them, where that is not the client itself')
    .addOption(
      new Option('--actor-token-type <type>', 'what it is (default: told from the token)').choices(TOKEN_TYPES),
    )
    .option('--resource <uri>', 'what for: URI of a resource, or of an upstream (repeatable)', collect)
    .option('--audience <name>', 'what for: name of a resource or upstream (repeatable)', collect)
    .option('--scope <scopes>', 'scopes, separated by spaces (default: the default scopes)')
    .addOption(
      new Option(
        '--requested-token-type <type>',
        'a token (the default), or the credential of an upstream itself',
      ).choices(['access_token', 'credential']),
    )
    .option('--issuer <url>', 'the server, by its issuer URL, instead of reading the settings')
    .option('--out <file>', 'write the token, or the credential, to this file (0600), which must not exist')
    .option('--raw', 'print the token and nothing else');
  for (const [flags, what, instead] of REFUSED) exchange.addOption(refusedSecretOption(flags, what, instead));
  exchange
    .addHelpText(
      'after',
      `
Secrets and tokens come from files or standard input, never from the command line. The endpoint is found through the
metadata of the issuer. With a subject token it is a token exchange (RFC 8693), without one client credentials.

Examples:
  cambist exchange --client planner --secret-file planner.secret --subject-token-file id-token.jwt \\
      --resource https://notes.example.com/mcp --scope "notes:read"
  cambist exchange --client planner --secret-file planner.secret --audience notes            # for itself
  cambist exchange --client notes-server --key-file notes-server.jwk --subject-token-file caller.jwt \\
      --resource https://files.example.com/mcp --issuer https://sts.example.com
  cambist exchange --client reports-server --secret-file reports.secret --subject-token-file caller.jwt \\
      --audience orders-db --requested-token-type credential --out ./orders-db.json
  curl -H "Authorization: Bearer $(cambist exchange --raw --client planner --secret-file planner.secret \\
      --audience notes)" https://notes.example.com/mcp`,
    )
    .action((options: ExchangeOptions, command: Command) => run(options, command, context));
}

const REFUSED = [
  ['--secret', 'a secret', '--secret-file'],
  ['--client-secret', 'a secret', '--secret-file'],
  ['--key', 'a key', '--key-file'],
  ['--assertion', 'an assertion', '--assertion-file'],
  ['--subject-token', 'a token', '--subject-token-file'],
  ['--actor-token', 'a token', '--actor-token-file'],
] as const;

async function run(options: ExchangeOptions, command: Command, context: CliContext): Promise<void> {
  const question = await questionOf(options, command, context);
  const path = options.out === undefined ? undefined : resolve(context.parts.cwd, options.out);
  const file = path === undefined ? undefined : openPrivateFile(path, false);
  try {
    const { askForToken } = await import('./token-request.ts');
    const answer = await askForToken(question);
    if (answer.status !== 200) throw refusalOf(answer);
    const { access_token: token, ...rest } = answer.body;
    if (typeof token !== 'string')
      throw new CliFailure(EXIT.failed, 'answer_invalid', 'the server answered 200 without an access_token');
    file?.commit(token);
    if (options.raw === true) {
      context.parts.out(`${token}\n`);
      return;
    }
    const said = { ...rest, request_id: answer.requestId ?? null };
    if (question.wantsCredential) showCredential(token, said, path, command, context);
    else await show(token, said, path, command, context);
  } catch (error) {
    file?.abandon();
    throw error;
  }
}

async function questionOf(options: ExchangeOptions, command: Command, context: CliContext): Promise<TokenQuestion> {
  const usage = (message: string) => new CliFailure(EXIT.usage, 'usage', message);
  const files = [
    options.secretFile,
    options.keyFile,
    options.assertionFile,
    options.subjectTokenFile,
    options.actorTokenFile,
  ];
  if (files.filter((file) => file === '-').length > 1) throw usage('standard input (-) can be read only once');
  if (options.raw === true && (options.out !== undefined || context.isJson(command)))
    throw usage('--raw prints the token and nothing else: leave out --out and --json');
  if (options.resource === undefined && options.audience === undefined)
    throw usage('say what the token is for: --resource URI, or --audience NAME');
  if (options.requestedTokenType === 'credential' && options.subjectTokenFile === undefined)
    throw usage('a credential is had with a token that was received: give --subject-token-file');
  if (options.subjectTokenFile === undefined && options.actorTokenFile !== undefined)
    throw usage('--actor-token-file says who acts for a subject: give --subject-token-file as well');
  const presented = async (
    file: string | undefined,
    type: TokenType | undefined,
    what: string,
  ): Promise<Presented | undefined> => {
    if (file === undefined) return undefined;
    const token = await readSecret(file, what, context, command);
    return { token, type: type ?? (await typeOf(token)) };
  };
  return {
    issuer: options.issuer ?? context.settings(command).issuer,
    clientId: options.client,
    credential: await credentialOf(options, command, context),
    subject: await presented(options.subjectTokenFile, options.subjectTokenType, 'a subject token'),
    actor: await presented(options.actorTokenFile, options.actorTokenType, 'an actor token'),
    resources: options.resource ?? [],
    audiences: options.audience ?? [],
    scope: options.scope,
    wantsCredential: options.requestedTokenType === 'credential',
  };
}

async function credentialOf(options: ExchangeOptions, command: Command, context: CliContext): Promise<Credential> {
  const { secretFile, keyFile, assertionFile } = options;
  const given = [secretFile, keyFile, assertionFile].filter((file) => file !== undefined).length;
  if (given !== 1)
    throw new CliFailure(
      EXIT.usage,
      'usage',
      'say how the client authenticates, in one way: --secret-file, --key-file or --assertion-file',
    );
  if (secretFile !== undefined) {
    const secret = await readSecret(secretFile, 'the secret', context, command);
    return { kind: options.post === true ? 'secret_post' : 'secret_basic', secret };
  }
  if (keyFile !== undefined)
    return { kind: 'key', text: await readSecret(keyFile, 'the private key', context, command), kid: options.kid };
  return { kind: 'assertion', assertion: await readSecret(assertionFile ?? '-', 'the assertion', context, command) };
}

/** RFC 9068 §2.1: an access token says so; what people sign in with does not. */
async function typeOf(token: string): Promise<TokenType> {
  const { decodeCompact, normalizeTyp } = await import('../tokens/compact.ts');
  const jwt = decodeCompact(token);
  return 'raw' in jwt && normalizeTyp(jwt.header.typ) === 'at+jwt' ? 'access_token' : 'id_token';
}

/** What a client reads, and where whoever runs the server reads more. */
function refusalOf({ status, requestId, body, retryAfter }: TokenAnswer): CliFailure {
  const { error, error_description: description } = body;
  const code = typeof error === 'string' && /^[a-z_]{1,64}$/.test(error) ? error : 'answer_invalid';
  const said = typeof description === 'string' ? `: ${description.slice(0, 500)}` : '';
  const later = retryAfter === undefined ? '' : ` Try again in ${retryAfter} s.`;
  const hint =
    requestId === undefined
      ? ' The answer has no Cambist-Request-Id: was it Cambist that answered?'
      : status === 401
        ? `\nRequest ${requestId}. Why a client could not authenticate stands in the log of the server, under that id.`
        : `\nRequest ${requestId}. Why, in full: cambist explain ${requestId}`;
  return new CliFailure(EXIT.failed, code, `refused with ${status} ${code}${said}${later}${hint}`, [], {
    status,
    request_id: requestId ?? null,
  });
}

/** Of a credential nothing is shown but what it is: it is none of our tokens, and all of it may be secret. */
function showCredential(
  credential: string,
  rest: Readonly<Record<string, unknown>> & { readonly request_id: string | null },
  path: string | undefined,
  command: Command,
  context: CliContext,
): void {
  const fields = fieldNamesOf(credential);
  const { expires_in: expiresIn, scope } = rest;
  context.print(command, { ...rest, fields, out: path ?? null }, () =>
    [
      `FETCHED  request ${rest.request_id ?? 'unknown'}`,
      `  credential  ${fields === null ? 'one value' : `JSON with ${fields.join(', ')}`}`,
      ...(typeof scope === 'string' ? [`  scope       ${scope}`] : []),
      ...(typeof expiresIn === 'number' ? [`  good for    ${expiresIn} s`] : []),
      path === undefined
        ? 'The credential itself is not shown: write it with --out FILE, or print it with --raw.'
        : `Wrote the credential to ${path} (0600).`,
    ].join('\n'),
  );
}

/** Names of the fields where there are several; `null`: the credential is one value. */
function fieldNamesOf(credential: string): string[] | null {
  try {
    const value: unknown = JSON.parse(credential);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.keys(value) : null;
  } catch {
    return null;
  }
}

async function show(
  token: string,
  rest: Readonly<Record<string, unknown>> & { readonly request_id: string | null },
  path: string | undefined,
  command: Command,
  context: CliContext,
): Promise<void> {
  const [{ decodeCompact }, { describeToken }, { nowSeconds, systemClock }] = await Promise.all([
    import('../tokens/compact.ts'),
    import('./token-view.ts'),
    import('../core/clock.ts'),
  ]);
  const jwt = decodeCompact(token);
  const readable = 'raw' in jwt;
  const decoded = readable ? { header: jwt.header, claims: jwt.unverifiedClaims } : { header: null, claims: null };
  context.print(command, { ...rest, ...decoded, out: path ?? null }, () =>
    [
      `ISSUED  request ${rest.request_id ?? 'unknown'}`,
      ...(readable
        ? describeToken(jwt, nowSeconds(systemClock))
        : ['The token is opaque: there is nothing to decode.']),
      path === undefined
        ? 'The token itself is not shown: write it with --out FILE, or print it with --raw.'
        : `Wrote the token to ${path} (0600).`,
    ].join('\n'),
  );
}
