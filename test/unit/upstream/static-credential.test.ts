/** Static credentials: whose secret is read, to whom it is pinned, and for how long it is used without being read again. */
import { expect, test } from 'vitest';
import { Unavailable } from '../../../src/core/refusal.ts';
import { principalDigest } from '../../../src/tokens/revocation.ts';
import { createCredentials } from '../../../src/upstream/credentials.ts';
import type { CredentialsParts } from '../../../src/upstream/credentials.ts';
import { granted, memoryStore, standingClock, unleased, upstream, useOf } from './credentials-in-memory.ts';

const SHARED = { kind: 'static', store: 'embedded', path: 'shared/github', field: 'token' };

function room(more: Partial<CredentialsParts> = {}) {
  const store = memoryStore();
  const vault = memoryStore();
  const clock = standingClock();
  const stores = { embedded: store, vault: { ...vault, ...noLeases } };
  const credentials = createCredentials({
    stores,
    clock,
    cacheSeconds: 5,
    ...unleased,
    fetcher: { postForm: () => Promise.reject(new Error('not asked for')) },
    vaultUserOf: (use) => ({ key: principalDigest(use.subject), assertion: () => Promise.resolve('jwt') }),
    ...more,
  });
  return { store, vault, clock, credentials };
}

const noLeases = {
  openHolder: () => Promise.reject(new Error('not asked for')),
  revokeHolder: () => Promise.reject(new Error('not asked for')),
};

test('gives the field, its version, and the path as it is configured', async () => {
  const { store, credentials } = room();
  store.put('shared/github', { token: 'k1', other: 'x' });
  const got = await granted(credentials.obtain(useOf(upstream(SHARED))));
  expect(got).toMatchObject({
    fields: { token: 'k1' },
    secret: 'k1',
    username: undefined,
    expiresAtSeconds: undefined,
    mark: { kind: 'static', store: 'embedded', path: 'shared/github', version: '1' },
  });
  expect(Object.keys(got.fields)).toEqual(['token']);
});

test('fills the path with who it is for, and leaves no way out of it', async () => {
  const { vault, credentials } = room();
  const spec = { ...SHARED, store: 'vault', mount: 'kv', path: 'users/{subject}/{subject_hash}/{client}/{resource}' };
  const use = useOf(upstream(spec), { subjectName: 'corp:../../sys' });
  const hash = principalDigest(use.subject);
  vault.put(`users/corp~3A~2E~2E~2F~2E~2E~2Fsys/${hash}/crm-server/crm`, { token: 'k1' });
  expect((await granted(credentials.obtain(use))).mark.path).toBe('users/{subject}/{subject_hash}/{client}/{resource}');
  expect(vault.reads).toMatchObject([{ mount: 'kv', as: undefined }]);
});

test('tells the operator what is missing: secret, field, value of a placeholder; a person is in no detail', async () => {
  const { store, credentials } = room();
  const asked = (path: string, more = {}) => credentials.obtain(useOf(upstream({ ...SHARED, path }), more));
  expect(await asked('c/{client}')).toMatchObject({
    reason: 'credential_missing',
    detail: { upstream: 'github', store: 'embedded', path: 'c/crm-server', missing: 'secret' },
  });
  const personal = await asked('u/{subject}/{client}');
  expect(personal).toMatchObject({ detail: { path: 'u/{subject}/{client}' } });
  expect(JSON.stringify(personal)).not.toContain('ada');
  expect(await asked('r/{resource}', { resource: undefined })).toMatchObject({
    reason: 'credential_missing',
    detail: { path: 'r/{resource}', missing: 'value of {resource}' },
  });
  expect(await asked('u/{subject}', { subjectName: '' })).toMatchObject({ reason: 'credential_missing' });
  store.put('shared/github', { other: 'x' });
  expect(await asked('shared/github')).toMatchObject({
    reason: 'credential_missing',
    detail: { field: 'token', missing: 'field' },
  });
  store.put('shared/github', { token: '' });
  store.forbid('f');
  expect(await asked('f')).toMatchObject({ reason: 'credential_forbidden', detail: { path: 'f' } });
});

test('nothing is kept of what was missing, failed, or had no field', async () => {
  const { store, credentials } = room();
  const use = useOf(upstream(SHARED));
  expect(await credentials.obtain(use)).toMatchObject({ reason: 'credential_missing' });
  store.fail(new Unavailable('vault', 'sealed'));
  await expect(credentials.obtain(use)).rejects.toThrow('sealed');
  store.fail(undefined);
  store.put('shared/github', { token: 'k1' });
  expect((await granted(credentials.obtain(use))).secret).toBe('k1');
});

