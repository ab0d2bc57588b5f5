/**
 * F7: the clock of a node against that of the database.
 */
import { afterEach, expect, it } from 'vitest';
import { measureClockSkew } from '../../src/store/clock-skew.ts';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import { withDatabases } from '../support/databases.ts';

withDatabases('the skew of a clock', (databases) => {
  it.each([0, 3_600_000, -45_000, 2_345])('of %i ms is measured, within what the way took', async (shiftMs) => {
    const { db } = await databases.fresh();
    const { skewMs, uncertaintyMs } = await measureClockSkew(db, { nowMs: () => Date.now() + shiftMs });
    // Both ends of our own reading are rounded to a millisecond.
    expect(Math.abs(skewMs + shiftMs)).toBeLessThanOrEqual(uncertaintyMs + 2);
  });

  it('is taken from the best of several samples when one took long', async () => {
    const { db } = await databases.fresh();
    let questions = 0;
    const slowAtFirst = {
      query: async <R>(text: string, values?: readonly unknown[]): Promise<R[]> => {
        const rows = await db.query<R>(text, values);
        questions += 1;
        if (questions === 1) await new Promise((resolve) => setTimeout(resolve, 400));
        return rows;
      },
    };
    const { uncertaintyMs } = await measureClockSkew(slowAtFirst, { nowMs: () => Date.now() });
    expect(questions).toBeGreaterThan(1);
    expect(uncertaintyMs).toBeLessThan(200);
  });
});

let cambist: TestCambist | undefined;
afterEach(async () => {
  await cambist?.stop();
  cambist = undefined;
});

it('F7 a node whose clock is off by more than the limit is not ready, and ready when it is right again', async () => {
  let shiftMs = 5_000;
  const clock = { nowMs: () => Date.now() + shiftMs };
  cambist = await startCambist({ objects: '', settings: { clock } });
  const { url, adminUrl } = cambist;
  const readyz = async (base: string) => {
    const response = await fetch(`${base}/readyz`);
    return { status: response.status, body: (await response.json()) as any };
  };
  expect(await readyz(url)).toEqual({
    status: 503,
    body: { status: 'not_ready', checks: [{ name: 'clock', ok: false }] },
  });
  expect((await readyz(adminUrl)).body.checks[0].reason).toMatch(
    /^the clock is (49|50)\d\d ms ahead of the database's; the limit is 2000 ms$/,
  );
  expect((await fetch(`${url}/healthz`)).status).toBe(200);
  expect(cambist.service.health.clockSkewMs()).toBeLessThan(-4_900);

  // Compared again every ten seconds.
  shiftMs = -1_500;
  await expect.poll(() => readyz(url), { timeout: 30_000, interval: 500 }).toMatchObject({ status: 200 });
  shiftMs = -60_000;
  await expect.poll(() => readyz(url), { timeout: 30_000, interval: 500 }).toMatchObject({ status: 503 });
  expect((await readyz(adminUrl)).body.checks[0].reason).toContain('ms behind');
}, 90_000);
