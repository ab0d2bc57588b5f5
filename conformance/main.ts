/**
 * The command line of the conformance suite. Knows nothing of any product: it takes an issuer and a description of the
 * target, says what it is going to do, does it, and leaves reports and an exit code.
 *
 *   0  as expected        1  unexpected failures        2  stale expectations or skips that are not pinned
 *   3  wrong usage or configuration                     4  the target does not answer
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { keyInFile } from './issuer/keys.ts';
import { openOwnIssuer } from './issuer/own-issuer.ts';
import { reportOf } from './report/document.ts';
import { htmlReport } from './report/html.ts';
import { junitReport } from './report/junit.ts';
import { openTerminal } from './report/terminal.ts';
import { REQUIREMENTS, SCENARIOS } from './requirements/catalogue.ts';
import { compareBaseline, readBaseline, unknownIds } from './run/baseline.ts';
import type { Baseline } from './run/baseline.ts';
import { planRun, runPlan, TargetUnreachable } from './run/runner.ts';
import { PROFILES } from './scenarios/scenario.ts';
import type { Profile } from './scenarios/scenario.ts';
import { allSecrets, ConfigFault, readTargetConfig } from './target/config.ts';
import { HostRefused, openWire, refuseForeignHost } from './wire/http.ts';
import { openMasker } from './wire/mask.ts';

const EXIT = { asExpected: 0, failures: 1, stale: 2, usage: 3, unreachable: 4 } as const;

interface RunOptions {
  readonly config: string;
  readonly issuer?: string;
  readonly profile: readonly Profile[];
  readonly out?: string;
  readonly expectedFailures?: string;
  readonly skips?: string;
  readonly allowHost: readonly string[];
  readonly timeoutMs: number;
  readonly plan?: true;
}

function profilesOf(text: string): Profile[] {
  return text.split(',').map((name) => {
    const found = PROFILES.find((profile) => profile === name.trim());
    if (found === undefined) throw new InvalidArgumentError(`profiles are ${PROFILES.join(', ')}`);
    return found;
  });
}

function positiveInteger(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 100) throw new InvalidArgumentError('milliseconds, at least 100');
  return value;
}

function baselineOf(options: RunOptions): Baseline {
  const expected = options.expectedFailures === undefined ? undefined : readBaseline(options.expectedFailures);
  const skips = options.skips === undefined ? undefined : readBaseline(options.skips);
  const pinned = skips?.skips ?? expected?.skips;
  const baseline: Baseline = {
    expected_failures: expected?.expected_failures ?? [],
    ...(pinned === undefined ? {} : { skips: pinned }),
  };
  const unknown = unknownIds(baseline, new Set(REQUIREMENTS.map(({ id }) => id)));
  if (unknown.length > 0) throw new ConfigFault(`no such requirements: ${unknown.join(', ')}`);
  return baseline;
}

async function runSuite(options: RunOptions): Promise<number> {
  const config = readTargetConfig(options.config, process.env);
  const issuer = options.issuer ?? config.issuer;
  if (issuer === undefined) throw new ConfigFault('say --issuer URL, or put `issuer` into the configuration');
  refuseForeignHost(issuer, options.allowHost);
  const baseline = baselineOf(options);
  const plan = planRun(options.profile, { scenarios: SCENARIOS, requirements: REQUIREMENTS }, options.timeoutMs);
  const terminal = openTerminal((line) => {
    console.log(line);
  }, process.stdout.isTTY);
  terminal.plan(plan, issuer);
  if (options.plan === true) return EXIT.asExpected;
  const { suite } = config;
  const own =
    suite === undefined
      ? undefined
      : await openOwnIssuer({ listen: suite.listen, algorithm: suite.algorithm, keyFile: suite.key_file });
  const wire = openWire({ timeoutMs: options.timeoutMs, allowedHosts: options.allowHost });
  try {
    const outcome = await runPlan({
      config,
      issuer,
      plan,
      wire,
      own,
      onScenario: (scenario, judgements) => {
        terminal.scenario(scenario, judgements);
      },
    });
    const faults = compareBaseline(outcome.judgements, baseline);
    terminal.summary(outcome, faults);
    const report = reportOf(outcome, faults, openMasker(allSecrets(config)));
    if (options.out !== undefined) {
      mkdirSync(options.out, { recursive: true });
      writeFileSync(join(options.out, 'report.json'), `${JSON.stringify(report, null, 2)}\n`);
      writeFileSync(join(options.out, 'report.html'), htmlReport(report));
      writeFileSync(join(options.out, 'junit.xml'), junitReport(report));
      console.log(`Reports: ${join(options.out, 'report.html')}, report.json, junit.xml`);
    }
    if (faults.unexpected.length > 0) return EXIT.failures;
    const { stale, newSkips, goneSkips } = faults;
    return stale.length + newSkips.length + goneSkips.length > 0 ? EXIT.stale : EXIT.asExpected;
  } finally {
    await own?.close();
  }
}

async function guarded(work: () => Promise<number>): Promise<void> {
  try {
    process.exitCode = await work();
  } catch (error) {
    if (error instanceof ConfigFault || error instanceof HostRefused) process.exitCode = EXIT.usage;
    else if (error instanceof TargetUnreachable) process.exitCode = EXIT.unreachable;
    else throw error;
    console.error(error.message);
  }
}

const collect = (value: string, before: readonly string[]) => [...before, value];

const program = new Command('conformance')
  .description('Holds a token service against RFC 8693 and the standards around it, over HTTP')
  .exitOverride((fault) => {
    process.exit(fault.exitCode === 0 ? 0 : EXIT.usage);
  });

program
  .command('run', { isDefault: true })
  .description('Run the suite against a target')
  .requiredOption('--config <file>', 'description of the target, YAML or JSON')
  .option('--issuer <url>', 'issuer identifier of the target')
  .option('--profile <names>', `any of ${PROFILES.join(', ')}`, profilesOf, [...PROFILES])
  .option('--out <folder>', 'where report.html, report.json and junit.xml go')
  .option('--expected-failures <file>', 'failures that are known; stale ones fail the run')
  .option('--skips <file>', 'the pinned skips; others, or fewer, fail the run')
  .option('--allow-host <host>', 'a host beside loopback that may be tested', collect, [])
  .option('--timeout-ms <ms>', 'for one request', positiveInteger, 10_000)
  .option('--plan', 'say what would be done, and stop')
  .action((options: RunOptions) => guarded(() => runSuite(options)));

program
  .command('list')
  .description('List every requirement: id, level, scenario, sentence')
  .action(() => {
    for (const { id, level, scenario, sentence } of REQUIREMENTS)
      console.log([id, level, scenario, sentence].join('\t'));
  });

program
  .command('keygen <file>')
  .description('Make a signing key for a client (private JWK, kept if it exists) and print its public JWKS')
  .option('--alg <alg>', 'ES256, RS256, PS256 or EdDSA', 'ES256')
  .action(async (file: string, { alg }: { alg: string }) => {
    mkdirSync(dirname(file), { recursive: true });
    const key = await keyInFile(file, alg);
    console.log(JSON.stringify({ keys: [key.publicJwk] }, null, 2));
  });

await program.parseAsync();
