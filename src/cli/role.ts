/**
 * `cambist role`: what policies speak of instead of groups.
 */
import type { Command } from 'commander';
import type { CliContext } from './context.ts';
import { addNounCommand } from './noun.ts';

export function addRoleCommand(program: Command, context: CliContext): void {
  addNounCommand(program, context, {
    kind: 'role',
    about: 'roles: what policies speak of, and the groups whose members have them',
    argument: 'NAME',
    example: 'staff',
    disabling: 'take a role away from every group that has it',
    columns: { GROUPS: (spec) => spec.groups.join(' ') },
    naming: (name) => ({ name }),
    fields: [
      {
        flags: '--group <issuer:group>',
        description: 'group whose members have it; groups of clients have no issuer in front',
        field: 'groups',
        shape: 'list',
      },
      { flags: '--description <text>', description: 'what it is', field: 'description', shape: 'one' },
    ],
    addExamples: ['cambist role add staff --group corp:employees --group corp:contractors'],
  });
}
