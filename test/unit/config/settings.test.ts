import { describe, expect, test } from 'vitest';
import { readDocument } from '../../../src/admin/document.ts';
import { formatFault } from '../../../src/admin/fault.ts';
import { parseSettings } from '../../../src/config/settings.ts';
import type { Settings } from '../../../src/config/settings.ts';

const KEY = Buffer.from(Array.from({ length: 32 }, (_, index) => index * 7)).toString('base64');

interface Given {
  readonly yaml?: string;
  readonly env?: Record<string, string>;
  readonly files?: Record<string, string>;
}

function parse({ yaml, env = {}, files = {} }: Given): Settings | string[] {
  const document = yaml === undefined ? undefined : readDocument(yaml, 'cambist.yaml');
  if (Array.isArray(document)) return document.map(formatFault);
  const parsed = parseSettings({
    document,
    environment: env,
    fileFolder: '/etc/cambist',
    cwd: '/srv',
    hostName: 'node-7',
    readSecret: (path) => (files[path] === undefined ? { failure: 'ENOENT' } : { text: files[path] }),
  });
  return Array.isArray(parsed) ? parsed.map(formatFault) : parsed;
}

function settings(given: Given): Settings {
  const parsed = parse(given);
  if (Array.isArray(parsed)) throw new Error(parsed.join('\n'));
  return parsed;
}

function faults(given: Given): string[] {
  const parsed = parse(given);
  return Array.isArray(parsed) ? parsed : ['(no fault)'];
}

const SHARED = `issuer: https://sts.example.com\ndatabase:\n  url: postgres://u:p@db/cambist\n`;

describe('defaults', () => {
  test('without a file or a variable: embedded, on loopback, demo objects allowed', () => {
    expect(settings({})).toEqual({
      issuer: 'http://127.0.0.1:8080',
      listen: { host: '127.0.0.1', port: 8080, tls: undefined },
      adminListen: { host: '127.0.0.1', port: 8081, tls: undefined },
      trustedProxies: [],
      clockSkewLimitMs: 2000,
      shutdownGraceMs: 0,
      database: {
        kind: 'embedded',
        schema: 'cambist',
        folder: '/srv/.cambist',
        dataFolder: '/srv/.cambist/data',
        keyFile: '/srv/.cambist/kek',
        socketPath: '/srv/.cambist/cambist.sock',
      },
      keyEncryptionKey: undefined,
      previousKeyEncryptionKeys: [],
      keyTimes: { rotateAfterSeconds: 2_592_000, publishAheadSeconds: 86_400 },
      housekeeping: { intervalSeconds: 60, auditRetentionDays: undefined },
      limits: {
        clientPerMinute: 6000,
        subjectPerMinute: 600,
        resourcePerMinute: null,
        statusPerMinute: 60_000,
        failedAuthenticationsPerMinute: 60,
        requestsUnderWayMax: 1000,
        egressCallsMax: 1000,
        egressCallsPerClientMax: 200,
      },
      vault: undefined,
      upstream: { credentialCacheSeconds: 5 },
      logLevel: 'info',
      nodeName: 'node-7',
      demoRefusedBecause: undefined,
    });
  });

  test('a data_dir of the file is relative to the file, one of the environment to the working folder', () => {
    expect(settings({ yaml: 'data_dir: here' }).database).toMatchObject({ folder: '/etc/cambist/here' });
    expect(settings({ yaml: 'log_level: warn' }).database).toMatchObject({ folder: '/srv/.cambist' });
    expect(settings({ yaml: 'data_dir: here', env: { CAMBIST_DATA_DIR: 'there' } }).database).toMatchObject({
      folder: '/srv/there',
    });
  });

  test('an issuer follows the listener on loopback only', () => {
    expect(settings({ env: { CAMBIST_LISTEN: '[::1]:9000' } }).issuer).toBe('http://[::1]:9000');
    expect(faults({ env: { CAMBIST_LISTEN: '127.0.0.1:0' } })).toEqual([
      'defaults issuer: is required; fix: set it to the URL that clients reach, such as https://sts.example.com',
    ]);
  });
});

