/**
 * Who changes things from a shell on this machine, for history and records: `local:alice`. Platforms that give each
 * container a user of its own have no account for it; then it is its number.
 */
import { userInfo } from 'node:os';

/** The author of what this process changes. */
export function localAuthor(): string {
  try {
    return `local:${userInfo().username}`;
  } catch {
    return `local:${process.getuid?.() ?? 'unknown'}`;
  }
}
