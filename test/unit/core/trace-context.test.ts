import { describe, expect, it } from 'vitest';
import { readTraceContext, traceHeaders } from '../../../src/core/trace-context.ts';

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const PARENT = '00f067aa0ba902b7';
const GOOD = `00-${TRACE}-${PARENT}-01`;

describe('W3C Trace Context §3.2 traceparent', () => {
  it('reads version, ids and flags', () => {
    expect(readTraceContext({ traceparent: GOOD })).toEqual({ traceId: TRACE, parentId: PARENT, flags: 1 });
  });

  it.each([
    ['nothing', undefined],
    ['empty', ''],
    ['upper case (§3.2.2)', GOOD.toUpperCase()],
    ['an id that is all zero (§3.2.2.3)', `00-${'0'.repeat(32)}-${PARENT}-01`],
    ['a parent that is all zero (§3.2.2.4)', `00-${TRACE}-${'0'.repeat(16)}-01`],
    ['version ff (§3.2.2.1)', `ff-${TRACE}-${PARENT}-01`],
    ['more behind version 00', `${GOOD}-what`],
    ['a short id', `00-${TRACE.slice(1)}-${PARENT}-01`],
    ['a long parent', `00-${TRACE}-${PARENT}0-01`],
    ['no flags', `00-${TRACE}-${PARENT}`],
    ['one digit of flags', `00-${TRACE}-${PARENT}-1`],
    ['white space around it', ` ${GOOD}`],
    ['two headers, which Node joins', `${GOOD}, ${GOOD}`],
    ['a line break', `${GOOD}\n`],
    ['letters beyond f', `00-${TRACE.replace('b', 'g')}-${PARENT}-01`],
    ['a later version without a dash behind (§3.2.4)', `01-${TRACE}-${PARENT}-01what`],
    ['more than anybody needs', `01-${TRACE}-${PARENT}-01-${'x'.repeat(300)}`],
  ])('takes %s for no traceparent', (_, traceparent) => {
    expect(readTraceContext({ traceparent })).toBeUndefined();
  });

  it('§3.2.4 a later version is read as far as it is known', () => {
    expect(readTraceContext({ traceparent: `cc-${TRACE}-${PARENT}-01-what-the-future-brings` })?.traceId).toBe(TRACE);
  });

  it('is sent on in version 00 with the flags that are known', () => {
    const read = readTraceContext({ traceparent: `cc-${TRACE}-${PARENT}-ff-more` });
    expect(traceHeaders(read!)).toEqual({ traceparent: `00-${TRACE}-${PARENT}-03` });
  });
});

describe('W3C Trace Context §3.3 tracestate', () => {
  const stateOf = (tracestate: string | string[]) => readTraceContext({ traceparent: GOOD, tracestate })?.state;

  it.each([
    ['one member', 'rojo=00f067aa0ba902b7', 'rojo=00f067aa0ba902b7'],
    ['members with white space between them', 'rojo=1 ,\tcongo=t61', 'rojo=1,congo=t61'],
    ['empty members', 'rojo=1,,congo=2,', 'rojo=1,congo=2'],
    ['a tenant', 'fw529a3039@dt=FfIWSg;1', 'fw529a3039@dt=FfIWSg;1'],
  ])('reads %s', (_, sent, read) => {
    expect(stateOf(sent)).toBe(read);
  });

  it('reads a list of headers as one list (RFC 9110 §5.2)', () => {
    expect(stateOf(['a=1', 'b=2'])).toBe('a=1,b=2');
  });

  it.each([
    ['no equals sign', 'rojo'],
    ['an upper-case key', 'Rojo=1'],
    ['an empty key', '=1'],
    ['an empty value', 'rojo='],
    ['a value with an equals sign', 'rojo=1=2'],
    ['a key twice (§3.3.1.3)', 'rojo=1,rojo=2'],
    ['33 members (§3.3.1.1)', Array.from({ length: 33 }, (_, index) => `k${index}=1`).join(',')],
    ['513 characters', `a=${'x'.repeat(200)},b=${'x'.repeat(200)},c=${'x'.repeat(106)}`],
    ['a control character', 'rojo=\u0001'],
    ['letters beyond ASCII', 'rojo=ä'],
  ])('takes a list with %s for none, and keeps the traceparent', (_, tracestate) => {
    expect(readTraceContext({ traceparent: GOOD, tracestate })).toEqual({ traceId: TRACE, parentId: PARENT, flags: 1 });
  });

  it('counts for nothing without a traceparent', () => {
    expect(readTraceContext({ tracestate: 'rojo=1' })).toBeUndefined();
  });
});
