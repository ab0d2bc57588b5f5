/**
 * `cambist policy`: the registered policies, and `check`: a decision that is not a request. Over files alone, without a
 * server or a database, so that a change of policy can be tried, and tested in CI, before it is applied.
 */
import type { Command } from 'commander';
import type { Rehearsal, RehearsalQuestion } from '../exchange/rehearse.ts';
import type { CliContext } from './context.ts';
import { CliFailure, EXIT, count } from './failure.ts';
import { describeAnswer } from './explain.ts';
import { addNounCommand } from './noun.ts';
import { textOf } from './object-flags.ts';
import { offlineOptions, readObjectsTexts } from './objects-input.ts';

interface CheckOptions {
  readonly objects: readonly string[];
  readonly client: string;
  readonly subject?: string;
  readonly group?: readonly string[];
  readonly email?: string;
  readonly resource: readonly string[];
  readonly scope?: string;
  readonly actor?: readonly string[];
  readonly via?: string;
  readonly issuer?: string;
}

export function addPolicyCommand(program: Command, context: CliContext): void {
  const policy = addNounCommand(program, context, {
    kind: 'policy',
    about: 'policies (Cedar): which are registered, and what would be decided',
    argument: 'ID',
    example: 'staff-read-notes',
    disabling: 'let a policy decide nothing any more; what it alone forbade is permitted then',
    columns: { DESCRIPTION: (spec) => spec.description ?? '' },
    naming: (id) => ({ id }),
    fields: [
      { flags: '--cedar-file <file>', description: 'its Cedar text', field: 'cedar', shape: 'one', read: textOf },
      { flags: '--description <text>', description: 'what it is for', field: 'description', shape: 'one' },
    ],
    addExamples: ['cambist policy add staff-read-notes --cedar-file staff-read-notes.cedar'],
  });
  addCheckCommand(policy, context);
}

function addCheckCommand(policy: Command, context: CliContext): void {
  policy
    .command('check')
    .description('decide a request that has not happened, over files of objects; exit code 0 = permitted, 1 = refused')
    .requiredOption('--objects <file...>', 'files of objects, as for apply; - is standard input')
    .requiredOption('--client <id>', 'the client that asks')
    .option(
      '--subject <issuer:sub>',
      'for whom: short name of a trusted issuer, a colon, the sub (default: the client itself)',
    )
    .option('--group <group...>', 'groups of the subject, as its issuer writes them')
    .option('--email <address>', 'e-mail address of the subject')
    .requiredOption('--resource <uri...>', 'what for: URI, alias or name of a resource, name of an upstream')
    .option('--scope <scopes>', 'scopes, separated by spaces (default: the default scopes)')
    .option('--actor <id...>', 'clients that acted for the subject before, the latest first')
    .option('--via <resource=scopes>', 'a hop: the presented token is for this resource, with these scopes (a,b)')
    .option('--issuer <url>', 'our own issuer URL, instead of reading the settings')
    .addHelpText(
      'after',
      `
Examples:
  cambist policy check --objects objects.yaml --client planner --subject corp:alice --group staff \\
      --resource https://notes.example.com/mcp --scope "notes:read"
  cambist policy check --objects objects.yaml --client notes-server --subject corp:alice --actor planner \\
      --via notes=notes:read --resource https://files.example.com/mcp
  cambist policy check --objects objects.yaml --client notes-server --subject corp:alice --actor planner \\
      --via notes=notes:read --resource github`,
    )
    .action(async (options: CheckOptions, command: Command) => {
      const question = questionOf(options);
      const texts = await readObjectsTexts(options.objects, context.parts);
      const offline = offlineOptions(command, context, options.issuer);
      const [{ checkFiles }, { registryOf }, { stringify }] = await Promise.all([
        import('../admin/file-state.ts'),
        import('../objects/registry.ts'),
        import('yaml'),
      ]);
      const checked = await checkFiles(texts, offline);
      if (Array.isArray(checked))
        throw new CliFailure(EXIT.failed, 'objects_invalid', count(checked.length, 'fault'), checked);
      const rehearse = await context.parts.rehearse(offline.ownIssuer);
      const rehearsal = await rehearse(registryOf(checked.reader), question);
      context.print(command, jsonOf(rehearsal), () => describe(rehearsal, stringify));
      if (rehearsal.refusal !== undefined)
        throw new CliFailure(EXIT.failed, rehearsal.refusal.reason, `refused: ${rehearsal.refusal.reason}`);
    });
}

function questionOf(options: CheckOptions): RehearsalQuestion {
  return {
    clientId: options.client,
    subject: subjectOf(options),
    chain: options.actor ?? [],
    via: viaOf(options.via),
    targets: options.resource,
    scope: options.scope,
  };
}

function subjectOf({ subject, group = [], email }: CheckOptions): RehearsalQuestion['subject'] {
  if (subject === undefined) {
    if (group.length > 0 || email !== undefined)
      throw new CliFailure(EXIT.usage, 'usage', '--group and --email say something about a --subject: name one');
    return undefined;
  }
  const colon = subject.indexOf(':');
  if (colon < 1 || colon === subject.length - 1)
    throw new CliFailure(EXIT.usage, 'usage', `--subject must be ISSUER:SUB, such as corp:alice, not "${subject}"`);
  const issuerName = subject.slice(0, colon);
  const groups = group.map((name) => `${issuerName}:${name}`);
  return { issuerName, sub: subject.slice(colon + 1), claims: { groups, ...(email === undefined ? {} : { email }) } };
}

function viaOf(via: string | undefined): RehearsalQuestion['via'] {
  if (via === undefined) return undefined;
  const [resource, scopes, ...more] = via.split('=');
  if (resource === undefined || resource === '' || scopes === undefined || more.length > 0)
    throw new CliFailure(
      EXIT.usage,
      'usage',
      `--via must be RESOURCE=SCOPE,SCOPE, such as notes=notes:read, not "${via}"`,
    );
  return { resource, scopes: scopes.split(',').filter((scope) => scope !== '') };
}

function jsonOf({ claims, refusal, trace }: Rehearsal) {
  return {
    permitted: refusal === undefined,
    claims: claims ?? null,
    refusal: refusal === undefined ? null : { reason: refusal.reason, detail: refusal.detail },
    decisions: trace?.decisions ?? [],
  };
}

function describe({ claims, refusal, trace }: Rehearsal, stringify: (value: unknown) => string): string {
  const verdicts = (trace?.decisions ?? []).flatMap(({ verdicts: scopes, actAs }) => [
    ...scopes.flatMap(({ scope, permitted, subject, actor }) => [
      `  scope ${scope}: ${permitted ? 'permitted' : 'denied'}`,
      describeAnswer('may the subject have it', subject),
      ...(actor === undefined ? [] : [describeAnswer('may the actor use it for them', actor)]),
    ]),
    ...(actAs === undefined ? [] : [describeAnswer('may the client present that actor', actAs)]),
  ]);
  if (refusal === undefined)
    return [
      'PERMITTED',
      ...verdicts,
      '  the token would say:',
      stringify(claims).trimEnd().replaceAll(/^/gm, '    '),
    ].join('\n');
  const detail = Object.entries(refusal.detail).map(([name, value]) => `  ${name}: ${JSON.stringify(value)}`);
  return [`REFUSED  ${refusal.reason}`, ...detail, ...verdicts].join('\n');
}
