/**
 * `vault`: where Vault (or OpenBao) is, and how Cambist logs in to it. What is secret of it never stands in the file
 * itself. That several of these fit together is judged in `config/vault.ts`.
 */
import { z } from 'zod';
import { secretPath } from '../../objects/upstream-templates.ts';

const filePath = z.string().min(1).max(4096);
const plainName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/, 'must be letters, digits, ".", "_" or "-"');
const text = z.string().min(1).max(1024);

export const VAULT_METHODS = ['token', 'token_file', 'approle', 'kubernetes', 'jwt'] as const;

export const vaultSection = z
  .strictObject({
    address: z
      .string()
      .max(512)
      .refine((url) => /^https?:\/\//.test(url) && URL.canParse(url), 'must be an https URL')
      .optional()
      .describe('Where Vault answers, such as https://vault.example.com:8200'),
    plain_http: z
      .enum(['loopback', 'allowed'])
      .default('loopback')
      .describe('Where http instead of https may be spoken with Vault: on loopback only, or anywhere (allowed)'),
    namespace: z
      .string()
      .regex(/^[A-Za-z0-9._-]+(\/[A-Za-z0-9._-]+)*\/?$/, 'must be names with / between them')
      .max(512)
      .optional()
      .describe('Namespace of everything that is asked'),
    ca_file: filePath.optional().describe('PEM file of the authority that signed its certificate'),
    kv_mount: secretPath.default('secret').describe('KV v2 mount of upstreams that name none'),
    login: z
      .strictObject({
        method: z.enum(VAULT_METHODS).optional().describe('How to log in; token where a token is given'),
        mount: secretPath.optional().describe('Mount of the method below auth/; absent = its name'),
        role: plainName.optional().describe('Role of kubernetes or jwt'),
        audience: text.optional().describe('aud of the token that Cambist makes for jwt; absent = the address'),
        role_id: text.optional().describe('Of approle'),
        secret_id: text.optional().describe('Of approle, through file:PATH or ${VARIABLE}; read once'),
        secret_id_file: filePath.optional().describe('Of approle: file that is read at each login'),
        secret_id_wrapped: z
          .boolean()
          .default(false)
          .describe('What is given is a wrapping token, which is opened once and must come from the role itself'),
        token: text.optional().describe('Of token, through file:PATH or ${VARIABLE}; read once'),
        file: filePath
          .optional()
          .describe(
            'Of token_file: the sink of an agent, read again when it changes; of kubernetes: the projected token',
          ),
      })
      .prefault({}),
    subject_login: z
      .strictObject({
        mount: secretPath.default('jwt').describe('Mount of the JWT method below auth/'),
        role: plainName.describe('Its role'),
        audience: text.optional().describe('aud of the token about the subject; absent = the address'),
      })
      .optional()
      .describe('How to log in as a subject, for upstreams with login: subject'),
    lease_token_role: plainName
      .optional()
      .describe('Token role that makes the tokens that hold leases; absent = children of our own token'),
    timeout_ms: z
      .number()
      .int()
      .min(100)
      .max(60_000)
      .default(3000)
      .describe('For one question with all its tries, and again for a login where one is needed'),
  })
  .optional();
