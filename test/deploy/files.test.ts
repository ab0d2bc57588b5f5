/** What the files of deploy/ promise: hardened, exact versions, and settings that Cambist takes. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Ajv } from 'ajv';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { formatFault } from '../../src/admin/fault.ts';
import { readDocument } from '../../src/admin/document.ts';
import { parseSettings } from '../../src/config/settings.ts';
import type { Settings } from '../../src/config/settings.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8');
const VERSION = JSON.parse(read('package.json')).version as string;

/** The settings that an environment amounts to; secrets are had as a deployment has them. */
function settingsOf(environment: Record<string, string>, documentIssuer = false, yaml?: string) {
  const issuer = documentIssuer ? { CAMBIST_ISSUER: 'https://sts.example.com' } : {};
  const secrets: Record<string, string> = {
    url: 'postgresql://cambist_app:x@postgres:5432/cambist',
    key: createHash('sha256').update('a key').digest('base64'),
  };
  const document = yaml === undefined ? undefined : readDocument(yaml, 'cambist.yaml');
  if (Array.isArray(document)) throw new Error(document.map(formatFault).join('\n'));
  return parseSettings({
    document,
    environment: { ...environment, ...issuer },
    fileFolder: '/',
    cwd: '/',
    hostName: 'host',
    readSecret: (path) => ({ text: (path.includes('key') ? secrets['key'] : secrets['url']) ?? '' }),
  });
}

describe('Dockerfile', () => {
  const lines = read('deploy/Dockerfile')
    .replaceAll(/\\\n/g, ' ')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));
  const final = lines.slice(lines.findLastIndex((line) => line.startsWith('FROM')));

  test('bases are exact: a full version of Node to build, distroless nonroot of the same line to run', () => {
    expect(lines).toContainEqual(expect.stringMatching(/^ARG BUILD_IMAGE=node:24\.\d+\.\d+-[a-z]+-slim$/));
    expect(lines).toContainEqual(
      expect.stringMatching(/^ARG RUNTIME_IMAGE=gcr\.io\/distroless\/nodejs24-debian\d+:nonroot$/),
    );
    expect(lines.join('\n')).not.toContain('latest');
  });

  test('the final stage has no shell form, no package manager and no user but an unprivileged number', () => {
    expect(final[0]).toBe('FROM ${RUNTIME_IMAGE}');
    expect(final.filter((line) => /^RUN|npm/.test(line))).toEqual([]);
    for (const name of ['ENTRYPOINT', 'CMD'])
      expect(final).toContainEqual(expect.stringMatching(new RegExp(`^${name} \\[`)));
    expect(final).toContainEqual(
      expect.stringMatching(/^HEALTHCHECK .*CMD \["\/nodejs\/bin\/node", "\/app\/healthcheck\.mjs"\]$/),
    );
    expect(final).toContain('USER 65532:65532');
    expect(final.filter((line) => line.startsWith('COPY'))).toEqual(['COPY --from=build --chown=0:0 /image /app']);
    expect(final).toContain(`ARG VERSION=${VERSION}`);
  });

  test('the build context has every source of the build, and no secret, no history, no local data', () => {
    const rules = read('.dockerignore')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'));
    const sent = (path: string) =>
      rules.reduce((allowed, rule) => (matches(rule, path) ? rule.startsWith('!') : allowed), true);
    const tracked = ['src', 'deploy', 'conformance'].flatMap((folder) =>
      readdirSync(join(ROOT, folder), { withFileTypes: true, recursive: true })
        .filter((entry) => entry.isFile() && /\.(ts|sql|mjs)$/.test(entry.name))
        .map((entry) => join(entry.parentPath, entry.name).slice(ROOT.length)),
    );
    const needed = tracked.filter((path) => !path.startsWith('conformance/test/'));
    expect(needed.length).toBeGreaterThan(100);
    expect(
      [
        ...needed,
        'package.json',
        'package-lock.json',
        'openapi.yaml',
        'tsconfig.json',
        'test/config/tsconfig.build.json',
      ].filter((path) => !sent(path)),
    ).toEqual([]);
    const kept = [
      '.git/config',
      'deploy/secrets/key_encryption_key',
      '.cambist/kek',
      'node_modules/x/y.js',
      'agent.secret',
      'src/agent.secret',
      '.env',
      'test/unit/a.test.ts',
      'dist/src/main.js',
    ];
    expect(kept.filter(sent)).toEqual([]);
  });
});

/** As .dockerignore matches: a rule covers a path and everything under it; the last rule that does decides. */
function matches(rule: string, path: string): boolean {
  const pattern = rule
    .replace(/^!/, '')
    .replaceAll('.', '\\.')
    .replaceAll(/\*\*\/|\*/g, (stars) => (stars === '*' ? '[^/]*' : '(.*/)?'));
  return new RegExp(`^${pattern}(/.*)?$`).test(path);
}