test('no limit is written null, in the file and in a variable; 0 is refused and told so', () => {
  const env = { CAMBIST_LIMITS_SUBJECT_PER_MINUTE: 'null', CAMBIST_LIMITS_RESOURCE_PER_MINUTE: '20' };
  expect(settings({ yaml: 'limits: { client_per_minute: null }', env }).limits).toMatchObject({
    clientPerMinute: null,
    subjectPerMinute: null,
    resourcePerMinute: 20,
  });
  expect(faults({ yaml: 'limits: { client_per_minute: 0, requests_under_way_max: many }' })).toEqual([
    'cambist.yaml:1:30 limits.client_per_minute: must be at least 1 (got 0); fix: give requests per minute of one client at the token endpoint, over all nodes; null = no limit',
    'cambist.yaml:1:57 limits.requests_under_way_max: must be a number (got "many"); fix: write a number (Most requests that one node works on at a time; what comes beyond is answered 503)',
  ]);
});

describe('faults', () => {
  test('every fault at once, in the order of the file, each with line, column, value and fix', () => {
    const yaml = [
      'issuer: https://sts.example.com/',
      'listen:',
      '  host: example.com',
      '  prot: 80',
      'log_level: verbose',
      'log_levle: debug',
    ].join('\n');
    expect(faults({ yaml })).toEqual([
      'cambist.yaml:1:9 issuer: must not end with a slash: `iss` is compared character by character, and half of all verifiers strip it (got "https://sts.example.com/"); fix: give our own issuer URL, the `iss` of our tokens, such as https://sts.example.com',
      'cambist.yaml:3:9 listen.host: must be an IP address of this machine, or localhost (got "example.com"); fix: give IP address to listen on; 127.0.0.1 reaches this machine only, 0.0.0.0 every interface',
      'cambist.yaml:4:3 listen.prot: is not known here; fix: did you mean "port"?',
      'cambist.yaml:5:12 log_level: must be one of trace, debug, info, warn, error, fatal, silent (got "verbose"); fix: choose one of them (Least severity that is written to the operational log (stderr))',
      'cambist.yaml:6:1 log_levle: is not known here; fix: did you mean "log_level"?',
    ]);
  });

  test.each([
    ['not a mapping', '- issuer', 'must be a mapping of settings'],
    ['not YAML', 'issuer: [', 'is not valid YAML'],
    ['a key twice', 'issuer: https://a.example\nissuer: https://b.example', 'the same key stands twice'],
    ['two documents', 'issuer: https://a.example\n---\nissuer: https://b.example', 'holds several documents'],
    ['aliases without end', `a: &a [x]\n${bomb()}`, 'aliases'],
  ])('%s is refused', (_, yaml, message) => {
    expect(faults({ yaml })[0]).toContain(message);
  });

  test.each([
    ['ftp://sts.example.com', 'must be an https URL'],
    ['sts.example.com', 'must be an https URL'],
    ['https://sts.example.com?x=1', 'must have no query and no fragment'],
    ['https://sts.example.com#x', 'must have no query and no fragment'],
    ['https://u:p@sts.example.com', 'must hold no user name or password'],
    ['https://STS.example.com', 'canonical spelling, https://sts.example.com'],
    ['https://sts.example.com:443', 'canonical spelling, https://sts.example.com'],
    ['https://sts.example.com/a/../b', 'canonical spelling, https://sts.example.com/b'],
    ['http://sts.example.com', 'must be https (http only on loopback)'],
    ['http://127.0.0.1.example.com', 'must be https (http only on loopback)'],
  ])('issuer %s is refused (RFC 8414 §2)', (issuer, message) => {
    expect(faults({ yaml: `issuer: "${issuer}"` })).toHaveLength(1);
    expect(faults({ yaml: `issuer: "${issuer}"` })[0]).toContain(message);
  });

  test.each(['https://sts.example.com', 'https://example.com/sts', 'http://127.0.0.1:8080', 'http://localhost:1'])(
    'issuer %s is taken as it is',
    (issuer) => {
      expect(settings({ env: { CAMBIST_ISSUER: issuer } }).issuer).toBe(issuer);
    },
  );
});

