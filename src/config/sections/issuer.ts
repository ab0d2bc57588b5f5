/**
 * `issuer`: our own name, the `iss` of every token and the base of every metadata URL (RFC 8414 §2). It is compared
 * character by character by everyone who verifies our tokens, so only its one canonical spelling is accepted.
 */
import { z } from 'zod';
import { isLoopbackUrl } from '../../core/uri.ts';

export const issuerSetting = z
  .string()
  .max(512)
  .superRefine((issuer, context) => {
    const message = issuerFault(issuer);
    if (message !== undefined) context.addIssue({ code: 'custom', message });
  })
  .describe('Our own issuer URL, the `iss` of our tokens, such as https://sts.example.com');

function issuerFault(issuer: string): string | undefined {
  if (!URL.canParse(issuer) || !/^https?:\/\//.test(issuer)) return 'must be an https URL';
  const url = new URL(issuer);
  // RFC 8414 §2: no query or fragment.
  if (issuer.includes('?') || issuer.includes('#'))
    return 'must have no query and no fragment (RFC 8414 §2): metadata URLs are built from it';
  if (url.username !== '' || url.password !== '') return 'must hold no user name or password: everyone reads it';
  if (issuer.endsWith('/'))
    return 'must not end with a slash: `iss` is compared character by character, and half of all verifiers strip it';
  if (url.protocol === 'http:' && !isLoopbackUrl(issuer)) return 'must be https (http only on loopback)';
  const canonical = url.href.endsWith('/') ? url.href.slice(0, -1) : url.href;
  if (canonical !== issuer) return `must be in its canonical spelling, ${canonical}`;
  return undefined;
}
