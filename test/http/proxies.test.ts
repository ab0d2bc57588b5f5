/**
 * Where a request came from (`trusted_proxies`): only what a trusted proxy wrote is believed, and only about the source
 * address; host, scheme and issuer never follow from a header (R20).
 */
import type { IncomingMessage } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createSourceOf } from '../../src/http/source-address.ts';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';

const OBJECTS = 'clients: [{ id: agent, auth: [client_secret_post] }]';

describe('the source of a request', () => {
  const sourceOf = createSourceOf(['10.0.0.0/8', '2001:db8:1::/48', '192.0.2.7/32']);
  const request = (remoteAddress: string | undefined, forwardedFor?: string) =>
    ({
      socket: { remoteAddress },
      headers: forwardedFor === undefined ? {} : { 'x-forwarded-for': forwardedFor },
    }) as unknown as IncomingMessage;

  it.each<[string, string | undefined, string | undefined, string]>([
    ['no header', '10.0.0.1', undefined, '10.0.0.1'],
    ['an untrusted peer, whatever it says', '198.51.100.4', '203.0.113.9', '198.51.100.4'],
    ['a trusted peer', '10.0.0.1', '203.0.113.9', '203.0.113.9'],
    ['one trusted address alone', '192.0.2.7', '203.0.113.9', '203.0.113.9'],
    ['its neighbour', '192.0.2.8', '203.0.113.9', '192.0.2.8'],
    ['a chain of trusted proxies', '10.0.0.1', '203.0.113.9, 10.9.9.9 , 10.1.1.1', '203.0.113.9'],
    ['what the sender wrote on the left', '10.0.0.1', '1.2.3.4, 203.0.113.9', '203.0.113.9'],
    ['rubbish that the sender wrote on the left', '10.0.0.1', '"><script>, 203.0.113.9', '203.0.113.9'],
    ['trusted proxies only', '10.0.0.1', '10.3.3.3, 10.2.2.2', '10.3.3.3'],
    ['a malformed entry next to the proxy', '10.0.0.1', '203.0.113.9, unknown', '10.0.0.1'],
    ['an empty header', '10.0.0.1', '', '10.0.0.1'],
    ['an empty entry', '10.0.0.1', '203.0.113.9,', '10.0.0.1'],
    ['a short spelling', '10.0.0.1', '10.1', '10.0.0.1'],
    ['a number', '10.0.0.1', '3405803785', '10.0.0.1'],
    ['a hexadecimal spelling', '10.0.0.1', '0xcb.0.113.9', '10.0.0.1'],
    ['an obfuscated identifier of RFC 7239 §6.3', '10.0.0.1', '_hidden', '10.0.0.1'],
    ['an entry with a port', '10.0.0.1', '203.0.113.9:4711', '203.0.113.9'],
    ['IPv6 with a port', '10.0.0.1', '[2001:db8:9::1]:4711', '2001:db8:9::1'],
    ['IPv6 in brackets', '10.0.0.1', '[2001:db8:9::1]', '2001:db8:9::1'],
    ['IPv6, made canonical', '2001:db8:1::5', '2001:DB8:9:0:0::1', '2001:db8:9::1'],
    ['an IPv6 neighbour of the range', '2001:db8:2::5', '203.0.113.9', '2001:db8:2::5'],
    ['a mapped peer', '::ffff:10.0.0.1', '203.0.113.9', '203.0.113.9'],
    ['a mapped peer that is not trusted', '::ffff:198.51.100.4', '203.0.113.9', '198.51.100.4'],
    ['a mapped entry', '10.0.0.1', '::ffff:203.0.113.9', '203.0.113.9'],
    ['a mapped spelling of a proxy', '10.0.0.1', '203.0.113.9, ::ffff:10.2.2.2', '203.0.113.9'],
    ['a connection that is gone', undefined, '203.0.113.9', 'unknown'],
  ])('%s', (_, peer, header, expected) => {
    expect(sourceOf(request(peer, header))).toBe(expected);
  });

  it('with no trusted proxy is the peer, always', () => {
    expect(createSourceOf([])(request('127.0.0.1', '203.0.113.9'))).toBe('127.0.0.1');
  });
});

describe.each([
  ['behind a trusted proxy', ['127.0.0.1/32'], '203.0.113.0/24'],
  ['not behind one', [], '127.0.0.0/24'],
])('%s', (_, trustedProxies, prefix) => {
  let cambist: TestCambist;
  beforeAll(async () => {
    cambist = await startCambist({ objects: OBJECTS, settings: { trustedProxies } });
  });
  afterAll(() => cambist.stop());

  it(`the record has ${prefix}`, async () => {
    const answer = await cambist.token(
      { grant_type: 'client_credentials', client_id: 'agent', client_secret: cambist.secretOf('agent') },
      { headers: { 'x-forwarded-for': '198.51.100.1, 203.0.113.9' } },
    );
    expect(answer.status).toBe(200);
    const [record] = await cambist.records(answer.headers.get('cambist-request-id')!);
    expect(record!.canonical).toContain(`"source_prefix":"${prefix}"`);
  });

  it('R20 host, scheme and issuer follow from no header', async () => {
    const url = `${cambist.url}/.well-known/oauth-authorization-server`;
    const plain = await (await fetch(url)).text();
    const spoofed = await fetch(url, {
      headers: {
        'x-forwarded-host': 'evil.example',
        'x-forwarded-proto': 'https',
        'x-forwarded-port': '444',
        'x-forwarded-prefix': '/evil',
        forwarded: 'for=1.2.3.4;host=evil.example;proto=https',
      },
    });
    expect(await spoofed.text()).toBe(plain);
  });
});