test('without Vault it says which setting is missing', async () => {
  const { credentials } = room({ stores: { embedded: memoryStore(), vault: undefined } });
  const use = useOf(upstream({ ...SHARED, store: 'vault' }));
  await expect(credentials.obtain(use)).rejects.toMatchObject({
    dependency: 'vault',
    message: expect.stringContaining('vault.address') as string,
  });
});

test.each<[string, object, Record<string, string>, string | undefined]>([
  ['no tags, none demanded', {}, {}, undefined],
  [
    'both of this use',
    { owner: true, audience: true },
    { cambist_owner: 'corp:ada', cambist_audience: 'github' },
    undefined,
  ],
  ['one of several audiences', {}, { cambist_audience: 'jira, github' }, undefined],
  ['another owner', {}, { cambist_owner: 'corp:eve' }, 'cambist_owner another'],
  ['an owner in another case', {}, { cambist_owner: 'CORP:ada' }, 'cambist_owner another'],
  ['a list of owners', {}, { cambist_owner: 'corp:ada,corp:eve' }, 'cambist_owner another'],
  ['an empty owner', {}, { cambist_owner: '' }, 'cambist_owner another'],
  ['another audience', {}, { cambist_audience: 'jira' }, 'cambist_audience another'],
  ['an audience that begins like it', {}, { cambist_audience: 'github-enterprise' }, 'cambist_audience another'],
  ['no owner, where it is demanded', { owner: true }, { cambist_audience: 'github' }, 'cambist_owner absent'],
  ['no audience, where it is demanded', { audience: true }, { cambist_owner: 'corp:ada' }, 'cambist_audience absent'],
])('tags: %s', async (_, required, tags, expected) => {
  const { store, credentials } = room();
  store.put('shared/github', { token: 'k1' }, tags);
  const got = await credentials.obtain(useOf(upstream(SHARED, { require_tags: required })));
  if (expected === undefined) expect(got).toMatchObject({ secret: 'k1' });
  else {
    const [tag, fault] = expected.split(' ');
    expect(got).toMatchObject({ reason: 'credential_not_pinned', detail: { tag, fault } });
  }
});

test('a kept secret is checked against its tags for each use', async () => {
  const { store, credentials } = room();
  store.put('shared/github', { token: 'k1' }, { cambist_owner: 'corp:ada' });
  expect((await granted(credentials.obtain(useOf(upstream(SHARED))))).secret).toBe('k1');
  const eve = useOf(upstream(SHARED), {
    subjectName: 'corp:eve',
    subject: { issuer: 'https://corp.example', sub: 'eve' },
  });
  expect(await credentials.obtain(eve)).toMatchObject({ reason: 'credential_not_pinned' });
});

test('an injected secret is read once in five seconds; rotated, it is used within them', async () => {
  const { store, clock, credentials } = room();
  const use = useOf(upstream(SHARED));
  store.put('shared/github', { token: 'k1' });
  await credentials.obtain(use);
  store.put('shared/github', { token: 'k2' });
  clock.forward(4.9);
  expect((await granted(credentials.obtain(use))).secret).toBe('k1');
  expect(store.reads).toHaveLength(1);
  clock.forward(0.1);
  expect(await granted(credentials.obtain(use))).toMatchObject({ secret: 'k2', mark: { version: '2' } });
});

test('the time counts from before the secret was read', async () => {
  const { store, clock, credentials } = room();
  const use = useOf(upstream(SHARED));
  store.put('shared/github', { token: 'k1' });
  const release = store.hold();
  const obtaining = credentials.obtain(use);
  clock.forward(4);
  release();
  await obtaining;
  store.put('shared/github', { token: 'k2' });
  clock.forward(1.5);
  expect((await granted(credentials.obtain(use))).secret).toBe('k2');
});

test('concurrent uses share one read', async () => {
  const { store, credentials } = room();
  store.put('shared/github', { token: 'k1' });
  const all = await Promise.all(Array.from({ length: 50 }, () => granted(credentials.obtain(useOf(upstream(SHARED))))));
  expect(store.reads).toHaveLength(1);
  expect(new Set(all.map(({ secret }) => secret))).toEqual(new Set(['k1']));
});

test('with 0 seconds, and for whoever fetches, each use reads for itself', async () => {
  const none = room({ cacheSeconds: 0 });
  none.store.put('shared/github', { token: 'k1' });
  await Promise.all([1, 2, 3].map(() => none.credentials.obtain(useOf(upstream(SHARED)))));
  expect(none.store.reads).toHaveLength(3);

  const { store, credentials } = room();
  store.put('shared/github', { token: 'k1' });
  const fetching = useOf(upstream({ ...SHARED, allow_fetch: true }), { purpose: 'fetch' });
  await credentials.obtain({ ...fetching, purpose: 'inject' });
  store.put('shared/github', { token: 'k2' });
  expect((await granted(credentials.obtain(fetching))).secret).toBe('k2');
  store.put('shared/github', { token: 'k3' });
  expect((await granted(credentials.obtain(fetching))).secret).toBe('k3');
});

