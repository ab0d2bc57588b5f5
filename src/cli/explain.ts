/**
 * `cambist explain`: what was recorded about one request, in words. The request id is in every answer and every line of
 * the log.
 */
import type { Command } from 'commander';
import { stringify } from 'yaml';
import type { ExplainedRecord } from '../admin/operations.ts';
import { valueOf } from './context.ts';
import type { CliContext } from './context.ts';
import { CliFailure, EXIT } from './failure.ts';

export function addExplainCommand(program: Command, context: CliContext): void {
  program
    .command('explain')
    .argument('<REQUEST_ID>')
    .description('show why a request was permitted or refused, from its audit record')
    .addHelpText(
      'after',
      `
The id is in the Cambist-Request-Id header of every answer. Refusals of callers that did not authenticate are counted, not
recorded one by one: look for their request id in the log of the service.

Examples:
  cambist explain 01890f3e-7b1c-7000-8000-000000000000
  cambist explain 01890f3e-7b1c-7000-8000-000000000000 --json`,
    )
    .action(async (requestId: string, _options: unknown, command: Command) => {
      const records = await context.withOperations(command, async (operations) =>
        valueOf(await operations.recordsByRequestId({ requestId })),
      );
      if (records.length === 0)
        throw new CliFailure(
          EXIT.failed,
          'record_unknown',
          `no record has the request id ${requestId}: check the id, and look for it in the log of the service`,
        );
      context.print(command, records, () => records.map(describeRecord).join('\n\n'));
    });
}

/** Fields that the headline says already, or that only a verifier needs. */
const SAID = new Set(['v', 'id', 'time', 'kind', 'request_id', 'persons', 'decision', 'refusal']);

function describeRecord({ body, persons }: ExplainedRecord): string {
  const { time, kind, request_id: requestId, refusal, decision } = body;
  const reason = fieldOf(refusal, 'reason');
  const headline = `${text(time)}  ${text(kind).toUpperCase()}${reason === undefined ? '' : `  ${text(reason)}`}  request ${text(requestId)}`;
  const detail = fieldOf(refusal, 'detail');
  const rest = Object.fromEntries(Object.entries(body).filter(([name]) => !SAID.has(name)));
  const parts: Record<string, unknown> = {
    ...(detail === undefined || Object.keys(detail as object).length === 0 ? {} : { because: detail }),
    ...rest,
    ...(persons.length === 0 ? {} : { persons }),
  };
  const answers = fieldOf(decision, 'answers');
  return [
    headline,
    indent(stringify(parts).trimEnd()),
    ...(Array.isArray(answers) ? answers.flatMap(describeAnswers) : []),
  ].join('\n');
}

/** One line per scope and question: what was decided and by which policies. */
function describeAnswers(answer: unknown): string[] {
  const verdicts = fieldOf(answer, 'verdicts');
  if (!Array.isArray(verdicts)) return [];
  return verdicts.flatMap((verdict: unknown) => [
    `  scope ${text(fieldOf(verdict, 'scope'))}: ${fieldOf(verdict, 'permitted') === true ? 'permitted' : 'denied'}`,
    describeAnswer('may the subject have it', fieldOf(verdict, 'subject')),
    ...(isPresent(fieldOf(verdict, 'actor'))
      ? [describeAnswer('may the actor use it for them', fieldOf(verdict, 'actor'))]
      : []),
  ]);
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

function fieldOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

function isPresent(value: unknown): boolean {
  return value !== undefined && value !== null;
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value ?? '');
}

function indent(block: string): string {
  return block.replaceAll(/^/gm, '  ');
}
