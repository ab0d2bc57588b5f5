/**
 * The objects that decide: policies (Cedar text), roles (for groups) and subjects (roles of one, or its disabling).
 */
import { z } from 'zod';
import { freeText, line, objectName } from './names.ts';

export const policySpec = z.strictObject({
  id: objectName,
  description: freeText(1000).optional(),
  cedar: freeText(65536)
    .min(1)
    .describe('One or more Cedar policies; see docs/policy.md for entities, actions and context'),
  demo: z.boolean().default(false),
});
export type Policy = z.infer<typeof policySpec>;

export const roleSpec = z.strictObject({
  name: objectName,
  description: freeText(1000).optional(),
  groups: z
    .array(line(512).min(1))
    .max(1000)
    .default([])
    .describe('Groups whose members have this role, as issuer-short-name:group'),
  demo: z.boolean().default(false),
});
export type Role = z.infer<typeof roleSpec>;

export const subjectSpec = z.strictObject({
  issuer: objectName.describe('Short name of the trusted issuer'),
  sub: line(1024).min(1),
  roles: z.array(objectName).max(100).default([]),
  demo: z.boolean().default(false),
});
export type Subject = z.infer<typeof subjectSpec>;