describe('plain HTTP where others can reach it', () => {
  const open = `issuer: https://sts.example.com\nlisten:\n  host: 0.0.0.0\n`;

  test('is refused, with both ways out', () => {
    expect(faults({ yaml: open })).toEqual([
      'cambist.yaml:3:9 listen.host: would offer plain HTTP on an address that others can reach (got "0.0.0.0"); fix: listen on 127.0.0.1, set listen.tls, or set listen.plain_http: behind_tls_proxy if only a TLS-terminating proxy reaches it',
    ]);
  });

  test('is allowed when the file says that a TLS proxy is in front; demo objects are not', () => {
    const given = settings({ yaml: `${open}  plain_http: behind_tls_proxy\n` });
    expect(given.listen).toEqual({ host: '0.0.0.0', port: 8080, tls: undefined });
    expect(given.demoRefusedBecause).toBe('listen.host is 0.0.0.0, which others can reach');
  });

  test('needs an https issuer even then', () => {
    const yaml = 'issuer: http://127.0.0.1:8080\nlisten: {host: 10.0.0.1, plain_http: behind_tls_proxy}';
    expect(faults({ yaml })[0]).toContain('issuer: must be https when others can reach the listener');
  });

  test.each(['127.0.0.1', '127.8.8.8', '::1', 'localhost'])('%s is not such an address', (host) => {
    expect(settings({ yaml: `listen: {host: "${host}"}` }).demoRefusedBecause).toBeUndefined();
  });

  test.each(['0.0.0.0', '::', '192.168.1.5', '::ffff:127.0.0.1', '127.0.0.1.example.com', '1270.0.0.1'])(
    '%s is one, or not an address at all',
    (host) => {
      expect(faults({ yaml: `issuer: https://a.example\nlisten: {host: "${host}"}` })[0]).toMatch(
        /plain HTTP|IP address/,
      );
    },
  );
});

