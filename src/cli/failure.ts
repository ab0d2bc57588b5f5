/**
 * How a command ends when it does not succeed: an exit code, one line that says what is wrong and what to do, and for
 * faults of configuration one line each. Stack traces are for bugs, and for those only when asked.
 */
import { formatFault } from '../admin/fault.ts';
import type { ConfigFault } from '../admin/fault.ts';
import type { Problem } from '../admin/operations.ts';
import { Unavailable } from '../core/refusal.ts';

/** Documented in the help of the program. */
export const EXIT = { ok: 0, failed: 1, usage: 2 } as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** Ends the command. */
export class CliFailure extends Error {
  override readonly name = 'CliFailure';
  readonly exitCode: ExitCode;
  readonly code: string;
  readonly faults: readonly ConfigFault[];
  /** More for programs, beside code, message and faults. */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(
    exitCode: ExitCode,
    code: string,
    message: string,
    faults: readonly ConfigFault[] = [],
    details: Readonly<Record<string, unknown>> = {},
  ) {
    super(message);
    this.exitCode = exitCode;
    this.code = code;
    this.faults = faults;
    this.details = details;
  }
}

/** The failure for faults of settings. */
export function settingsFailure(faults: readonly ConfigFault[]): CliFailure {
  return new CliFailure(EXIT.usage, 'settings_invalid', `settings: ${count(faults.length, 'fault')}`, faults);
}

/** The failure for a problem that an operation answered. */
export function problemFailure({ code, title, faults }: Problem): CliFailure {
  return new CliFailure(EXIT.failed, code, title, faults ?? []);
}

export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

/** Errors of other rooms whose message is written for an operator. */
const SPOKEN = new Set([
  'MigrationRefused',
  'DataFolderInUse',
  'WrongKeyEncryptionKey',
  'SealedValueMoved',
  'LocalSocketRefused',
  'BackupRefused',
]);

/** Anything thrown, as a failure. */
export function failureOf(error: unknown): CliFailure {
  if (error instanceof CliFailure) return error;
  if (error instanceof Error && SPOKEN.has(error.name)) return new CliFailure(EXIT.failed, error.name, error.message);
  if (error instanceof Unavailable)
    return new CliFailure(
      EXIT.failed,
      'unavailable',
      `${error.dependency}: ${error.message}${causeOf(error)}${error.dependency === 'database' ? '; cambist doctor says what to do' : ''}`,
    );
  const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  const failure = new CliFailure(EXIT.failed, 'bug', `this is a bug of ours: ${message}`);
  failure.cause = error;
  return failure;
}

/** The first cause says what the operator can act on: ECONNREFUSED, a host that is not found. */
function causeOf({ cause }: Error): string {
  return cause instanceof Error && cause.message !== '' ? ` (${cause.message})` : '';
}

/** The lines that a person reads. */
export function failureLines(failure: CliFailure, withStack: boolean): string[] {
  const { cause } = failure;
  const stack = withStack && cause instanceof Error && cause.stack !== undefined ? [cause.stack] : [];
  return [...failure.faults.map(formatFault), `cambist: ${failure.message}`, ...stack];
}
