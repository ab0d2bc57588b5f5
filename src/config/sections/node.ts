/**
 * Settings of one process: how much it logs and what it is called in the records that it writes.
 */
import { z } from 'zod';

export const logLevelSetting = z
  .enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'])
  .default('info')
  .describe('Least severity that is written to the operational log (stderr)');

export const nodeNameSetting = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/, 'must be 1 to 128 letters, digits, ".", "_" or "-"')
  .optional()
  .describe('Name of this node in audit records; the host name when absent');
