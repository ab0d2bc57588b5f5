import { expect, test } from 'vitest';
import { Unavailable } from '../../../src/core/refusal.ts';
import { createLoad, watchEventLoop } from '../../../src/limits/load.ts';

function held() {
  let release = () => {};
  const work = new Promise<void>((resolve) => {
    release = resolve;
  });
  return { work: () => work, release: () => release() };
}

test('F10 what comes beyond the bound is not begun; what ends makes room, also when it fails', async () => {
  const load = createLoad({ underWayMax: 2, latenessMs: () => 0 });
  const { work, release } = held();
  const running = [load.run(work), load.run(work)];
  let begun = false;
  const beyond = load.run(() => {
    begun = true;
    return Promise.resolve();
  });
  await expect(beyond).rejects.toBeInstanceOf(Unavailable);
  await expect(beyond).rejects.toMatchObject({ dependency: 'overload' });
  expect({ begun, underWay: load.underWay(), shed: load.shed() }).toEqual({ begun: false, underWay: 2, shed: 1 });
  release();
  await Promise.all(running);
  await expect(load.run(() => Promise.reject(new Error('failed')))).rejects.toThrow('failed');
  expect(load.underWay()).toBe(0);
});

test('F10 while the event loop is late a tenth of the bound holds', async () => {
  let latenessMs = 1001;
  const load = createLoad({ underWayMax: 20, latenessMs: () => latenessMs });
  const { work, release } = held();
  const running = [load.run(work), load.run(work)];
  await expect(load.run(work)).rejects.toMatchObject({ dependency: 'overload' });
  latenessMs = 1000;
  running.push(load.run(work));
  release();
  await Promise.all(running);
});

test('the lateness of this process is seen within a second or so of its being late', async () => {
  const eventLoop = watchEventLoop();
  try {
    const seen = async () => {
      while (eventLoop.latenessMs() < 500) {
        const until = performance.now() + 600;
        while (performance.now() < until);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    };
    await seen();
    expect(eventLoop.latenessMs()).toBeGreaterThan(500);
    while (eventLoop.latenessMs() > 500) await new Promise((resolve) => setTimeout(resolve, 50));
  } finally {
    eventLoop.stop();
  }
});
