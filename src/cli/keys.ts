/**
 * `cambist keys`: signing keys seen, changed, and stopped; and the change of the key-encryption key. The help says when
 * to use which: at three in the morning it is the only manual.
 */
import { Option } from 'commander';
import type { Command } from 'commander';
import type { ListedKey, RotatingKey } from '../admin/key-operations.ts';
import type { Operations } from '../admin/operations.ts';
import { PURPOSE_NAMES } from '../keys/purposes.ts';
import type { KeyPurpose } from '../keys/purposes.ts';
import { valueOf } from './context.ts';
import type { CliContext } from './context.ts';
import { CliFailure, EXIT, count } from './failure.ts';
import { table } from './output.ts';

const POLL_MS = 500;
/** The floor is 5 s; a database that is slow may need longer, one that does not answer ends the command by itself. */
const ACTIVATION_TIMEOUT_MS = 60_000;

export function addKeysCommand(program: Command, context: CliContext): void {
  const keys = program
    .command('keys')
    .description('signing keys, and the key that encrypts what is in the database')
    .addHelpText(
      'after',
      `
A signing key is next (published, does not sign yet), active (signs), retired (does not sign; published until the last
token that it signed has expired), then deleted; or tainted (trusted by nobody any more). The service makes, activates
and deletes keys by itself (settings "keys"); commands are for when you cannot wait.

  a key may have leaked            cambist keys taint KID
  change keys without any harm     cambist keys rotate
  after a change of the KEK        cambist keys rewrap

Examples:
  cambist keys list
  cambist keys rotate --now
  cambist keys taint zJ2cQ0m5dVdBqK2bZC3pS8u4i0m7C5vNq7nKx4vT6fE`,
    );
  addListCommand(keys, context);
  addRotateCommand(keys, context);
  addTaintCommand(keys, context);
  addRewrapCommand(keys, context);
}

function addListCommand(keys: Command, context: CliContext): void {
  keys
    .command('list')
    .description('list every signing key and its state')
    .addHelpText('after', '\nExamples:\n  cambist keys list\n  cambist keys list --json')
    .action(async (_options: unknown, command: Command) => {
      const { keys: listed } = await context.withOperations(command, async (operations) =>
        valueOf(await operations.listKeys({})),
      );
      context.print(command, listed, () => describeKeys(listed));
    });
}

function describeKeys(keys: readonly ListedKey[]): string {
  const since = ({ state, activated_at: activatedAt, created_at: createdAt, signs_at: signsAt, ...key }: ListedKey) => {
    if (state === 'next') return signsAt === null ? `made ${createdAt}` : `signs from ${signsAt}`;
    if (state === 'active') return `since ${activatedAt ?? createdAt}`;
    return `deleted after ${key.deleted_after ?? ''}`;
  };
  return table(
    ['KID', 'PURPOSE', 'ALGORITHM', 'STATE', 'TIME'],
    keys.map((key) => [key.kid, key.purpose, key.algorithm, key.state, since(key)]),
  );
}

function addRotateCommand(keys: Command, context: CliContext): void {
  keys
    .command('rotate')
    .description('replace signing keys; every token that was issued stays valid')
    .addOption(new Option('--purpose <purpose>', 'whose keys').choices(PURPOSE_NAMES).default('access-token'))
    .option('--algorithm <algorithm>', 'of one algorithm only, such as ES256')
    .option('--now', 'do not wait until verifiers that cache our keys had time to see the new ones')
    .addHelpText(
      'after',
      `
Publishes the next keys, where there are none, and lets them sign after keys.publish_ahead_seconds (a day by default).
With --now they sign as soon as every node of Cambist knows them, about 5 s later; the command waits for that, and may be
broken off: the service goes on with it. Servers that look our keys up again when they meet an unknown "kid" notice
nothing; those that only read them now and then refuse new tokens until they do.

If a key may be known to somebody, rotating is not enough: use taint.

Examples:
  cambist keys rotate
  cambist keys rotate --now
  cambist keys rotate --purpose revocation-document --now`,
    )
    .action(async (options: RotateOptions, command: Command) => {
      const rotated = await context.withOperations(command, async (operations) => {
        const { purpose, algorithm, now = false } = options;
        const { keys: asked } = valueOf(await operations.rotateKeys({ purpose, algorithm, now }));
        const note = (text: string) => {
          context.note(command, text);
        };
        return now ? untilActive(operations, asked, note) : asked;
      });
      context.print(command, rotated, () => describeRotation(rotated));
    });
}

interface RotateOptions {
  readonly purpose: KeyPurpose;
  readonly algorithm?: string;
  readonly now?: boolean;
}

async function untilActive(
  operations: Operations,
  asked: readonly RotatingKey[],
  note: (text: string) => void,
): Promise<readonly RotatingKey[]> {
  const deadlineMs = Date.now() + ACTIVATION_TIMEOUT_MS;
  let keys = asked;
  let told = -1;
  while (keys.some(({ state }) => state === 'next')) {
    if (Date.now() > deadlineMs)
      throw new CliFailure(
        EXIT.failed,
        'not_activated',
        'the next keys are published and asked for, but do not sign yet; the service goes on with it: look with cambist keys list',
      );
    const waitSeconds = Math.max(...keys.map(({ wait_seconds: seconds }) => seconds));
    if (waitSeconds !== told) note(`published; every node learns of it; signs in ${waitSeconds} s`);
    told = waitSeconds;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    keys = valueOf(await operations.activateKeys({ kids: asked.map(({ kid }) => kid) })).keys;
  }
  return keys;
}

