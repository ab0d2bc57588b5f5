/**
 * The commands of the conformance suite. Knows nothing of any product: it takes an issuer and a description of the
 * target, says what it is going to do, does it, and leaves reports and an exit code.
 *
 *   0  as expected        1  unexpected failures        2  stale expectations or skips that are not pinned
 *   3  wrong usage or configuration                     4  the target does not answer
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, CommanderError, InvalidArgumentError } from 'commander';
import { keyInFile } from './issuer/keys.ts';
import { openOwnIssuer } from './issuer/own-issuer.ts';
import { reportOf } from './report/document.ts';
import type { Report, ReportEntry } from './report/document.ts';
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

/** Where a command writes its lines. */
export interface Output {
  readonly write: (line: string) => void;
  readonly coloured: boolean;
}

interface RunOptions {
  readonly config: string;
  readonly issuer?: string;
  readonly profile: readonly Profile[];
  readonly out?: string;
  readonly results?: string;
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

async function runSuite(options: RunOptions, output: Output): Promise<number> {
  const config = readTargetConfig(options.config, process.env);
  const issuer = options.issuer ?? config.issuer;
  if (issuer === undefined) throw new ConfigFault('say --issuer URL, or put `issuer` into the configuration');
  refuseForeignHost(issuer, options.allowHost);
  const baseline = baselineOf(options);
  const plan = planRun(options.profile, { scenarios: SCENARIOS, requirements: REQUIREMENTS }, options.timeoutMs);
  const terminal = openTerminal(output.write, output.coloured);
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
      output.write(`Reports: ${join(options.out, 'report.html')}, report.json, junit.xml`);
    }
    if (options.results !== undefined)
      writeFileSync(options.results, `${JSON.stringify(withoutGoodEvidence(report), null, 1)}\n`);
    if (faults.unexpected.length > 0) return EXIT.failures;
    const { stale, newSkips, goneSkips } = faults;
    return stale.length + newSkips.length + goneSkips.length > 0 ? EXIT.stale : EXIT.asExpected;
  } finally {
    await own?.close();
  }
}

/** The report with requests and answers only where something is wrong: small enough to keep beside the code. */
function withoutGoodEvidence(report: Report): Report {
  const wrong = ({ verdict }: ReportEntry) => verdict === 'fail' || verdict === 'warn';
  const requirements = report.requirements.map((one) =>
    wrong(one) ? { ...one, evidence: one.evidence.slice(0, 1) } : { ...one, evidence: [] },
  );
  return { ...report, requirements };
}

async function guarded(work: () => Promise<number>, output: Output): Promise<number> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    if (error instanceof TargetUnreachable) output.write(error.message);
    else if (error instanceof ConfigFault || error instanceof HostRefused) output.write(error.message);
    else throw error;
    return error instanceof TargetUnreachable ? EXIT.unreachable : EXIT.usage;
  }
}

const collect = (value: string, before: readonly string[]) => [...before, value];

/** Runs one command, `argv` without the program's name, and returns its exit code. */
export async function commandLine(argv: readonly string[], output: Output): Promise<number> {
  let exitCode: number = EXIT.asExpected;
  const program = new Command('conformance')
    .description('Holds a token service against RFC 8693 and the standards around it, over HTTP')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => {
        output.write(text.trimEnd());
      },
      writeErr: (text) => {
        output.write(text.trimEnd());
      },
    });
  addRun(program, async (options) => {
    exitCode = await guarded(() => runSuite(options, output), output);
  });
  program
    .command('list')
    .description('List every requirement: id, level, scenario, sentence')
    .action(() => {
      for (const { id, level, scenario, sentence } of REQUIREMENTS)
        output.write([id, level, scenario, sentence].join('\t'));
    });
  program
    .command('keygen <file>')
    .description('Make a signing key for a client (private JWK, kept if it exists) and print its public JWKS')
    .option('--alg <alg>', 'ES256, RS256, PS256 or EdDSA', 'ES256')
    .action(async (file: string, { alg }: { alg: string }) => {
      const key = await keyInFile(file, alg);
      output.write(JSON.stringify({ keys: [key.publicJwk] }, null, 2));
    });
  try {
    await program.parseAsync([...argv], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode === 0 ? EXIT.asExpected : EXIT.usage;
  }
  return exitCode;
}

function addRun(program: Command, action: (options: RunOptions) => Promise<void>): void {
  program
    .command('run', { isDefault: true })
    .description('Run the suite against a target')
    .requiredOption('--config <file>', 'description of the target, YAML or JSON')
    .option('--issuer <url>', 'issuer identifier of the target')
    .option('--profile <names>', `any of ${PROFILES.join(', ')}`, profilesOf, [...PROFILES])
    .option('--out <folder>', 'where report.html, report.json and junit.xml go')
    .option('--results <file>', 'a smaller JSON to keep: exchanges only where something is wrong')
    .option('--expected-failures <file>', 'failures that are known; stale ones fail the run')
    .option('--skips <file>', 'the pinned skips; others, or fewer, fail the run')
    .option('--allow-host <host>', 'a host beside loopback that may be tested', collect, [])
    .option('--timeout-ms <ms>', 'for one request', positiveInteger, 10_000)
    .option('--plan', 'say what would be done, and stop')
    .action(action);
}
