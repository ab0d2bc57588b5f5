import { chmodSync, existsSync, mkdirSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, expect, onTestFinished, test } from 'vitest';
import { describeTime, duration, inWords } from '../../../src/cli/token-view.ts';
import { createBench } from './bench.ts';

const jwt = (header: object, claims: object, signature = 'c2ln') =>
  [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.') + `.${signature}`;

describe('init', () => {
  test('writes settings, objects and a key (0600) that check accepts, and says what is next', async () => {
    const bench = createBench();
    const { code, out } = await bench.run('init --out sts', { invocation: 'cambist' });
    expect(code).toBe(0);
    expect(out).toContain(
      '  cambist serve --config sts/cambist.yaml\n  cambist apply -f sts/objects.yaml --config sts/cambist.yaml\n',
    );
    expect(statSync(join(bench.cwd, 'sts/cambist.kek')).mode & 0o777).toBe(0o600);
    expect(Buffer.from(readFileSync(join(bench.cwd, 'sts/cambist.kek'), 'utf8').trim(), 'base64')).toHaveLength(32);
    const checked = await bench.run('check --config sts/cambist.yaml -f sts/objects.yaml');
    expect(checked).toMatchObject({ code: 0, err: '' });
    expect(checked.out).toContain('4 objects, no fault.');
  });

  test('never overwrites, and writes all or nothing', async () => {
    const bench = createBench();
    bench.file('objects.yaml', 'mine');
    const { code, err } = await bench.run('init');
    expect(code).toBe(1);
    expect(err).toContain(`nothing was written: ${join(bench.cwd, 'objects.yaml')} exists already`);
    expect(readdirSync(bench.cwd).sort()).toEqual(['company.yaml', 'objects.yaml']);
    expect(readFileSync(join(bench.cwd, 'objects.yaml'), 'utf8')).toBe('mine');
  });

  test('keeps the key of what ran here without settings', async () => {
    const bench = createBench();
    mkdirSync(join(bench.cwd, '.cambist'));
    bench.file('.cambist/kek', `${Buffer.from(Array.from({ length: 32 }, (_, index) => index)).toString('base64')}\n`);
    expect((await bench.run('init')).code).toBe(0);
    expect(existsSync(join(bench.cwd, 'cambist.kek'))).toBe(false);
    expect(readFileSync(join(bench.cwd, 'cambist.yaml'), 'utf8')).toContain('key_encryption_key: file:.cambist/kek\n');
    expect((await bench.run('check')).code).toBe(0);
  });
});

describe('check', () => {
  test('needs no database, and shows the faults of settings and objects at once', async () => {
    const bench = createBench();
    const opened = { openOperations: () => Promise.reject(new Error('opened')) };
    expect(await bench.run('check -f company.yaml', opened)).toMatchObject({
      code: 0,
      out: expect.stringMatching(
        /^Settings, no fault: issuer http:\/\/127\.0\.0\.1:8080, .*\n9 objects, no fault\.\n$/,
      ),
    });
    bench.file('bad.yaml', 'clients: [{id: x}]');
    expect((await bench.run('check -f bad.yaml', opened)).code).toBe(1);
    bench.file('cambist.yaml', 'log_level: loud\n');
    const both = await bench.run('check -f bad.yaml --json', opened);
    expect(both.code).toBe(2);
    expect(JSON.parse(both.err)).toMatchObject({
      error: { code: 'settings_invalid', faults: [{ path: 'log_level' }, { path: 'clients[0].auth' }] },
    });
  });

  test('R23: says nothing that is secret', async () => {
    const bench = createBench();
    const env = {
      DATABASE_URL: 'postgres://user:pa55word@db/x',
      CAMBIST_ISSUER: 'https://sts.example.com',
      CAMBIST_KEY_ENCRYPTION_KEY: Buffer.from(Array.from({ length: 32 }, (_, index) => index)).toString('base64'),
    };
    const plain = await bench.run('check', { env });
    const json = await bench.run('check --json', { env });
    expect(plain.out).toContain('postgres database');
    for (const secret of ['pa55word', 'AAECAwQF']) expect(plain.out + json.out).not.toContain(secret);
  });
});

describe('decode', () => {
  const now = Math.floor(Date.now() / 1000);
  const token = jwt(
    { alg: 'ES256', typ: 'at+jwt' },
    {
      iss: 'https://sts.example.com',
      sub: 'corp:ada',
      sub_id: { format: 'iss_sub', iss: 'https://login.example.com', sub: 'ada' },
      aud: 'https://notes.example.com/mcp',
      scope: 'notes:read notes:write',
      iat: now - 60,
      exp: now + 240,
      act: {
        sub: 'notes-agent',
        iss: 'https://sts.example.com',
        act: { sub: 'planner', iss: 'https://other.example.com' },
      },
    },
  );

  test('says who acts for whom, for how long, and loudly that nothing was verified', async () => {
    const bench = createBench();
    bench.file('t.jwt', `${token}\n`);
    const { code, out } = await bench.run('decode t.jwt');
    expect(code).toBe(0);
    expect(out).toMatch(/^NOT VERIFIED: anybody could have written this/);
    expect(out).toContain('It is about corp:ada (ada of https://login.example.com), says https://sts.example.com.');
    expect(out).toContain(
      'notes-agent acts for corp:ada. Before that, the latest first: planner of https://other.example.com;',
    );
    expect(out).toContain('It may be used for: notes:read, notes:write.');
    expect(out).toMatch(
      /It expires in 3 minutes (59|5\d) seconds|It expires in 4 minutes; it was issued for 5 minutes\./,
    );
    expect(JSON.parse((await bench.run('decode t.jwt --json')).out)).toMatchObject({
      verified: null,
      claims: { sub: 'corp:ada' },
    });
  });

  test('reads standard input, the answer of a token endpoint, and a header', async () => {
    const bench = createBench();
    for (const text of [
      token,
      ` ${token}\n`,
      JSON.stringify({ access_token: token }),
      `Authorization: Bearer ${token}`,
    ])
      expect((await bench.run('decode', { readStdin: () => Promise.resolve(text) })).code).toBe(0);
  });

  test.each([
    ['not a token', 'it is not a JWT in compact form'],
    [jwt({ alg: 'none' }, {}, ''), 'it is not a JWT in compact form'],
    [jwt({ alg: 'ES256', crit: ['b64'] }, {}), 'an extension that must be understood'],
    [`${Buffer.from('{"alg":"ES256","alg":"none"}').toString('base64url')}.e30.c2ln`, 'no key twice) (header)'],
    ['', 'standard input is empty'],
  ])('refuses %s in words', async (text, message) => {
    const { code, err } = await createBench().run('decode', { readStdin: () => Promise.resolve(text) });
    expect(code).not.toBe(0);
    expect(err).toContain(message);
  });

  test('R23: no control character of a token reaches the terminal', async () => {
    const token = jwt({ alg: 'ES256' }, { sub: '\u001b[2J\u202ex' });
    const { out } = await createBench().run('decode', { readStdin: () => Promise.resolve(token) });
    expect(out).toContain('\\u001b[2J\\u202ex');
    expect(out).not.toMatch(/[\u001b\u202e]/);
  });

  test('--verify fails closed for an issuer that cannot be asked', async () => {
    const bench = createBench();
    bench.file('t.jwt', jwt({ alg: 'ES256' }, { iss: 'http://issuer.example.com' }));
    expect(await bench.run('decode t.jwt --verify')).toMatchObject({
      code: 1,
      out: expect.stringMatching(/^INVALID: its issuer is no URL/),
    });
    bench.file('t.jwt', jwt({ alg: 'ES256' }, {}));
    expect((await bench.run('decode t.jwt --verify')).out).toMatch(/^INVALID: a claim is missing \(iss\)/);
    bench.file('t.jwt', token);
    expect((await bench.run('decode t.jwt --verify --issuer https://sts.example.org')).out).toMatch(
      /^INVALID: it is of another issuer/,
    );
    // R21: an address that only the token names must be public.
    bench.file('t.jwt', jwt({ alg: 'ES256' }, { iss: 'https://10.255.255.1' }));
    expect(await bench.run('decode t.jwt --verify')).toMatchObject({
      code: 1,
      err: expect.stringContaining('its address is not public'),
    });
    expect((await bench.run('decode t.jwt --issuer https://sts.example.org')).code).toBe(2);
  });
});

describe('tokens in words', () => {
  test.each([
    [0, '0 seconds'],
    [1, '1 second'],
    [59, '59 seconds'],
    [60, '1 minute'],
    [61, '1 minute 1 second'],
    [3600, '1 hour'],
    [3601, '1 hour'],
    [7322, '2 hours 2 minutes'],
    [90_061, '1 day 1 hour'],
  ])('%i s are %s', (seconds, words) => {
    expect(duration(seconds)).toBe(words);
  });

  test('times are dates with their distance; what is no time says so', () => {
    expect(describeTime(1_700_000_000, 1_700_000_000)).toBe('2023-11-14T22:13:20Z, now');
    expect(describeTime(1_700_000_000, 1_700_000_060)).toBe('2023-11-14T22:13:20Z, 1 minute ago');
    expect(describeTime(1e18, 0)).toBe('(no time that can be)');
  });

  test('R8: a chain that cannot be read is never no chain', () => {
    expect(inWords({ sub: 'a', act: { nobody: true } }, 0)).toContain(
      'Its act claim cannot be read, so nobody can tell who acts.',
    );
    expect(inWords({ sub: 'a' }, 0)).toContain('Nobody acts for it: who presents it is it.');
    expect(inWords({ exp: 10 }, 10)).toContain('It expired 0 seconds ago.');
  });
});

describe('exchange', () => {
  test.each([
    ['--secret cbs_top', '--secret-file'],
    ['--secret=cbs_top', '--secret-file'],
    ['--client-secret cbs_top', '--secret-file'],
    ['--key cbs_top', '--key-file'],
    ['--subject-token eyJhbGciOiJFUzI1NiJ9.cbs_top.x', '--subject-token-file'],
    ['--actor-token cbs_top', '--actor-token-file'],
    ['--assertion cbs_top', '--assertion-file'],
  ])('R23: %s is refused in words and not repeated', async (given, instead) => {
    const { code, out, err } = await createBench().run(`exchange --client a --resource https://r ${given}`);
    expect(code).toBe(2);
    expect(err).toContain(`use ${instead}`);
    expect(out + err).not.toContain('cbs_top');
  });

  test('R23: a secret where the name of a file should be is refused and not repeated', async () => {
    for (const given of [
      '--secret-file cbs_top',
      '--secret-file s --subject-token-file eyJhbGciOiJFUzI1NiJ9.cbs_top.x',
    ]) {
      const bench = createBench();
      bench.file('s', 'secret');
      const { code, err } = await bench.run(`exchange --client a --resource https://r ${given}`);
      expect(code).toBe(2);
      expect(err).toContain('give a file that holds');
      expect(err).not.toContain('cbs_top');
    }
  });

  test.each([
    ['--resource https://r', 'say how the client authenticates'],
    ['--resource https://r --secret-file s --key-file s', 'in one way'],
    ['--secret-file s', 'say what the token is for'],
    ['--resource https://r --secret-file s --actor-token-file s', 'give --subject-token-file as well'],
    ['--resource https://r --secret-file - --subject-token-file -', 'can be read only once'],
    ['--resource https://r --secret-file s --raw --out t', '--raw prints the token and nothing else'],
    ['--resource https://r --secret-file missing', 'missing cannot be read (ENOENT)'],
    ['--resource https://r --secret-file s --subject-token-file s --subject-token-type saml', 'Allowed choices'],
    [
      '--resource https://r --secret-file s --issuer http://sts.example.com',
      'must be an https URL, or http on loopback',
    ],
    ['--resource https://r --key-file s --issuer http://127.0.0.1:9', 'did not answer|could not be reached'],
  ])('%s is refused before anything is sent', async (given, message) => {
    const bench = createBench();
    bench.file('s', 'secret');
    const { code, err } = await bench.run(`exchange --client a ${given}`);
    expect(code).not.toBe(0);
    expect(err).toMatch(new RegExp(message.replaceAll(/[()]/g, '\\$&')));
  });

  test('R13: sends a secret only where metadata of that very issuer say, and never in clear', async () => {
    const bench = createBench();
    bench.file('s', 'top-secret');
    const bodies: string[] = [];
    let metadata: object = {};
    const server = createServer((request, response) => {
      text(request).then((body) => {
        bodies.push(`${request.headers.authorization ?? ''}${body}`);
        response.writeHead(request.method === 'POST' ? 307 : 200, {
          'Content-Type': 'application/json',
          Location: '/elsewhere',
        });
        response.end(JSON.stringify(metadata));
      }, console.error);
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    onTestFinished(() => {
      server.close();
    });
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const ask = `exchange --client a --resource https://r --secret-file s --issuer ${url}`;
    metadata = { issuer: 'https://sts.example.com', token_endpoint: `${url}/token` };
    expect((await bench.run(ask)).err).toContain('are of another issuer');
    metadata = { issuer: url, token_endpoint: 'http://sts.example.com/token' };
    expect((await bench.run(ask)).err).toContain('no token_endpoint that is https, or on loopback');
    expect(bodies.join('')).toBe('');
    // No redirect is followed.
    metadata = { issuer: url, token_endpoint: `${url}/token` };
    expect((await bench.run(ask)).err).toContain('refused with 307');
    expect(bodies.filter((body) => body !== '')).toHaveLength(1);
  });

  test('warns of a secret that others can read', async () => {
    const bench = createBench();
    chmodSync(bench.file('s', 'secret'), 0o644);
    const { err } = await bench.run(
      'exchange --client a --resource https://r --secret-file s --issuer http://sts.example.com',
    );
    expect(err).toContain('warning: s can be read by other users; run: chmod 600 s');
  });
});
