/**
 * `cambist completion`: a script for the shell, made from the tree of commands, so that it cannot fall behind them. The
 * scripts are self-contained: completing a word runs nothing but the shell.
 */
import { Argument } from 'commander';
import type { Command } from 'commander';
import type { CliContext } from './context.ts';
import { bashScript, fishScript, zshScript } from './completion-scripts.ts';
import type { Node } from './completion-scripts.ts';

const SCRIPTS = { bash: bashScript, zsh: zshScript, fish: fishScript };

export function addCompletionCommand(program: Command, context: CliContext): void {
  program
    .command('completion')
    .description('print a script that completes commands, options and choices in your shell')
    .addArgument(new Argument('<shell>').choices(Object.keys(SCRIPTS)))
    .addHelpText(
      'after',
      `
Examples:
  cambist completion bash > ~/.cambist-completion      # then, in ~/.bashrc: source ~/.cambist-completion
  cambist completion zsh > ~/.cambist-completion       # then, in ~/.zshrc, after compinit: source ~/.cambist-completion
  cambist completion fish > ~/.config/fish/completions/cambist.fish`,
    )
    .action((shell: keyof typeof SCRIPTS) => {
      context.parts.out(SCRIPTS[shell](nodesOf(program, [])));
    });
}

/** Every command below and including one, with what may follow it. */
export function nodesOf(command: Command, path: readonly string[]): Node[] {
  const { commands } = command;
  const own: Node = {
    path,
    commands: commands.map((one) => ({ name: one.name(), about: firstSentence(one.description()) })),
    options: [
      ...command.options,
      ...(path.length === 0 ? [] : rootOf(command).options.filter(({ long }) => long !== '--version')),
    ]
      .filter(({ hidden }) => !hidden)
      .map(({ short, long, description, argChoices, required, flags }) => ({
        names: [short, long].filter((name) => name !== undefined),
        about: firstSentence(description),
        takesValue: required,
        choices: argChoices ?? [],
        isFile: /<(file|path|folder)(\.\.\.)?>/.test(flags),
      })),
    choices: command.registeredArguments.flatMap(({ argChoices }) => argChoices ?? []),
  };
  return [own, ...commands.flatMap((one) => nodesOf(one, [...path, one.name()]))];
}

function rootOf(command: Command): Command {
  return command.parent === null ? command : rootOf(command.parent);
}

function firstSentence(text: string): string {
  return text.split(/[;:(]/)[0]?.trim() ?? '';
}
