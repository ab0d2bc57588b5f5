/**
 * `cambist doctor`: everything that can be wrong between here, the database, each trusted issuer and the clock, each with
 * its fix. Changes nothing. What of it needs the database is asked of a running embedded server, or found out here.
 */
import type { Command } from 'commander';
import type { Finding } from '../admin/doctor/findings.ts';
import type { Settings } from '../config/settings.ts';
import { valueOf } from './context.ts';
import type { CliContext, GlobalOptions } from './context.ts';
import { CliFailure, EXIT, count } from './failure.ts';
import { printable } from './output.ts';

const PROGRESS_MS = 1000;

export function addDoctorCommand(program: Command, context: CliContext): void {
  program
    .command('doctor')
    .description('look for everything that can be wrong, and say how to mend it; changes nothing')
    .addHelpText(
      'after',
      `
Looks at the settings and the files that they name, the listeners and their certificates, the public URL, the database
(version, roles, connections, clock), the key-encryption key, the signing keys, each trusted issuer (metadata, keys,
algorithms, clock), Vault (address, certificate, seal, login, policies, leases, clock), and objects that cannot work or
concern nobody. It reads what upstreams name at Vault, and where one needs leases it makes a token for one and ends it
again. Each check ends within 10 seconds.

Exit codes: 0 nothing is wrong (there may be warnings), 1 something is.

Examples:
  cambist doctor
  cambist doctor --json | jq '.findings[] | select(.health != "ok")'`,
    )
    .action(async (_options: unknown, command: Command) => {
      const findings = await findAll(context, command);
      const wrong = findings.filter(({ health }) => health === 'failed').length;
      context.print(command, { healthy: wrong === 0, findings }, () => describe(findings));
      if (wrong > 0) throw new CliFailure(EXIT.failed, 'not_healthy', `${count(wrong, 'thing')} to mend`);
    });
}

async function findAll(context: CliContext, command: Command): Promise<readonly Finding[]> {
  let settings: Settings;
  try {
    settings = context.settings(command);
  } catch (error) {
    if (!(error instanceof CliFailure) || error.faults.length === 0) throw error;
    const { formatFault } = await import('../admin/fault.ts');
    return error.faults.map((fault) => ({
      noun: 'settings',
      name: fault.path,
      health: 'failed',
      message: formatFault({ ...fault, fix: undefined }),
      fix: fault.fix ?? 'correct it; docs/configuration.md',
    }));
  }
  let saidAtMs = performance.now();
  const onDone = (done: number, of: number) => {
    if (performance.now() - saidAtMs < PROGRESS_MS) return;
    saidAtMs = performance.now();
    context.note(command, `${done} of ${count(of, 'check')} done`);
  };
  const [around, within] = await Promise.all([
    lookAround(context, command, settings),
    lookWithin(context, command, settings, onDone),
  ]);
  return [...around, ...within];
}

async function lookAround(context: CliContext, command: Command, settings: Settings): Promise<readonly Finding[]> {
  const [{ surroundingsChecks }, { runChecks }, { createFetcher }, { systemClock }, { createLogger }] =
    await Promise.all([
      import('./doctor-surroundings.ts'),
      import('../admin/doctor/findings.ts'),
      import('../net/fetcher.ts'),
      import('../core/clock.ts'),
      import('../core/log.ts'),
    ]);
  const fetcher = createFetcher({ clock: systemClock, logger: createLogger('silent') });
  try {
    const secretFiles = [...(await secretFilesOf(context, command)), ...vaultFilesOf(settings)];
    return await runChecks(surroundingsChecks({ settings, fetcher, secretFiles }));
  } finally {
    await fetcher.close();
  }
}

/** The files that hold secrets, as the settings name them. */
async function secretFilesOf({ parts }: CliContext, command: Command): Promise<string[]> {
  const { loadSettings } = await import('../config/settings.ts');
  const { config } = command.optsWithGlobals<GlobalOptions>();
  const files: string[] = [];
  loadSettings({ configFile: config, env: parts.env, cwd: parts.cwd, onSecretFile: (file) => files.push(file) });
  return files;
}

/** Files that a login at Vault reads by itself; the token of a pod belongs to the kubelet. */
function vaultFilesOf({ vault }: Settings): string[] {
  if (vault?.login.method === 'token_file') return [vault.login.file];
  return vault?.login.method === 'approle' && 'file' in vault.login.secretId ? [vault.login.secretId.file] : [];
}

async function lookWithin(
  context: CliContext,
  command: Command,
  settings: Settings,
  onDone: (done: number, of: number) => void,
): Promise<readonly Finding[]> {
  const { database } = settings;
  const { isSocketAlive } = await import('../http/local.ts');
  if (database.kind === 'embedded' && (await isSocketAlive(database.socketPath)))
    return context.withOperations(command, async (operations) => valueOf(await operations.examine({})).findings);
  return context.parts.examine(settings, onDone);
}

const SIGNS = { ok: 'ok     ', warning: 'warning', failed: 'FAILED ' } as const;

function describe(findings: readonly Finding[]): string {
  const lines = findings.flatMap(({ noun, name, health, message, fix }) => {
    const line = `${SIGNS[health]}  ${noun} ${name}: ${message}`;
    return health === 'ok' || fix === undefined ? [line] : [line, `           fix: ${fix}`];
  });
  const numberOf = (health: Finding['health']) => findings.filter((one) => one.health === health).length;
  const summary = `${count(numberOf('ok'), 'check')} well, ${count(numberOf('warning'), 'warning')}, ${numberOf('failed')} failed`;
  return [...lines.map((line) => printable(line).replaceAll('\n', ' ')), summary].join('\n');
}