describe('compose.yaml', () => {
  const compose = parse(read('deploy/compose.yaml'), { merge: true });
  const services = Object.entries<any>(compose.services);

  test('is valid by the schema of the Compose Specification', () => {
    const { $schema: _, ...schema } = JSON.parse(read('test/deploy/compose-spec.schema.json'));
    const validate = new Ajv({
      strict: false,
      formats: { duration: true, ports: true, expose: true, subnet_ip_address: true },
    }).compile(schema);
    validate(compose);
    expect(validate.errors).toBeNull();
  });

  test.each(services)(
    '%s is hardened: read-only, no capability, no new privileges, bounded, an exact version',
    (name, service) => {
      expect(service).toMatchObject({ read_only: true, cap_drop: ['ALL'], security_opt: ['no-new-privileges:true'] });
      expect(service.cap_add ?? []).toEqual(name === 'proxy' ? ['NET_BIND_SERVICE'] : []);
      expect(service.pids_limit).toBeGreaterThan(0);
      expect(service.mem_limit).toBeDefined();
      expect(service.privileged ?? service.network_mode ?? service.pid ?? service.devices).toBeUndefined();
      expect(service.image).toMatch(/:\d+\.\d+(\.\d+)?(-[a-z]+)?$/);
      const oneShot = service.restart === 'no';
      expect(service.healthcheck).toMatchObject(oneShot ? { disable: true } : { test: expect.any(Array) });
      // No secret in an environment, where `docker inspect` shows it.
      const values = Object.entries<string>(service.environment ?? {}).filter(([variable]) =>
        /PASSWORD|URL|KEY|SECRET/.test(variable),
      );
      expect(values.filter(([, value]) => !/^(file:)?\/run\/secrets\//.test(value))).toEqual([]);
    },
  );

  test('only the proxy is published, on loopback, and the database is where nothing gets in or out', () => {
    expect(services.filter(([, { ports }]) => ports !== undefined).map(([name, { ports }]) => [name, ports])).toEqual([
      ['proxy', ['127.0.0.1:8443:8443']],
    ]);
    expect(compose.networks.back).toEqual({ internal: true });
    for (const name of ['postgres', 'vault', 'vault-setup']) expect(compose.services[name].networks).toEqual(['back']);
  });

  test('two nodes wait for the migration, run as one user without rights of the owner, and are told apart', () => {
    const nodes = ['cambist-a', 'cambist-b'].map((name) => compose.services[name]);
    for (const node of nodes) {
      expect(node.depends_on).toEqual({ migrate: { condition: 'service_completed_successfully' } });
      expect(node.user).toBe('65532:65532');
      expect(node.secrets).not.toContain('database_owner_url');
      expect(node.image).toBe(`cambist:${VERSION}`);
    }
    expect(new Set(nodes.map(({ environment }) => environment.CAMBIST_NODE_NAME)).size).toBe(2);
    expect(compose.services.migrate).toMatchObject({ command: ['migrate', 'up'], restart: 'no' });
  });

  test.each(services.filter(([, { image }]) => (image as string).startsWith('cambist:')))(
    'Cambist takes the settings of %s',
    (_, { environment, configs }) => {
      const resolved = Object.fromEntries(
        Object.entries<string>(environment).map(([name, value]) => [
          name,
          value.replace('${CAMBIST_HOST:-localhost}', 'localhost'),
        ]),
      );
      const mounted = (configs ?? []).find(({ target }: { target: string }) => target === environment.CAMBIST_CONFIG);
      const settings = settingsOf(resolved, false, compose.configs[mounted?.source]?.content);
      expect(settings).toMatchObject({ issuer: 'https://localhost:8443', database: { kind: 'postgres' } });
      // Nodes, and commands that look at them, know of Vault; the migration has nothing to do with it.
      expect((settings as Settings).vault?.login.method).toBe(
        environment.CAMBIST_CONFIG === undefined ? undefined : 'jwt',
      );
    },
  );
});

describe('systemd', () => {
  const unit = read('deploy/systemd/cambist.service');
  const valuesOf = (name: string) => [...unit.matchAll(new RegExp(`^${name}=(.*)$`, 'gm'))].map(([, value]) => value);

  test('the unit gives the service no privileges, nothing to write and copies of its secrets', () => {
    for (const [name, value] of [
      ['NoNewPrivileges', 'yes'],
      ['CapabilityBoundingSet', ''],
      ['ProtectSystem', 'strict'],
      ['ProtectHome', 'yes'],
      ['User', 'cambist'],
      ['RestartPreventExitStatus', '2'],
      ['LimitCORE', '0'],
    ] as const)
      expect([name, valuesOf(name)[0]]).toEqual([name, value]);
    expect(valuesOf('ReadWritePaths')).toEqual([]);
    expect(valuesOf('LoadCredential')).toHaveLength(2);
  });

  test('Cambist takes its environment', () => {
    const environment = Object.fromEntries(
      valuesOf('Environment').map((line) => line?.replace('%d', '/run/credentials').split(/=(.*)/s) ?? []),
    );
    expect(settingsOf(environment, true)).toMatchObject({ database: { kind: 'postgres' } });
  });

  test('systemd finds nothing wrong with it, and little exposure, where there is a systemd to ask', () => {
    if (!existsSync('/usr/bin/systemd-analyze')) return;
    const folder = mkdtempSync(join(tmpdir(), 'cambist-unit-'));
    try {
      const units = ['cambist.service', 'cambist-migrate.service'].map((name) => {
        const path = join(folder, name);
        // What is installed there elsewhere is not here.
        writeFileSync(path, read(`deploy/systemd/${name}`).replace('/usr/bin/node', '/bin/true'));
        return path;
      });
      const verified = spawnSync('systemd-analyze', ['verify', ...units], { encoding: 'utf8' });
      expect(verified.stderr.split('\n').filter((line) => line.includes('cambist'))).toEqual([]);
      const security = spawnSync('systemd-analyze', ['security', '--offline=yes', '--threshold=20', units[0] ?? ''], {
        encoding: 'utf8',
      });
      expect(security.status, security.stdout).toBe(0);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
