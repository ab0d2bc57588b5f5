/**
 * `cambist resource`: the MCP servers and other resources that tokens are for.
 */
import type { Command } from 'commander';
import type { CliContext } from './context.ts';
import { addNounCommand } from './noun.ts';

export function addResourceCommand(program: Command, context: CliContext): void {
  addNounCommand(program, context, {
    kind: 'resource',
    about: 'resources: the MCP servers that tokens are for',
    argument: 'NAME',
    example: 'notes',
    disabling: 'issue no more tokens for a resource',
    columns: { URI: (spec) => spec.uri, SCOPES: (spec) => Object.keys(spec.scopes).join(' ') },
  });
}