describe('listeners', () => {
  const tls = '{ cert_file: tls/cert.pem, key_file: /run/tls/key.pem }';

  test('TLS makes an open address sound, and needs an https issuer; its files are relative to the settings file', () => {
    const given = settings({ yaml: `issuer: https://sts.example.com\nlisten: { host: 0.0.0.0, tls: ${tls} }` });
    expect(given.listen).toEqual({
      host: '0.0.0.0',
      port: 8080,
      tls: { certFile: '/etc/cambist/tls/cert.pem', keyFile: '/run/tls/key.pem' },
    });
    expect(faults({ yaml: `issuer: http://127.0.0.1:8080\nlisten: { tls: ${tls} }` })).toEqual([
      'cambist.yaml:1:9 issuer: must be https when listen.tls is set (got "http://127.0.0.1:8080"); fix: set it to the https URL that clients reach',
    ]);
  });

  test('the issuer of a first run follows TLS', () => {
    expect(settings({ yaml: `listen: { tls: ${tls} }` }).issuer).toBe('https://127.0.0.1:8080');
    expect(settings({ yaml: `listen: { port: 443, tls: ${tls} }` }).issuer).toBe('https://127.0.0.1');
  });

  test('certificate files from the environment are relative to the working folder', () => {
    const env = { CAMBIST_TLS_CERT_FILE: 'c.pem', CAMBIST_TLS_KEY_FILE: 'k.pem' };
    expect(settings({ env }).listen.tls).toEqual({ certFile: '/srv/c.pem', keyFile: '/srv/k.pem' });
  });

  test('settings that contradict each other are refused', () => {
    const yaml = `issuer: https://a.example\nlisten: { host: 10.0.0.1, plain_http: behind_tls_proxy, tls: ${tls} }`;
    expect(faults({ yaml })).toEqual([expect.stringContaining('listen.plain_http: says that plain HTTP is spoken')]);
    expect(faults({ yaml: 'listen: { tls: { cert_file: c.pem } }' })[0]).toContain('listen.tls.key_file: is required');
  });

  test.each([
    ['listen: { port: 9000 }', { CAMBIST_ADMIN_LISTEN: '127.0.0.1:9000' }],
    ['listen: { port: 8081 }', {}],
    ['issuer: https://a.example\nlisten: { host: 0.0.0.0, port: 8081, plain_http: behind_tls_proxy }', {}],
    ['listen: { host: localhost, port: 8081 }', {}],
  ])('one port for both is refused: %s', (yaml, env) => {
    expect(faults({ yaml, env })).toEqual([expect.stringContaining('is the port of the public listener')]);
  });

  test('one port on two addresses, or none given, is not', () => {
    expect(settings({ yaml: 'listen: { port: 8081 }\nadmin_listen: { host: 127.0.0.2 }' }).adminListen?.port).toBe(
      8081,
    );
    const both = 'issuer: http://127.0.0.1:9\nlisten: { port: 0 }\nadmin_listen: { port: 0 }';
    expect(settings({ yaml: both }).adminListen?.port).toBe(0);
  });

  test('the admin listener can be moved and turned off', () => {
    expect(settings({ env: { CAMBIST_ADMIN_LISTEN: '[::1]:9' } }).adminListen).toMatchObject({ host: '::1', port: 9 });
    expect(settings({ env: { CAMBIST_ADMIN_LISTEN: 'off' } }).adminListen).toBeUndefined();
    const off = 'admin_listen: { enabled: false, port: 8080 }';
    expect(settings({ yaml: off }).adminListen).toBeUndefined();
    expect(faults({ env: { CAMBIST_ADMIN_LISTEN: 'on' } })).toEqual([
      'environment CAMBIST_ADMIN_LISTEN: must be ADDRESS:PORT, or off (got "on"); fix: write it as 127.0.0.1:8080 or [::1]:8080',
    ]);
  });

  test('plain HTTP where others can reach the admin listener is refused', () => {
    expect(faults({ yaml: 'admin_listen: { host: 0.0.0.0, port: 9000 }' })).toEqual([
      'cambist.yaml:1:23 admin_listen.host: would offer plain HTTP on an address that others can reach (got "0.0.0.0"); fix: listen on 127.0.0.1, set admin_listen.tls, or set admin_listen.plain_http: behind_tls_proxy if only a TLS-terminating proxy reaches it',
    ]);
  });

  test.each([
    ['10.0.0.0/33', 'must be a CIDR range'],
    ['10.0.0.1', 'must be a CIDR range'],
    ['10.1/16', 'must be a CIDR range'],
    ['proxy.example', 'must be a CIDR range'],
    ['0.0.0.0/0', 'must not be everybody'],
    ['::/0', 'must not be everybody'],
    ['10.1.2.3/16', 'must start at its network address, 10.1.0.0/16'],
  ])('trusted_proxies: %s is refused', (range, message) => {
    expect(faults({ yaml: `trusted_proxies: ["${range}"]` })).toEqual([expect.stringContaining(message)]);
  });

  test('trusted_proxies from the environment have commas between them, and their faults name the variable', () => {
    const env = { CAMBIST_TRUSTED_PROXIES: '10.1.0.0/16, 2001:db8::/32,192.0.2.1/32' };
    expect(settings({ env }).trustedProxies).toEqual(['10.1.0.0/16', '2001:db8::/32', '192.0.2.1/32']);
    expect(faults({ env: { CAMBIST_TRUSTED_PROXIES: '10.1.0.0/16,10.2' } })).toEqual([
      expect.stringContaining('environment CAMBIST_TRUSTED_PROXIES: must be a CIDR range'),
    ]);
  });

  test('a node that others can reach says for 5 s that it stops before it does, one on loopback for none', () => {
    const open = 'issuer: https://a.example\nlisten: { host: 0.0.0.0, plain_http: behind_tls_proxy }';
    expect(settings({ yaml: open }).shutdownGraceMs).toBe(5000);
    expect(settings({ yaml: `${open}\nshutdown_grace_ms: 0` }).shutdownGraceMs).toBe(0);
  });
});

