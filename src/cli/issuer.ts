/**
 * `cambist issuer`: the trusted issuers, whose tokens count here.
 */
import type { Command } from 'commander';
import type { CliContext } from './context.ts';
import { addNounCommand } from './noun.ts';

export function addIssuerCommand(program: Command, context: CliContext): void {
  addNounCommand(program, context, {
    kind: 'issuer',
    about: 'trusted issuers: whose tokens count here',
    argument: 'NAME',
    example: 'corp',
    disabling: 'refuse every token of a trusted issuer, and everybody whom it vouched for',
    columns: { ISSUER: (spec) => spec.issuer, TOKENS: (spec) => Object.keys(spec.token_types).join(',') },
  });
}
