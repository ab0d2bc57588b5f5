/**
 * The text of completion scripts. Every word of a script is quoted for its shell, whatever a description holds.
 */

export interface Node {
  /** Names of the commands down to this one; empty for the program. */
  readonly path: readonly string[];
  readonly commands: readonly { readonly name: string; readonly about: string }[];
  readonly options: readonly {
    readonly names: readonly string[];
    readonly about: string;
    readonly takesValue: boolean;
    readonly choices: readonly string[];
    readonly isFile: boolean;
  }[];
  /** Of its arguments. */
  readonly choices: readonly string[];
}

const HELP = '--help';

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function wordsAfter(node: Node): string[] {
  return [
    ...node.commands.map(({ name }) => name),
    ...node.choices,
    ...node.options.flatMap(({ names }) => names),
    HELP,
  ];
}

/** Options with a value, by what may follow them. */
function valueCases(
  node: Node,
): { readonly names: string; readonly choices: readonly string[]; readonly isFile: boolean }[] {
  return node.options
    .filter(({ takesValue }) => takesValue)
    .map(({ names, choices, isFile }) => ({ names: names.join('|'), choices, isFile }));
}

/** Names of options that another word belongs to. */
function withValueOf(nodes: readonly Node[]): string[] {
  const names = nodes.flatMap(({ options }) =>
    options.filter(({ takesValue }) => takesValue).flatMap((one) => one.names),
  );
  return [...new Set(names)];
}

const labelOf = ({ path }: Node) => path.join(' ');

/** For bash 3.2 and newer, with or without the package bash-completion. */
export function bashScript(nodes: readonly Node[]): string {
  const subcommands = nodes.flatMap((node) =>
    node.commands.length === 0
      ? []
      : [`      ${quote(labelOf(node))}) next=${quote(node.commands.map(({ name }) => name).join(' '))} ;;`],
  );
  const nodesText = nodes.flatMap((node) => [
    `    ${quote(labelOf(node))})`,
    ...(valueCases(node).length === 0
      ? []
      : [
          '      case "$previous" in',
          ...valueCases(node).map(({ names, choices, isFile }) =>
            choices.length > 0
              ? `        ${names}) COMPREPLY=( $(compgen -W ${quote(choices.join(' '))} -- "$current") ); return ;;`
              : `        ${names}) ${isFile ? 'COMPREPLY=( $(compgen -f -- "$current") )' : 'COMPREPLY=()'}; return ;;`,
          ),
          '      esac',
        ]),
    `      words=${quote(wordsAfter(node).join(' '))} ;;`,
  ]);
  return `# bash completion for cambist; made by: cambist completion bash
_cambist() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="" path="" next words word index skip=""
  [ "$COMP_CWORD" -gt 0 ] && previous="\${COMP_WORDS[COMP_CWORD-1]}"
  for (( index = 1; index < COMP_CWORD; index++ )); do
    word="\${COMP_WORDS[index]}"
    if [ -n "$skip" ]; then skip=""; continue; fi
    case "$word" in
      ${withValueOf(nodes).join('|')}) skip=1; continue ;;
      -*) continue ;;
    esac
    next=""
    case "$path" in
${subcommands.join('\n')}
    esac
    case " $next " in
      *" $word "*) path="\${path:+$path }$word" ;;
    esac
  done
  COMPREPLY=()
  words=""
  case "$path" in
${nodesText.join('\n')}
  esac
  COMPREPLY=( $(compgen -W "$words" -- "$current") )
}
complete -o default -F _cambist cambist
`;
}

/** zsh takes the script of bash through its own bashcompinit: one grammar to keep right. */
export function zshScript(nodes: readonly Node[]): string {
  return `# zsh completion for cambist; made by: cambist completion zsh
autoload -U +X bashcompinit && bashcompinit
${bashScript(nodes).replace(/^# .*\n/, '')}`;
}

/** One line per word, with the condition under which it is offered. */
export function fishScript(nodes: readonly Node[]): string {
  const lines = nodes.flatMap((node) => {
    const at = `-n ${fishQuote(`__cambist_at ${node.path.join(' ')}`.trimEnd())}`;
    return [
      ...node.commands.map(({ name, about }) => `complete -c cambist ${at} -f -a ${name} -d ${fishQuote(about)}`),
      ...node.choices.map((choice) => `complete -c cambist ${at} -f -a ${fishQuote(choice)}`),
      ...node.options.map(({ names, about, takesValue, choices, isFile }) => {
        const flags = names
          .map((name) => (name.startsWith('--') ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`))
          .join(' ');
        const value =
          choices.length > 0 ? ` -x -a ${fishQuote(choices.join(' '))}` : takesValue ? (isFile ? ' -r -F' : ' -x') : '';
        return `complete -c cambist ${at} ${flags}${value} -d ${fishQuote(about)}`;
      }),
    ];
  });
  return `# fish completion for cambist; made by: cambist completion fish
function __cambist_at
  set -l known ${nodes
    .filter(({ path }) => path.length > 0)
    .map((node) => fishQuote(labelOf(node)))
    .join(' ')}
  set -l path
  set -l skip
  for word in (commandline -opc)[2..-1]
    if test -n "$skip"
      set skip
      continue
    end
    switch $word
      case ${withValueOf(nodes).join(' ')}
        set skip yes
      case '-*'
      case '*'
        contains -- (string trim -- "$path $word") $known; and set -a path $word
    end
  end
  test "$path" = "$argv"
end
${lines.join('\n')}
`;
}

function fishQuote(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}
