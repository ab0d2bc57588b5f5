/**
 * `cambist subject`: the people and workloads of trusted issuers, where something is registered about them.
 */
import type { Command } from 'commander';
import type { CliContext } from './context.ts';
import { addNounCommand } from './noun.ts';

export function addSubjectCommand(program: Command, context: CliContext): void {
  addNounCommand(program, context, {
    kind: 'subject',
    about: 'subjects of trusted issuers: their roles, and whether they are disabled',
    argument: 'ISSUER:SUB',
    example: 'corp:alice',
    disabling: 'refuse every token about a subject, registered before or not',
    columns: { ROLES: (spec) => spec.roles.join(' ') },
  });
}
