/**
 * Entry of the conformance suite: `node dist/conformance/main.js --issuer URL --config FILE`. See README.md.
 */
import { commandLine } from './command-line.ts';

const write = (line: string) => {
  console.log(line);
};
process.exitCode = await commandLine(process.argv.slice(2), { write, coloured: process.stdout.isTTY });
