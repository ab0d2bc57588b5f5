/**
 * `admin_listen`: the listener of operators (health with reasons, metrics), apart from the public one, so that a firewall
 * can tell them apart. On loopback unless the file says otherwise.
 */
import { z } from 'zod';
import { LISTENER_FIELDS } from './listen.ts';

export const adminListenSection = z.strictObject({
  enabled: z.boolean().default(true).describe('false = no admin listener'),
  ...LISTENER_FIELDS,
  port: LISTENER_FIELDS.port.default(8081).describe('TCP port; 0 takes a free one'),
});
