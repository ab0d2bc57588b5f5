/**
 * `cambist decode`: a JWT in words. It believes nothing and says so; with `--verify` it holds the token against the keys
 * that its issuer publishes, with the code that the service itself uses.
 */
import type { Command } from 'commander';
import type { CliContext } from './context.ts';
import { CliFailure, EXIT } from './failure.ts';
import { readSecret } from './secret-input.ts';

interface DecodeOptions {
  readonly verify?: boolean;
  readonly issuer?: string;
  readonly audience?: string;
}

export function addDecodeCommand(program: Command, context: CliContext): void {
  program
    .command('decode')
    .argument('[file]', 'file that holds the token, or an answer of a token endpoint (default: -, standard input)')
    .description('show a JWT decoded, its times in words, and who acts for whom')
    .option('--verify', 'fetch the keys of its issuer and check signature and times; exit code 1 if it is not valid')
    .option('--issuer <url>', 'with --verify: it must be of this issuer')
    .option('--audience <uri>', 'with --verify: it must be meant for this audience')
    .addHelpText(
      'after',
      `
Without --verify nothing is checked: anybody can write such a token. With it, the issuer that the token itself names is
asked for its keys; name the one that you mean with --issuer. That a token is valid does not say that it was not revoked.

Examples:
  cambist decode token.jwt
  pbpaste | cambist decode
  cambist decode token.jwt --verify --issuer https://sts.example.com --audience https://notes.example.com/mcp`,
    )
    .action(async (file: string | undefined, options: DecodeOptions, command: Command) => {
      if (options.verify !== true && (options.issuer !== undefined || options.audience !== undefined))
        throw new CliFailure(EXIT.usage, 'usage', '--issuer and --audience are checked with --verify only: add it');
      const token = tokenIn(await readSecret(file ?? '-', 'the token', context, command));
      const [{ decodeCompact }, { isFault }, view, { nowSeconds, systemClock }] = await Promise.all([
        import('../tokens/compact.ts'),
        import('../tokens/fault.ts'),
        import('./token-view.ts'),
        import('../core/clock.ts'),
      ]);
      const jwt = decodeCompact(token);
      if (isFault(jwt))
        throw new CliFailure(
          EXIT.failed,
          'token_unreadable',
          `this cannot be read as a token: ${view.describeFault(jwt)}`,
        );
      const now = nowSeconds(systemClock);
      const verdict =
        options.verify === true ? await (await import('./token-verify.ts')).verifyToken(jwt, options, now) : undefined;
      const { header, unverifiedClaims: claims } = jwt;
      context.print(command, { verified: verdict?.valid ?? null, why: verdict?.why ?? null, header, claims }, () =>
        [
          verdict === undefined
            ? 'NOT VERIFIED: anybody could have written this. To check it: cambist decode --verify'
            : `${verdict.valid ? 'VALID' : 'INVALID'}: ${verdict.why}`,
          ...view.describeToken(jwt, now),
        ].join('\n'),
      );
      if (verdict?.valid === false)
        throw new CliFailure(EXIT.failed, 'token_invalid', `the token is not valid: ${verdict.why}`);
    });
}

/** The token of a file that holds it, a header line of it, or the JSON that a token endpoint answered. */
function tokenIn(text: string): string {
  if (text.startsWith('{'))
    try {
      const { access_token: token } = JSON.parse(text) as { access_token?: unknown };
      if (typeof token === 'string') return token;
    } catch {
      // Not an answer: judged as a token below.
    }
  return text.replace(/^(Authorization:\s*)?Bearer\s+/i, '');
}
