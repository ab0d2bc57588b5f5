/**
 * A caller that sends a byte now and then must not hold a connection for as long as it likes (express, Node: headers
 * within 10 s, the whole request within 15 s). In a file of its own because it has to wait that long.
 */
import { connect } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';

let cambist: TestCambist;
beforeAll(async () => {
  cambist = await startCambist({ objects: '' });
});
afterAll(() => cambist.stop());

/** Sends `head`, then a byte per second; resolves with what came and after how long, when the server closed. */
function drip(head: string, byte: string): Promise<{ readonly text: string; readonly seconds: number }> {
  const started = performance.now();
  return new Promise((resolve) => {
    const socket = connect(Number(new URL(cambist.url).port), '127.0.0.1');
    let text = '';
    socket.on('data', (chunk) => (text += chunk.toString()));
    socket.on('error', () => undefined);
    const timer = setInterval(() => socket.write(byte), 1000);
    socket.on('close', () => {
      clearInterval(timer);
      resolve({ text, seconds: (performance.now() - started) / 1000 });
    });
    socket.write(head);
  });
}

// Open finding: Node looks for slow requests every 30 s unless `connectionsCheckingInterval` says otherwise.
it('dependency express: a slow body or slow headers are cut within 20 s, and never answered with a token', async () => {
  const post = 'POST /oauth2/token HTTP/1.1\r\nhost: x\r\n';
  const form = 'content-type: application/x-www-form-urlencoded\r\ncontent-length: 1000\r\n\r\ngrant_type=';
  const [body, headers] = await Promise.all([drip(post + form, 'a'), drip(`${post}x-slow: `, 'a')]);
  for (const { text, seconds } of [body, headers]) {
    expect(seconds).toBeLessThan(20);
    expect(text).not.toContain(' 200 ');
    expect(text).not.toMatch(/<html|Error:/i);
  }
}, 90_000);
