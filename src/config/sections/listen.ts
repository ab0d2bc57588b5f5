/**
 * `listen`: where the public listener is, and whom it believes about where a request came from. Plain HTTP on an address
 * that others can reach is refused unless the file says in so many words that TLS ends in front of it.
 */
import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';
import { z } from 'zod';

const LOOPBACK_HOST = /^(localhost|127(\.\d{1,3}){3}|::1)$/;

const filePath = z.string().min(1).max(4096);

/** What both listeners have in common. */
export const LISTENER_FIELDS = {
  host: z
    .string()
    .refine((host) => host === 'localhost' || isIP(host) !== 0, 'must be an IP address of this machine, or localhost')
    .default('127.0.0.1')
    .describe('IP address to listen on; 127.0.0.1 reaches this machine only, 0.0.0.0 every interface'),
  port: z.number().int().min(0).max(65535),
  plain_http: z
    .enum(['loopback', 'behind_tls_proxy'])
    .default('loopback')
    .describe(
      'Where plain HTTP may be spoken: loopback only, or (behind_tls_proxy) on an address that only a TLS-terminating proxy reaches',
    ),
  tls: z
    .strictObject({
      cert_file: filePath.describe('PEM file: the certificate, then its chain'),
      key_file: filePath.describe('PEM file: the private key of the certificate, without a passphrase'),
    })
    .optional()
    .describe('Speak TLS 1.2 or 1.3 with this certificate; changed files are taken over while it runs'),
} as const;

export const listenSection = z.strictObject({
  ...LISTENER_FIELDS,
  port: LISTENER_FIELDS.port.default(8080).describe('TCP port; 0 takes a free one'),
});

export const trustedProxiesSetting = z
  .array(
    z
      .string()
      .max(64)
      .superRefine((range, context) => {
        const message = rangeFault(range);
        if (message !== undefined) context.addIssue({ code: 'custom', message });
      }),
  )
  .max(100)
  .default([])
  .describe('CIDR ranges of proxies in front of this node, whose X-Forwarded-For says where a request came from');

/** Why a text is no range of trusted proxies. */
function rangeFault(text: string): string | undefined {
  const [network = '', length] = text.split('/');
  const version = isIP(network);
  if (length === undefined || version === 0 || !ipaddr.isValidCIDR(text))
    return 'must be a CIDR range, such as 10.1.0.0/16 or 2001:db8::/32 (one address: /32 or /128)';
  if (Number(length) === 0) return 'must not be everybody: whoever sends a request could then choose its address';
  const family = version === 4 ? ipaddr.IPv4 : ipaddr.IPv6;
  const start = family.networkAddressFromCIDR(text).toString();
  if (ipaddr.parse(network).toString() !== start) return `must start at its network address, ${start}/${length}`;
  return undefined;
}

/** Is this the address of the loopback interface, which only this machine reaches? */
export function isLoopbackHost(host: string): boolean {
  return LOOPBACK_HOST.test(host);
}
