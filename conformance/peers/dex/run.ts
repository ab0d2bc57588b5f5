/**
 * Runs the suite against Dex: one connector, which is the suite's own issuer, and two clients. Needs a Dex program (from
 * its releases or its container image), started here with a configuration of its own in an empty folder:
 *
 *   DEX=…/dex DEX_VERSION=v2.45.0 node dist/conformance/peers/dex/run.js --out FOLDER
 */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { commandLine } from '../../command-line.ts';
import { openOwnIssuer } from '../../issuer/own-issuer.ts';
import { checkout, freePort, startLogged, stop, untilAnswers } from '../../targets/process.ts';

const HERE = join(checkout(import.meta.url), 'conformance', 'peers', 'dex');
const CLIENTS = ['agent', 'other'] as const;

function dexConfig(issuer: string, suite: string, secrets: ReadonlyMap<string, string>): unknown {
  return {
    issuer,
    storage: { type: 'memory' },
    web: { http: new URL(issuer).host },
    logger: { level: 'warn' },
    staticClients: CLIENTS.map((id) => ({ id, name: id, secret: secrets.get(id), redirectURIs: [] })),
    connectors: [
      {
        type: 'oidc',
        id: 'suite',
        name: 'The suite',
        config: {
          issuer: `${suite}/trusted`,
          clientID: 'dex',
          clientSecret: 'not-used',
          redirectURI: `${issuer}/callback`,
          getUserInfo: false,
        },
      },
    ],
  };
}

async function runAll(args: readonly string[]): Promise<number> {
  const program = process.env['DEX'];
  if (program === undefined || !existsSync(program)) throw new Error('set DEX to the Dex program');
  const folder = mkdtempSync(join(tmpdir(), 'dex-conformance-'));
  const [port, suitePort] = [await freePort(), await freePort()];
  const issuer = `http://127.0.0.1:${port}/dex`;
  const suite = `http://127.0.0.1:${suitePort}`;
  const secrets = new Map(CLIENTS.map((name) => [name, randomBytes(16).toString('hex')]));
  for (const [name, secret] of secrets) writeFileSync(join(folder, `${name}.secret`), secret, { mode: 0o600 });
  writeFileSync(join(folder, 'dex.json'), JSON.stringify(dexConfig(issuer, suite, secrets)), { mode: 0o600 });
  const log = join(folder, 'dex.log');
  // Dex does not start without its connector's issuer: it is there under the same key before the suite itself begins.
  const keyFile = join(folder, 'suite.jwk.json');
  const standIn = await openOwnIssuer({ listen: suite, algorithm: 'RS256', keyFile });
  const child = startLogged({ program, args: ['serve', 'dex.json'], env: process.env, cwd: folder, log });
  try {
    await untilAnswers(`${issuer}/.well-known/openid-configuration`, child, log);
    await standIn.close();
    Object.assign(process.env, {
      DEX_NAME: `Dex ${process.env['DEX_VERSION'] ?? '(version unknown)'}`,
      DEX_ISSUER: issuer,
      SUITE: suite,
      SECRETS: folder,
    });
    const write = (line: string) => {
      console.log(line);
    };
    const config = ['--config', join(HERE, 'target.yaml')];
    return await commandLine([...config, ...args], { write, coloured: process.stdout.isTTY });
  } finally {
    await standIn.close();
    await stop(child);
    if (process.env['KEEP'] === undefined) rmSync(folder, { recursive: true });
    else console.log(`kept: ${folder}`);
  }
}

process.exitCode = await runAll(process.argv.slice(2));
