/**
 * `cambist subject`: the people and workloads of trusted issuers, where something is registered about them.
 */
import type { Command } from 'commander';
import type { CliContext } from './context.ts';
import { CliFailure, EXIT } from './failure.ts';
import { addNounCommand } from './noun.ts';

export function addSubjectCommand(program: Command, context: CliContext): void {
  addNounCommand(program, context, {
    kind: 'subject',
    about: 'subjects of trusted issuers: their roles, and whether they are disabled',
    argument: 'ISSUER:SUB',
    example: 'corp:alice',
    disabling: 'refuse every token about a subject, registered before or not',
    columns: { ROLES: (spec) => spec.roles.join(' ') },
    naming: namingOf,
    fields: [{ flags: '--role <name>', description: 'a role that it has', field: 'roles', shape: 'list' }],
    addExamples: [
      'cambist subject add corp:alice --role staff',
      'cambist subject add corp:alice --role staff --role auditor --replace',
    ],
  });
}

/** The short name of an issuer has no colon; a `sub` may have some. */
function namingOf(name: string): Readonly<Record<string, unknown>> {
  const colon = name.indexOf(':');
  if (name !== '' && (colon < 1 || colon === name.length - 1))
    throw new CliFailure(EXIT.usage, 'usage', `name a subject as ISSUER:SUB, such as corp:alice, not "${name}"`);
  return { issuer: name.slice(0, Math.max(0, colon)), sub: name.slice(colon + 1) };
}
