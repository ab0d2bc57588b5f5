/** `npm run bench -- NAME [ARGS…]`: compiles everything and runs one bench. Figures are this machine's; ratios travel. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { prepare, root } from '../../deploy/prepare.mjs';

const [name, ...args] = process.argv.slice(2);
const names = (await readdir(new URL('.', import.meta.url)))
  .filter((file) => file.endsWith('.ts'))
  .map((file) => file.slice(0, -3));
if (name === undefined || !names.includes(name)) {
  console.error(`usage: npm run bench -- NAME, one of: ${names.join(', ')}`);
  process.exit(2);
}
process.chdir(root);
await prepare({});
const tsc = spawnSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', '.', '--incremental', 'false'], {
  stdio: 'inherit',
});
const script = fileURLToPath(new URL(`../../dist/test/bench/${name}.js`, import.meta.url));
if (tsc.status !== 0 && !existsSync(script)) process.exit(1);
process.exitCode = spawnSync(process.execPath, [script, ...args], { stdio: 'inherit' }).status ?? 1;
