import { randomBytes } from 'node:crypto';
import { beforeEach, describe, expect, test } from 'vitest';
import { openKeyRing } from '../../../src/keys/ring.ts';
import { makeKey, slotsOf } from '../../../src/keys/slots.ts';
import { createEnvelope } from '../../../src/store/envelope.ts';
import type { KeySlot, SigningKeyRow } from '../../../src/store/signing-keys.ts';

const envelope = createEnvelope(randomBytes(32));
const ES256 = { purpose: 'access-token', algorithm: 'ES256' };

async function row(slot: KeySlot, state: SigningKeyRow['state']): Promise<SigningKeyRow> {
  const made = await makeKey(slot, envelope);
  return {
    ...made,
    state,
    sealedPrivate: state === 'active' || state === 'next' ? made.sealedPrivate : null,
    createdAtMs: 0,
    publishedAtMs: 0,
    activatedAtMs: 0,
    retireAtMs: state === 'retired' || state === 'tainted' ? 1 : null,
    aheadSeconds: null,
  };
}

describe('the ring', () => {
  let rows: SigningKeyRow[];
  let looks = 0;
  let nowMs = 0;
  const store = {
    list: () => {
      looks++;
      return Promise.resolve({ rows, nowMs });
    },
  };
  const open = () => openKeyRing({ store, envelope, clock: { nowMs: () => nowMs } });
  beforeEach(async () => {
    rows = await Promise.all(slotsOf().map((slot) => row(slot, 'active')));
    looks = 0;
    nowMs = 1_000_000;
  });

  test('publishes next, active and retired keys of a purpose, never tainted ones, and public members only (R16)', async () => {
    const [next, retired, tainted] = [
      await row(ES256, 'next'),
      await row(ES256, 'retired'),
      await row(ES256, 'tainted'),
    ];
    rows.push(next, retired, tainted);
    const ring = await open();
    const { keys } = ring.jwks('access-token');
    const expected = rows.filter((key) => key.purpose === 'access-token' && key !== tainted).map(({ kid }) => kid);
    expect(keys.map(({ kid }) => kid)).toEqual(expected);
    expect(keys.flatMap((key) => Object.keys(key))).not.toContain('d');
    expect((await ring.verification(next.kid)).map(({ kid }) => kid)).toEqual(expected);
    expect((await ring.verification(tainted.kid)).map(({ kid }) => kid)).not.toContain(tainted.kid);
  });

  test('keeps purposes apart: no key of one is published or taken for another', async () => {
    const ring = await open();
    const kids = (purpose: Parameters<typeof ring.jwks>[0]) => ring.jwks(purpose).keys.map(({ kid }) => kid);
    expect(kids('revocation-document')).toEqual([rows[2]?.kid]);
    expect(kids('audit-checkpoint')).toEqual([rows[3]?.kid]);
    expect(kids('access-token')).toEqual([rows[0]?.kid, rows[1]?.kid]);
    const document = await ring.signing('revocation-document', 'ES256');
    expect(document.kid).toBe(rows[2]?.kid);
    expect((await ring.signing('audit-checkpoint', 'EdDSA')).privateKey.asymmetricKeyType).toBe('ed25519');
    expect((await ring.verification(document.kid)).map(({ kid }) => kid)).not.toContain(document.kid);
  });

  test('signs with what was active at the last load; a load takes over all at once', async () => {
    const ring = await open();
    const [before] = rows;
    expect((await ring.signing('access-token', 'ES256')).kid).toBe(before?.kid);
    const after = await row(ES256, 'active');
    rows = [{ ...before!, state: 'retired', sealedPrivate: null, retireAtMs: 1 }, after, ...rows.slice(1)];
    expect((await ring.signing('access-token', 'ES256')).kid).toBe(before?.kid);
    await ring.reload();
    expect((await ring.signing('access-token', 'ES256')).kid).toBe(after.kid);
    expect(ring.jwks('access-token').keys.map(({ kid }) => kid)).toContain(before?.kid);
  });

  test('looks in the database for an unknown kid, once a second at most', async () => {
    const ring = await open();
    looks = 0;
    await ring.verification('stranger');
    expect(looks).toBe(0);
    nowMs += 1000;
    const made = await row(ES256, 'retired');
    rows.push(made);
    expect((await ring.verification(made.kid)).map(({ kid }) => kid)).toContain(made.kid);
    await Promise.all([ring.verification('x'), ring.verification(undefined), ring.verification(made.kid)]);
    expect(looks).toBe(1);
  });

  test('what cannot be loaded leaves the ring as it was', async () => {
    const ring = await open();
    const before = ring.jwks('access-token');
    rows[0] = { ...rows[0]!, sealedPrivate: rows[2]!.sealedPrivate };
    await expect(ring.reload()).rejects.toThrow(/does not belong to its row/);
    expect(ring.jwks('access-token')).toEqual(before);
    expect(await ring.signing('access-token', 'ES256')).toBeDefined();
  });
});