function describeRotation(keys: readonly RotatingKey[]): string {
  if (keys.length === 0) return 'Another node has just rotated these keys: there is nothing left to do.';
  return keys
    .map(({ kid, purpose, algorithm, state, signs_at: signsAt }) =>
      state === 'next'
        ? `${purpose} ${algorithm}: ${kid} is published and signs from ${signsAt ?? 'when it is known to every node'}.`
        : `${purpose} ${algorithm}: ${kid} is ${state}.`,
    )
    .join('\n');
}

function addTaintCommand(keys: Command, context: CliContext): void {
  keys
    .command('taint')
    .argument('<KID>')
    .description('stop a signing key that may have leaked: everything that it signed is refused, at once and for good')
    .addHelpText(
      'after',
      `
In one step: the key leaves the JWKS, its private half is erased, another key signs, and every token that it signed is
revoked. Nodes of Cambist refuse such tokens with their next request; servers that follow the revocation document within
seconds; others when they read the JWKS again (300 s). Clients get new tokens as usual: ask for them again.

Nothing brings a tainted key back. "cambist keys list" names the keys; the "kid" in the header of a token names the one
that signed it (cambist decode).

Example:
  cambist keys taint zJ2cQ0m5dVdBqK2bZC3pS8u4i0m7C5vNq7nKx4vT6fE`,
    )
    .action(async (kid: string, _options: unknown, command: Command) => {
      const { changed, replaced_by: replacedBy } = await context.withOperations(command, async (operations) =>
        valueOf(await operations.taintKey({ kid })),
      );
      context.print(command, { kid, changed, replaced_by: replacedBy }, () => {
        if (!changed) return `${kid} is tainted already.`;
        return replacedBy === null ? `${kid} is tainted.` : `${kid} is tainted. ${replacedBy} signs from now on.`;
      });
    });
}

interface RewrapTally {
  rewrapped: number;
  unreadable: number;
}

function addRewrapCommand(keys: Command, context: CliContext): void {
  keys
    .command('rewrap')
    .description('encrypt everything in the database anew under the current key-encryption key')
    .addHelpText(
      'after',
      `
To change the key-encryption key without stopping:
  1. Make one: openssl rand -base64 32. Add it to previous_key_encryption_keys on every node, one node after another:
     from then on each of them opens what the others will encrypt.
  2. Make it key_encryption_key on every node, and the old one an entry of previous_key_encryption_keys.
  3. Run: cambist keys rewrap. It may be broken off and run again.
  4. When it says that nothing is left under other keys, remove the old one from the settings, and destroy it once no
     backup that you would restore needs it.

A Transit key of Vault (key_encryption.transit) takes the place of key_encryption_key, and key_encryption.previous_transit
that of the entry, in the same steps. Where the Transit key was rotated at Vault, run it too: its newest version then wraps
what the older one did.

Exit code 1 when something is left under other keys.

Example:
  cambist keys rewrap`,
    )
    .action(async (_options: unknown, command: Command) => {
      const done = await context.withOperations(command, async (operations) => {
        const tally: RewrapTally = { rewrapped: 0, unreadable: 0 };
        await rewrapAll(operations, tally, (text) => {
          context.note(command, text);
        });
        const { columns } = valueOf(await operations.countSealed({}));
        return { ...tally, left: columns.reduce((sum, { left }) => sum + left, 0), columns };
      });
      const { rewrapped, left, unreadable, columns } = done;
      context.print(command, done, () =>
        [
          `Encrypted ${count(rewrapped, 'value')} anew; ${left} left under other keys.`,
          table(
            ['TABLE', 'COLUMN', 'VALUES', 'LEFT'],
            columns.map((column) => [column.table, column.column, String(column.sealed), String(column.left)]),
          ),
        ].join('\n'),
      );
      if (left === 0) return;
      const reason =
        unreadable > 0
          ? `${count(unreadable, 'value')} cannot be opened with the keys that are given: add the key that they were encrypted under to previous_key_encryption_keys, or name it in key_encryption.previous_transit`
          : 'a node still encrypts under another key: give every node the current key_encryption_key (or key_encryption.transit), then run this again';
      throw new CliFailure(EXIT.failed, 'left_under_other_keys', reason);
    });
}

async function rewrapAll(operations: Operations, tally: RewrapTally, note: (text: string) => void): Promise<void> {
  let step = valueOf(await operations.rewrapKeys({}));
  for (;;) {
    tally.rewrapped += step.rewrapped;
    tally.unreadable += step.unreadable;
    if (step.rewrapped > 0) note(`${count(tally.rewrapped, 'value')} encrypted anew`);
    if (step.next === null) return;
    step = valueOf(await operations.rewrapKeys({ position: step.next }));
  }
}
