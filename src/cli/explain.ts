/**
 * `cambist explain`: what was recorded about one request, in words: who asked for what, what it was decided on, which
 * policies decided, and what came of it. The request id is in every answer and every line of the log.
 */
import type { Command } from 'commander';
import type { ExplainedRecord } from '../admin/operations.ts';
import { valueOf } from './context.ts';
import type { CliContext } from './context.ts';
import { CliFailure, EXIT } from './failure.ts';
import { describeFacts, fieldOf, text } from './record-view.ts';

export function addExplainCommand(program: Command, context: CliContext): void {
  program
    .command('explain')
    .argument('[REQUEST_ID]')
    .description('show why a request was permitted or refused, from its audit record')
    .option('--jti <jti>', 'the request that this token was issued to, instead of a request id')
    .addHelpText(
      'after',
      `
The id is in the Cambist-Request-Id header of every answer. Refusals of callers that did not authenticate are counted, not
recorded one by one: look for their request id in the log of the service.

Examples:
  cambist explain 01890f3e-7b1c-7000-8000-000000000000
  cambist explain 01890f3e-7b1c-7000-8000-000000000000 --json
  cambist explain --jti 01890f3e-7b1c-7000-8000-000000000001      # where does this token come from?`,
    )
    .action(async (requestId: string | undefined, { jti }: { jti?: string }, command: Command) => {
      if ((requestId === undefined) === (jti === undefined))
        throw new CliFailure(EXIT.usage, 'usage', 'name one thing to explain: a request id, or a token with --jti');
      const records = await context.withOperations(command, async (operations) =>
        valueOf(
          jti === undefined
            ? await operations.recordsByRequestId({ requestId: requestId ?? '' })
            : await operations.recordsByJti({ jti }),
        ),
      );
      if (records.length === 0)
        throw new CliFailure(
          EXIT.failed,
          'record_unknown',
          jti === undefined
            ? `no record has the request id ${String(requestId)}: check the id, and look for it in the log of the service`
            : `no record is of a token with the jti ${jti}: it was not issued here, or its record is no longer kept`,
        );
      const { stringify } = await import('yaml');
      context.print(command, records, () => records.map((record) => describeRecord(record, stringify)).join('\n\n'));
    });
}

function describeRecord(record: ExplainedRecord, stringify: (value: unknown) => string): string {
  const { body } = record;
  const { time, kind, request_id: requestId } = body;
  const reason = fieldOf(body['refusal'], 'reason');
  const headline = `${text(time)}  ${text(kind).toUpperCase()}${reason === undefined ? '' : `  ${text(reason)}`}  request ${text(requestId)}`;
  const answers = fieldOf(body['decision'], 'answers');
  return [
    headline,
    ...describeFacts(record, stringify),
    ...(Array.isArray(answers) ? answers.flatMap((answer) => describeAnswers(answer)) : []),
  ].join('\n');
}

/** One line per scope and question: what was decided and by which policies. */
function describeAnswers(answer: unknown): string[] {
  const verdicts = fieldOf(answer, 'verdicts');
  if (!Array.isArray(verdicts)) return [];
  const actAs = fieldOf(answer, 'act_as');
  const impersonation = names(fieldOf(answer, 'impersonation_policies'));
  return [
    ...verdicts.flatMap((verdict: unknown) => [
      `  scope ${text(fieldOf(verdict, 'scope'))}: ${fieldOf(verdict, 'permitted') === true ? 'permitted' : 'denied'}`,
      describeAnswer('may the subject have it', fieldOf(verdict, 'subject')),
      ...(isPresent(fieldOf(verdict, 'actor'))
        ? [describeAnswer('may the actor use it for them', fieldOf(verdict, 'actor'))]
        : []),
    ]),
    ...(isPresent(actAs) ? [describeAnswer('may the client present that actor', actAs)] : []),
    ...(impersonation === '' ? [] : [`    without an actor in the token (impersonation), by ${impersonation}`]),
  ];
}

/** One question of policy and its answer. */
export function describeAnswer(question: string, answer: unknown): string {
  const permitted = fieldOf(answer, 'permitted') === true;
  const policies = names(fieldOf(answer, 'policies'));
  const errors = names(fieldOf(answer, 'errors'));
  const by = policies === '' ? (permitted ? '' : ', no policy permits it') : `, by ${policies}`;
  const failed = errors === '' ? '' : `; failed to evaluate: ${errors}`;
  return `    ${question}? ${permitted ? 'yes' : 'no'}${by}${failed}`;
}

function names(value: unknown): string {
  return Array.isArray(value) ? value.join(', ') : '';
}

function isPresent(value: unknown): boolean {
  return value !== undefined && value !== null;
}
