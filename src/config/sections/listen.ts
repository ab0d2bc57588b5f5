/**
 * `listen`: where the public listener is. It speaks plain HTTP, so an address that others can reach is refused unless
 * the file says in so many words that TLS ends in front of it.
 */
import { isIP } from 'node:net';
import { z } from 'zod';

const LOOPBACK_HOST = /^(localhost|127(\.\d{1,3}){3}|::1)$/;

export const listenSection = z.strictObject({
  host: z
    .string()
    .refine((host) => host === 'localhost' || isIP(host) !== 0, 'must be an IP address of this machine, or localhost')
    .default('127.0.0.1')
    .describe('IP address to listen on; 127.0.0.1 reaches this machine only, 0.0.0.0 every interface'),
  port: z.number().int().min(0).max(65535).default(8080).describe('TCP port; 0 takes a free one'),
  plain_http: z
    .enum(['loopback', 'behind_tls_proxy'])
    .default('loopback')
    .describe(
      'Where plain HTTP may be spoken: loopback only, or (behind_tls_proxy) on an address that only a TLS-terminating proxy reaches',
    ),
});

/** Is this the address of the loopback interface, which only this machine reaches? */
export function isLoopbackHost(host: string): boolean {
  return LOOPBACK_HOST.test(host);
}