describe('environment', () => {
  test('wins over the file; numbers are numbers', () => {
    const given = settings({
      yaml: 'issuer: https://a.example\nlisten: {port: 1}\nlog_level: warn',
      env: { CAMBIST_LISTEN: '127.0.0.1:9443', CAMBIST_LOG_LEVEL: 'debug', CAMBIST_NODE_NAME: 'a' },
    });
    expect(given).toMatchObject({
      listen: { port: 9443 },
      logLevel: 'debug',
      nodeName: 'a',
      issuer: 'https://a.example',
    });
  });

  test('a fault of a variable names the variable', () => {
    expect(faults({ yaml: 'log_level: warn', env: { CAMBIST_LISTEN: '127.0.0.1:99999' } })).toEqual([
      'environment CAMBIST_LISTEN: must be at most 65535 (got 99999); fix: give TCP port; 0 takes a free one',
    ]);
    expect(faults({ env: { CAMBIST_LISTEN: '8080' } })).toEqual([
      'environment CAMBIST_LISTEN: must be ADDRESS:PORT (got "8080"); fix: write it as 127.0.0.1:8080 or [::1]:8080',
    ]);
  });

  test('a misspelt variable is a fault; what Kubernetes sets is not', () => {
    expect(faults({ env: { CAMBIST_ISUER: 'x' } })).toEqual([
      'environment CAMBIST_ISUER: is not known; fix: did you mean CAMBIST_ISSUER?',
    ]);
    const env = { CAMBIST_SERVICE_HOST: '10.0.0.1', CAMBIST_PORT: 'tcp://10.0.0.1:80', CAMBIST_PORT_80_TCP: 'x' };
    expect(settings({ env }).issuer).toBe('http://127.0.0.1:8080');
  });

  test('${VAR} and ${VAR:-default} are replaced in the file, also in numbers', () => {
    const yaml = 'issuer: https://${HOST}/sts\nlisten: {port: "${PORT:-9000}"}\nnode_name: ${NODE:-n1}';
    expect(settings({ yaml, env: { HOST: 'a.example', NODE: '' } })).toMatchObject({
      issuer: 'https://a.example/sts',
      listen: { port: 9000 },
      nodeName: 'n1',
    });
    expect(settings({ yaml, env: { HOST: 'a.example', PORT: '1' } }).listen.port).toBe(1);
  });

  test('a variable that is not set is one fault, not an empty value', () => {
    expect(faults({ yaml: 'issuer: ${HOST}' })).toEqual([
      'cambist.yaml:1:9 issuer: HOST is not set in the environment; fix: set HOST, or write ${HOST:-default}',
    ]);
    expect(faults({ yaml: 'issuer: ${HOST-x}' })[0]).toContain('holds "${" without a variable');
  });
});

describe('key_encryption_key', () => {
  test('is required with database.url and never made up', () => {
    expect(faults({ yaml: SHARED })).toHaveLength(1);
    expect(faults({ yaml: SHARED })[0]).toContain('key_encryption_key: is required with database.url');
    expect(faults({ env: { DATABASE_URL: 'postgres://db/x', CAMBIST_ISSUER: 'https://a.example' } })[0]).toContain(
      'key_encryption_key: is required',
    );
  });

  test('comes from a file, relative to the file that names it, without its line break', () => {
    const given = settings({
      yaml: `${SHARED}key_encryption_key: file:kek.txt`,
      files: { '/etc/cambist/kek.txt': `${KEY}\n` },
    });
    expect(Buffer.from((given.keyEncryptionKey as Uint8Array | undefined) ?? []).toString('base64')).toBe(KEY);
    expect(given.demoRefusedBecause).toBe('database.url is set: a shared database holds no demo objects');
    const env = { CAMBIST_KEY_ENCRYPTION_KEY: 'file:kek.txt' };
    expect(settings({ yaml: SHARED, env, files: { '/srv/kek.txt': KEY } }).keyEncryptionKey).toHaveLength(32);
  });

  test('a file that cannot be read is one fault', () => {
    expect(faults({ yaml: `${SHARED}key_encryption_key: file:kek.txt` })).toEqual([
      'cambist.yaml:4:21 key_encryption_key: /etc/cambist/kek.txt cannot be read: ENOENT; fix: create it, readable by this user only',
    ]);
  });

  test.each([
    ['base64', KEY],
    ['base64 without padding', KEY.replace('=', '')],
    ['base64url', Buffer.from(KEY, 'base64').toString('base64url')],
    ['hex', Buffer.from(KEY, 'base64').toString('hex')],
  ])('%s is understood', (_, text) => {
    const given = settings({ yaml: SHARED, env: { CAMBIST_KEY_ENCRYPTION_KEY: text } });
    expect(Buffer.from((given.keyEncryptionKey as Uint8Array | undefined) ?? []).toString('base64')).toBe(KEY);
  });

  test.each([
    ['too short', KEY.slice(4)],
    ['characters that are skipped', `${KEY.slice(0, 10)}!${KEY.slice(10)}`],
    ['a pass phrase', 'correct horse battery staple'],
    ['not random', 'a'.repeat(64)],
  ])('%s is refused, and never shown', (_, text) => {
    const [fault, ...more] = faults({ yaml: SHARED, env: { CAMBIST_KEY_ENCRYPTION_KEY: text } });
    expect(more).toEqual([]);
    expect(fault).toMatch(/^environment CAMBIST_KEY_ENCRYPTION_KEY: .*openssl rand -base64 32$/);
    expect(fault).not.toContain(text);
  });

  test.each([KEY, '${KEK:-' + KEY + '}', 'x${KEK}'])(
    'R23: in plain text in the file it is refused and not shown',
    (text) => {
      const shown = faults({ yaml: `${SHARED}key_encryption_key: "${text}"`, env: { KEK: 'k' } });
      expect(shown.join()).toContain('must not stand in the file in plain text');
      expect(shown.join()).not.toContain(KEY);
    },
  );
});

