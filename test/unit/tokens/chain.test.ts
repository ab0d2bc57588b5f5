import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MAX_CHAIN_DEPTH, readChain, writeChain } from '../../../src/tokens/chain.ts';
import type { Actor } from '../../../src/tokens/chain.ts';
import { outcome } from './forge.ts';

const ISSUER = 'https://sts.example';
const deep = (depth: number): unknown =>
  Array.from({ length: depth }).reduce<unknown>((act) => ({ sub: 'a', ...(act !== undefined && { act }) }), undefined);

describe('readChain (R8, RFC 8693 §4.1)', () => {
  it('reads the outermost actor first, and gives those without iss the token’s issuer', () => {
    const act = { sub: 'server-a', client_id: 'server-a', act: { sub: 'agent', iss: 'https://other.example' } };
    expect(readChain(act, ISSUER)).toEqual([
      { issuer: ISSUER, sub: 'server-a', clientId: 'server-a' },
      { issuer: 'https://other.example', sub: 'agent' },
    ]);
  });

  it('reads no act as no actors', () => {
    expect(readChain(undefined, ISSUER)).toEqual([]);
  });

  it('drops every member that is not identity', () => {
    expect(readChain({ sub: 'a', exp: 1, aud: 'x', groups: ['admin'], kind: 'fault' }, ISSUER)).toEqual([
      { issuer: ISSUER, sub: 'a' },
    ]);
  });

  it.each([
    ['null', null],
    ['a string', 'agent'],
    ['a list', [{ sub: 'agent' }]],
    ['an empty object', {}],
    ['empty sub', { sub: '' }],
    ['sub an object', { sub: { a: 1 } }],
    ['sub with a control character', { sub: 'a\nb' }],
    ['iss not a string', { sub: 'a', iss: 1 }],
    ['iss null', { sub: 'a', iss: null }],
    ['iss empty', { sub: 'a', iss: '' }],
    ['client_id not a string', { sub: 'a', client_id: ['x'] }],
    ['a bad inner actor', { sub: 'a', act: { sub: 'b', act: { iss: ISSUER } } }],
    ['inner act null', { sub: 'a', act: null }],
    ['nine levels', deep(9)],
    ['more than 8 KiB', { sub: 'a', note: 'x'.repeat(8192) }],
  ])('refuses %s: what cannot be read is never an empty chain', (_what, act) => {
    expect(outcome(readChain(act, ISSUER))).toBe('claim_invalid act');
  });

  it('reads exactly 8 KiB, and names of up to 2048 characters', () => {
    const empty = JSON.stringify({ sub: 'a', note: '' }).length;
    expect(outcome(readChain({ sub: 'a', note: 'x'.repeat(8192 - empty) }, ISSUER))).toBe('ok');
    expect(outcome(readChain({ sub: 'a', note: 'x'.repeat(8193 - empty) }, ISSUER))).toBe('claim_invalid act');
    expect(outcome(readChain({ sub: 'a'.repeat(2048) }, ISSUER))).toBe('ok');
    expect(outcome(readChain({ sub: 'a'.repeat(2049) }, ISSUER))).toBe('claim_invalid act');
  });

  it('reads eight levels', () => {
    expect(readChain(deep(8), ISSUER)).toHaveLength(8);
  });
});

describe('writeChain', () => {
  it('nests the outermost actor outside', () => {
    const chain: Actor[] = [
      { issuer: ISSUER, sub: 'server-a', clientId: 'server-a' },
      { issuer: 'https://other.example', sub: 'agent' },
    ];
    expect(writeChain(chain)).toEqual({
      sub: 'server-a',
      iss: ISSUER,
      client_id: 'server-a',
      act: { sub: 'agent', iss: 'https://other.example' },
    });
  });

  it('writes no act for no actors', () => {
    expect(writeChain([])).toBeUndefined();
  });

  it('is read back as it was, whatever the chain', () => {
    const name = fc.string({ minLength: 1, maxLength: 40 }).filter((text) => !/\p{Cc}/u.test(text));
    const actor = fc.record({ issuer: name, sub: name, clientId: name }, { requiredKeys: ['issuer', 'sub'] });
    fc.assert(
      fc.property(fc.array(actor, { maxLength: MAX_CHAIN_DEPTH }), (chain) => {
        expect(readChain(writeChain(chain), 'https://unused.example')).toEqual(chain);
      }),
    );
  });
});