test('a static key is fetched only where the upstream allows it', async () => {
  const { store, credentials } = room();
  store.put('shared/github', { token: 'k1' });
  expect(await credentials.obtain(useOf(upstream(SHARED), { purpose: 'fetch' }))).toMatchObject({
    reason: 'credential_not_fetchable',
  });
  expect(store.reads).toHaveLength(0);
});

test('what was read as one subject is not given to another, nor to Cambist itself', async () => {
  const { vault, credentials } = room();
  const spec = { ...SHARED, store: 'vault', login: 'subject' };
  vault.put('shared/github', { token: 'k1' });
  const ada = useOf(upstream(spec));
  const eve = useOf(upstream(spec), { subject: { issuer: 'https://corp.example', sub: 'eve' } });
  const service = useOf(upstream({ ...spec, login: 'service' }));
  await Promise.all([ada, ada, eve, service].map((use) => credentials.obtain(use)));
  await credentials.obtain(eve);
  expect(vault.reads.map(({ as }) => as)).toEqual([
    principalDigest(ada.subject),
    principalDigest(eve.subject),
    undefined,
  ]);
});

test('a login as the subject needs its setting', async () => {
  const { credentials } = room({ vaultUserOf: undefined });
  expect(await credentials.obtain(useOf(upstream({ ...SHARED, store: 'vault', login: 'subject' })))).toMatchObject({
    reason: 'credential_missing',
    detail: { fix: 'set vault.subject_login' },
  });
});

test('a changed upstream, another path or mount is another secret', async () => {
  const { store, credentials } = room();
  store.put('shared/github', { token: 'k1' });
  await credentials.obtain(useOf(upstream(SHARED)));
  await credentials.obtain(useOf(upstream(SHARED, {}, 2)));
  await credentials.obtain(useOf(upstream(SHARED, { name: 'gitlab' })));
  expect(store.reads).toHaveLength(3);
});

test('a rejected credential is read afresh, once a second at most; another that came since is left', async () => {
  const { store, clock, credentials } = room();
  const use = useOf(upstream(SHARED));
  store.put('shared/github', { token: 'k1' });
  const first = await granted(credentials.obtain(use));
  store.put('shared/github', { token: 'k2' });
  credentials.reject(use, first);
  const second = await granted(credentials.obtain(use));
  expect(second.secret).toBe('k2');
  credentials.reject(use, first);
  await credentials.obtain(use);
  expect(store.reads).toHaveLength(2);
  credentials.reject(use, second);
  await credentials.obtain(use);
  expect(store.reads).toHaveLength(2);
  clock.forward(1);
  credentials.reject(use, second);
  await credentials.obtain(use);
  expect(store.reads).toHaveLength(3);
});

test('closed, it keeps nothing', async () => {
  const { store, credentials } = room();
  store.put('shared/github', { token: 'k1' });
  const use = useOf(upstream(SHARED));
  await credentials.obtain(use);
  await credentials.close();
  await credentials.obtain(use);
  await credentials.obtain(use);
  expect(store.reads).toHaveLength(3);
});

test('a value that would break the request is refused, and not shown', async () => {
  const { store, credentials } = room();
  store.put('shared/github', { token: 'sk-canary\n' });
  const refused = await credentials.obtain(useOf(upstream(SHARED)));
  expect(refused).toMatchObject({
    reason: 'credential_refused',
    detail: { fault: 'value_with_line_break_or_control' },
  });
  expect(JSON.stringify(refused)).not.toContain('canary');
  const fetched = useOf(upstream({ ...SHARED, allow_fetch: true }), { purpose: 'fetch' });
  expect((await granted(credentials.obtain(fetched))).secret).toBe('sk-canary\n');
});

test('basic: the user name comes along', async () => {
  const { store, credentials } = room();
  store.put('shared/github', { token: 'k1', user: 'svc' });
  const spec = { ...SHARED, username_field: 'user' };
  const got = await granted(credentials.obtain(useOf(upstream(spec, { inject: { kind: 'basic' } }))));
  expect(got).toMatchObject({ secret: 'k1', username: 'svc', fields: { token: 'k1', user: 'svc' } });
  store.put('shared/github', { token: 'k1' });
  expect(await credentials.obtain(useOf(upstream(spec, { inject: { kind: 'basic' } }, 2)))).toMatchObject({
    reason: 'credential_missing',
    detail: { field: 'user' },
  });
});