describe('previous_key_encryption_keys', () => {
  const OTHER = Buffer.from(Array.from({ length: 32 }, (_, index) => 255 - index * 3)).toString('base64');
  const files = { '/etc/cambist/old': `${KEY}\n`, '/srv/old': KEY, '/srv/older': OTHER };
  const bytes = (text: string) => new Uint8Array(Buffer.from(text, 'base64'));

  test('is a list in the file, each entry through a file or a variable', () => {
    const yaml = `previous_key_encryption_keys: ['file:old', '\${OTHER}']`;
    expect(settings({ yaml, files, env: { OTHER } }).previousKeyEncryptionKeys).toEqual([bytes(KEY), bytes(OTHER)]);
  });

  test('has commas between its entries in the environment', () => {
    const env = { CAMBIST_PREVIOUS_KEY_ENCRYPTION_KEYS: `file:old, file:older,${KEY}` };
    expect(settings({ env, files }).previousKeyEncryptionKeys).toEqual([bytes(KEY), bytes(OTHER), bytes(KEY)]);
  });

  test('an entry that is no key or cannot be read is refused, and never shown (R23)', () => {
    const wrong = faults({ env: { CAMBIST_PREVIOUS_KEY_ENCRYPTION_KEYS: `${KEY},secret-pass-phrase` } });
    expect(wrong).toHaveLength(1);
    expect(wrong[0]).toMatch(/^environment CAMBIST_PREVIOUS_KEY_ENCRYPTION_KEYS: entry 2 must be 32 bytes/);
    expect(wrong[0]).not.toContain('secret-pass-phrase');
    const missing = faults({ yaml: `previous_key_encryption_keys: ['file:gone']` });
    expect(missing).toHaveLength(1);
    expect(missing[0]).toContain('/etc/cambist/gone cannot be read: ENOENT');
  });

  test('an entry in plain text in the file is refused and not shown (R23)', () => {
    const shown = faults({ yaml: `previous_key_encryption_keys: ['file:old', '${KEY}']`, files });
    expect(shown).toHaveLength(1);
    expect(shown[0]).toMatch(/^cambist.yaml:1:\d+ previous_key_encryption_keys\[1\]: must not stand in the file/);
    expect(shown[0]).not.toContain(KEY);
  });
});

test('keys: a key is published for less time than the one before it signs, and never for less than verifiers cache', () => {
  const keys = (ahead: number, after: number) =>
    faults({ yaml: `keys: { publish_ahead_seconds: ${ahead}, rotate_after_seconds: ${after} }` });
  expect(keys(3599, 3600)).toEqual(['(no fault)']);
  expect(keys(3600, 3600)[0]).toMatch(/keys.publish_ahead_seconds: must be less than keys.rotate_after_seconds/);
  expect(keys(599, 3600)[0]).toMatch(/keys.publish_ahead_seconds: .*600/);
  expect(keys(600, 3599)[0]).toMatch(/keys.rotate_after_seconds: .*3600/);
});

test('R23: a database URL that is wrong is not shown, for its password', () => {
  const shown = faults({ yaml: SHARED.replace('postgres:', 'mysql:'), env: { CAMBIST_KEY_ENCRYPTION_KEY: KEY } });
  expect(shown).toHaveLength(1);
  expect(shown[0]).toContain('cambist.yaml:3:8 database.url: must be a postgres:// URL');
  expect(shown[0]).not.toContain('u:p');
});

