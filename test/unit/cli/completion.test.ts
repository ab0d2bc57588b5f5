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

test('scripts of zsh and fish name every command; one of them is in none', async () => {
  const bench = createBench();
  const help = (await bench.run('--help')).out;
  const commands = [...help.matchAll(/^ {2}([a-z]+)(?: \[| <| {2,})/gm)]
    .map((match) => match[1]!)
    .filter((name) => name !== 'help');
  expect(commands.length).toBeGreaterThan(15);
  for (const shell of ['zsh', 'fish']) {
    const { out } = await bench.run(`completion ${shell}`);
    for (const command of commands) expect(out, `${shell} ${command}`).toMatch(new RegExp(`\\b${command}\\b`));
  }
  expect((await bench.run('completion tcsh')).code).toBe(2);
});
