/** What is taken out of an upstream's answer: every spelling that docs/upstreams.md names, and where it is looked for. */
import { describe, expect, test } from 'vitest';
import { createScrubber, isScrubbable, SCRUBBED_MAX_BYTES } from '../../../src/http/egress-scrub.ts';
import { ENCODINGS } from '../../support/canary/encodings.ts';

const SECRET = 'sk-live/+"\\<é&~=;:0123456789abcdef';

test.each(Object.entries(ENCODINGS))('a secret %s is replaced, character for character', (_, spell) => {
  const scrubber = createScrubber([undefined, SECRET]);
  const said = `before ${spell(SECRET)} after`;
  const scrubbed = scrubber.bytes(Buffer.from(said)).toString();
  expect(scrubbed).not.toBe(said);
  expect(Buffer.byteLength(scrubbed)).toBe(Buffer.byteLength(said));
  expect(scrubbed).toMatch(/^before .*\*{30}.* after$/);
  expect(scrubbed).not.toContain('0123456789');
});

test('what is short is not looked for, and nothing else is touched', () => {
  const scrubber = createScrubber(['short', SECRET]);
  expect(scrubber.text('a short answer')).toBe('a short answer');
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
  expect(scrubber.bytes(bytes)).toEqual(bytes);
});

describe('which bodies', () => {
  const of = (status: number, headers: Record<string, string>) =>
    isScrubbable(new Map(Object.entries(headers)), status);
  const text = { 'content-type': 'text/plain; charset=utf-8' };
  test.each<[boolean, number, Record<string, string>]>([
    [true, 200, { ...text, 'content-length': '0' }],
    [true, 200, { ...text, 'content-length': String(SCRUBBED_MAX_BYTES) }],
    [false, 200, { ...text, 'content-length': String(SCRUBBED_MAX_BYTES + 1) }],
    [true, 400, { 'content-type': 'application/problem+json' }],
    [false, 399, { 'content-type': 'application/json' }],
    [false, 500, { 'content-type': 'text/event-stream' }],
    [false, 500, { 'content-type': 'application/octet-stream' }],
    [false, 500, { ...text, 'content-encoding': 'gzip' }],
    [false, 500, {}],
  ])('%s: %i %o', (scrubbed, status, headers) => {
    expect(of(status, headers)).toBe(scrubbed);
  });
});