function bomb(): string {
  return Array.from({ length: 9 }, (_, level) => {
    const name = String.fromCharCode(98 + level);
    const before = String.fromCharCode(97 + level);
    return `${name}: &${name} [${Array.from({ length: 9 }, () => `*${before}`).join(',')}]`;
  }).join('\n');
}

describe('key_encryption.transit', () => {
  const TRANSIT = `${SHARED}key_encryption: { transit: { key: cambist } }\n`;
  const VAULT = `vault: { address: 'https://vault.test', login: { method: approle, role_id: r, secret_id_file: s } }\n`;
  const PLACE = { mount: 'transit', key: 'cambist' };

  test('takes the place of the key, in the file or the environment; beside it the old key opens', () => {
    expect(settings({ yaml: TRANSIT + VAULT })).toMatchObject({
      keyEncryptionKey: PLACE,
      previousKeyEncryptionKeys: [],
    });
    const env = { CAMBIST_KEY_ENCRYPTION_TRANSIT_KEY: 'cambist', CAMBIST_PREVIOUS_KEY_ENCRYPTION_KEYS: KEY };
    const moved = settings({ yaml: SHARED + VAULT, env });
    expect(moved.keyEncryptionKey).toEqual(PLACE);
    expect(moved.previousKeyEncryptionKeys).toHaveLength(1);
  });

  test('and back: the local key seals, Transit still opens', () => {
    const yaml = `${SHARED}key_encryption: { previous_transit: { mount: teams/a, key: old } }\n${VAULT}`;
    const given = settings({ yaml, env: { CAMBIST_KEY_ENCRYPTION_KEY: KEY } });
    expect(given.keyEncryptionKey).toHaveLength(32);
    expect(given.previousKeyEncryptionKeys).toEqual([{ mount: 'teams/a', key: 'old' }]);
  });

  test('and key_encryption_key at once are refused, naming both and the way', () => {
    const given = { yaml: TRANSIT + VAULT, env: { CAMBIST_KEY_ENCRYPTION_KEY: KEY } };
    expect(faults(given)).toEqual([
      expect.stringMatching(
        /^environment CAMBIST_KEY_ENCRYPTION_KEY: .*key_encryption\.transit: only one.*previous_key_encryption_keys.*previous_transit/,
      ),
    ]);
  });

  test.each(['transit', 'previous_transit'])('%s without a Vault is refused', (name) => {
    const yaml = `${SHARED}key_encryption: { ${name}: { key: cambist } }\n`;
    const env = name === 'transit' ? {} : { CAMBIST_KEY_ENCRYPTION_KEY: KEY };
    for (const ambient of [{}, { VAULT_ADDR: 'https://vault.test' }])
      expect(faults({ yaml, env: { ...env, ...ambient } })).toEqual([
        expect.stringMatching(new RegExp(`key_encryption\\.${name}: needs a Vault.*vault\\.address and vault\\.login`)),
      ]);
  });

  test.each(['transit', 'previous_transit'])(
    '%s with a login that its own key would have to sign is refused',
    (name) => {
      const yaml = `${SHARED}key_encryption: { ${name}: { key: cambist } }\nvault: { address: 'https://vault.test', login: { method: jwt, role: r } }\n`;
      const env = name === 'transit' ? {} : { CAMBIST_KEY_ENCRYPTION_KEY: KEY };
      expect(faults({ yaml, env })).toEqual([
        expect.stringMatching(/vault\.login\.method jwt.*set vault\.login\.method to kubernetes, approle/),
      ]);
    },
  );

  test('what is wrong with the Vault is said once, and a path that leads elsewhere is refused', () => {
    expect(faults({ yaml: `${TRANSIT}vault: { login: { method: kubernetes, role: r } }\n` })).toEqual([
      expect.stringMatching(/vault\.address: is required/),
    ]);
    for (const key of ['../sys', 'a/b', ''])
      expect(faults({ yaml: `${SHARED}key_encryption: { transit: { key: '${key}' } }\n${VAULT}` })[0]).toMatch(
        /key_encryption\.transit\.key/,
      );
    expect(
      faults({ yaml: `${SHARED}key_encryption: { transit: { key: a }, previous_transit: { key: a } }\n${VAULT}` }),
    ).toEqual([expect.stringMatching(/previous_transit: is the key of key_encryption\.transit/)]);
  });
});
