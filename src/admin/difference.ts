/**
 * What differs between two specs, field by field: the part of a plan that a person reads before it happens.
 */
import { isDeepStrictEqual } from 'node:util';
import { formatPath } from './fault.ts';
import type { PathStep } from './fault.ts';

export interface FieldChange {
  /** As `scopes.read` or `calls`; lists are shown whole. */
  readonly path: string;
  /** `null` = was not there. */
  readonly before: unknown;
  /** `null` = is removed. */
  readonly after: unknown;
}

/** Every field whose value changes. Mappings are compared by key, lists and scalars as wholes. */
export function differences(before: unknown, after: unknown, path: readonly PathStep[] = []): FieldChange[] {
  if (isDeepStrictEqual(before, after)) return [];
  if (!isMapping(before) || !isMapping(after))
    return [{ path: formatPath(path), before: before ?? null, after: after ?? null }];
  const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  return keys.flatMap((key) => differences(before[key], after[key], [...path, key]));
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
