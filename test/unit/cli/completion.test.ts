import { spawnSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { createBench } from './bench.ts';

/** What a real bash offers for the last word, with the script sourced. */
async function offered(...words: string[]): Promise<string[]> {
  const bench = createBench();
  const { out } = await bench.run('completion bash');
  bench.file('completion.bash', out);
  bench.file('notes.yaml', '');
  const script =
    'set -eu; source ./completion.bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _cambist; printf "%s\\n" "${COMPREPLY[@]-}"';
  const bash = spawnSync('bash', ['--norc', '-c', script, 'bash', 'cambist', ...words], {
    cwd: bench.cwd,
    encoding: 'utf8',
  });
  expect(bash.stderr).toBe('');
  expect(bash.status).toBe(0);
  return bash.stdout.split('\n').filter((word) => word !== '');
}

describe('completion in a real bash', () => {
  test('offers commands, and those below a noun', async () => {
    expect(await offered('cl')).toEqual(['client']);
    expect(await offered('client', '')).toEqual(
      expect.arrayContaining(['add', 'list', 'show', 'disable', 'enable', 'rm', 'secret', '--help']),
    );
    expect(await offered('client', 'secret', 're')).toEqual(['retire']);
    // A name that is also that of a command leads nowhere else.
    expect(await offered('client', 'show', 'secret', '--')).toEqual(expect.not.arrayContaining(['--out']));
  });

  test('offers options, also those of the program, and never what a secret would follow', async () => {
    const options = await offered('exchange', '--');
    expect(options).toEqual(expect.arrayContaining(['--secret-file', '--subject-token-file', '--json', '--config']));
    expect(options).not.toContain('--secret');
    expect(options).not.toContain('--subject-token');
  });

  test('offers choices of options and arguments, files where one is meant, and nothing after other values', async () => {
    expect(await offered('client', 'add', 'x', '--auth', 'client_secret_')).toEqual([
      'client_secret_basic',
      'client_secret_post',
    ]);
    expect(await offered('schema', '')).toEqual(expect.arrayContaining(['settings', 'objects']));
    expect(await offered('apply', '-f', 'no')).toEqual(['notes.yaml']);
    expect(await offered('resource', 'add', 'x', '--uri', '')).toEqual([]);
    // The value of an option is no command.
    expect(await offered('--config', 'client', 'appl')).toEqual(['apply']);
  });
});

/** Is this shell on this machine? */
const has = (shell: string) => spawnSync(shell, ['-c', 'exit 0']).status === 0;

/** What a real shell offers for the last word. */
async function offeredBy(shell: 'zsh' | 'fish', words: readonly string[]): Promise<string[]> {
  const bench = createBench();
  bench.file('script', (await bench.run(`completion ${shell}`)).out);
  bench.file('notes.yaml', '');
  // What `bashcompinit` of zsh does at a terminal, with the words of the line.
  const zsh =
    'autoload -U compinit; compinit -u -D; source ./script; emulate -L sh; setopt kshglob noshglob braceexpand ksharrays; ' +
    'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _cambist; printf "%s\\n" "${COMPREPLY[@]}"';
  const fish = 'source ./script; complete -C (string join -- " " $argv)';
  const args = shell === 'zsh' ? ['-f', '-c', zsh, 'zsh'] : ['--no-config', '-c', fish];
  const { stdout, stderr } = spawnSync(shell, [...args, 'cambist', ...words], { cwd: bench.cwd, encoding: 'utf8' });
  expect(stderr).toBe('');
  // fish adds what it is about; zsh itself takes those that begin so.
  const begun = words.at(-1) ?? '';
  return stdout
    .split('\n')
    .flatMap((line) => line.split('\t')[0] || [])
    .filter((word) => word.startsWith(begun));
}

describe.each(['zsh', 'fish'] as const)('completion in a real %s', (shell) => {
  const there = has(shell);
  if (!there) console.warn(`skipped: completion in a real ${shell}: there is none on this machine`);
  test.skipIf(!there && process.env['CI'] === undefined)(
    'offers commands, options and choices where they belong',
    async () => {
      const offeredHere = (...words: string[]) => offeredBy(shell, words);
      expect(await offeredHere('cl')).toEqual(['client']);
      expect((await offeredHere('client', 'r')).sort()).toEqual(['rm']);
      expect(await offeredHere('client', 'secret', 're')).toEqual(['retire']);
      expect(await offeredHere('client', 'show', 'secret', '--ou')).toEqual([]);
      expect(await offeredHere('client', 'add', 'x', '--auth', 'client_secret_')).toEqual([
        'client_secret_basic',
        'client_secret_post',
      ]);
      expect((await offeredHere('completion', '')).sort()).toEqual(expect.arrayContaining(['bash', 'fish', 'zsh']));
      expect(await offeredHere('--config', 'client', 'appl')).toEqual(['apply']);
      expect(await offeredHere('apply', '-f', 'no')).toEqual(['notes.yaml']);
    },
  );
});

test('a shell that there is no script for is refused', async () => {
  const bench = createBench();
  expect((await bench.run('completion tcsh')).code).toBe(2);
});
