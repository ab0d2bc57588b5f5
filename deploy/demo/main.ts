/**
 * `npm start`, once everything is built: starts the demo company, runs the show, and keeps serving until Ctrl-C with
 * lines to paste. `--once` stops after the show.
 */
import { CALENDAR, ID_TOKEN_LIFETIME_SECONDS, PLACES, secretFile, startCompany } from './company.ts';
import type { Company } from './company.ts';
import { NOTES, show } from './show.ts';
import type { Shown } from './show.ts';
import { openTerminal } from './terminal.ts';
import type { Terminal } from './terminal.ts';

/** npm passes Ctrl-C on to a process that already had it from the terminal: what follows so soon is the same one. */
const SAME_INTERRUPT_MS = 1000;
const REFRESH_MS = (ID_TOKEN_LIFETIME_SECONDS * 1000) / 3;

/** Runs the demo with its data in the working folder. Sets the exit code; resolves when everything has stopped. */
export async function runDemo(args: readonly string[]): Promise<void> {
  const terminal = openTerminal(process.stdout, process.env);
  const interruption = watchInterrupts();
  let company: Company | undefined;
  try {
    terminal.line(terminal.dim('Starting the demo company ...'));
    company = await startCompany();
    interruption.onSecond = company.cambist.kill;
    await Promise.race([perform(company, args.includes('--once'), terminal), interruption.first]);
  } catch (error) {
    terminal.line(terminal.bad(error instanceof Error ? error.message : String(error)));
    process.exitCode = 1;
  } finally {
    interruption.begun = true;
    if (company !== undefined) {
      terminal.line(terminal.dim('Stopping; requests in flight are finished first.'));
      await company.stop();
    }
    interruption.forget();
  }
}

/** The show, then serving: resolves after the show with `once`, else never; rejects when Cambist ends by itself. */
async function perform(company: Company, once: boolean, terminal: Terminal): Promise<void> {
  introduce(company, terminal);
  const shown = await show(company, terminal);
  if (once) return;
  invite(company, shown, terminal);
  const refresh = setInterval(() => {
    company.signAdaIn().catch((error: unknown) => {
      terminal.line(`Ada's ID token could not be renewed: ${String(error)}`);
    });
  }, REFRESH_MS);
  await company.cambist.ended;
  clearInterval(refresh);
  throw new Error(`Cambist has ended by itself; its log is ${PLACES.log}`);
}

function introduce(company: Company, { line, bold, dim }: Terminal): void {
  const { provider, cambist, first } = company;
  line(
    `${bold('Cambist')} at ${cambist.issuer} ${dim(`(embedded database and key in ${PLACES.data}/, `)}${dim(first ? 'new)' : 'as left last time)')}`,
  );
  line(`  trusts     corp, the company's identity provider at ${provider.issuer}, where Ada can sign in`);
  line('  agents     travel-agent, notes-agent');
  line(`  servers    calendar ${CALENDAR}    notes ${NOTES}`);
  line('  upstream   calendar-api, which wants a key: it is in the embedded secret store');
  line(dim('  All of it is for show, from deploy/demo/company.yaml; the secrets were made in this clone.'));
  line();
}

function invite({ cambist }: Company, shown: Shown, { line, bold, dim }: Terminal): void {
  const curl = (resource: string, scope: string): void => {
    line(`  curl -si ${cambist.issuer}/oauth2/token -u "travel-agent:$(cat ${secretFile('travel-agent')})" \\`);
    line('    -d grant_type=urn:ietf:params:oauth:grant-type:token-exchange \\');
    line('    -d subject_token_type=urn:ietf:params:oauth:token-type:id_token \\');
    line(`    --data-urlencode subject_token@${PLACES.idToken} \\`);
    line(`    -d resource=${resource} -d scope=${scope}`);
  };
  line(`${bold('Now you')} ${dim("(in another terminal, in this folder; Ada's ID token is renewed while this runs)")}`);
  curl(CALENDAR, 'calendar:read');
  line(dim('  # refused; then ask why, with the Cambist-Request-Id of the answer:'));
  curl(NOTES, 'notes:read');
  line(`  node dist/src/main.js explain ${shown.denied}`);
  line(dim('  # who stood behind the request that got the key:'));
  line(`  node dist/src/main.js explain ${shown.called}`);
  line(`  curl -s ${cambist.issuer}/.well-known/oauth-authorization-server`);
  line();
  line('Serving until Ctrl-C.');
}

interface Interruption {
  readonly first: Promise<void>;
  /** Set when stopping has begun for another reason: then the first signal is already a second one. */
  begun: boolean;
  onSecond: () => void;
  forget(): void;
}

/** Ctrl-C (or SIGTERM, or a closed terminal) stops in order; a second one does not wait. */
function watchInterrupts(): Interruption {
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  let resolveFirst: () => void = () => undefined;
  const interruption: Interruption = {
    first: new Promise((resolve) => {
      resolveFirst = resolve;
    }),
    begun: false,
    onSecond: () => undefined,
    forget: () => {
      for (const signal of signals) process.off(signal, onSignal);
    },
  };
  let lastMs = 0;
  function onSignal(): void {
    if (Date.now() - lastMs < SAME_INTERRUPT_MS) return;
    lastMs = Date.now();
    if (interruption.begun) {
      interruption.onSecond();
      process.exit(130);
    }
    interruption.begun = true;
    resolveFirst();
  }
  for (const signal of signals) process.on(signal, onSignal);
  return interruption;
}
