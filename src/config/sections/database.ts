/**
 * `database`: PostgreSQL when `url` is given; without it the embedded engine under `data_dir`. The name of the schema
 * goes into SQL as an identifier, so its grammar is closed.
 */
import { z } from 'zod';

const identifier = z
  .string()
  .regex(/^[a-z_][a-z0-9_]{0,62}$/, 'must be 1 to 63 lower-case letters, digits or "_", not starting with a digit');

export const databaseSection = z.strictObject({
  url: z
    .string()
    .max(4096)
    .refine((url) => /^postgres(ql)?:\/\//.test(url) && URL.canParse(url), 'must be a postgres:// URL')
    .optional()
    .describe('postgres://user:password@host:5432/database (or file:PATH, or ${DATABASE_URL}); absent = embedded'),
  schema: identifier.default('cambist').describe('Schema that holds every table'),
  pool_max: z.number().int().min(1).max(500).default(10).describe('Most connections that one node opens'),
  connect_timeout_ms: z
    .number()
    .int()
    .min(100)
    .max(60_000)
    .default(5000)
    .describe('Longest wait for a new connection (PostgreSQL only)'),
  statement_timeout_ms: z
    .number()
    .int()
    .min(100)
    .max(60_000)
    .default(5000)
    .describe('Longest run of one statement (PostgreSQL only)'),
});

export const dataDirSetting = z
  .string()
  .min(1)
  .max(1024)
  .default('.cambist')
  .describe('Folder of the embedded engine: its data, its key-encryption key, its local socket');
