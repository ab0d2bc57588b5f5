/**
 * The operational log: JSON lines on stderr, secrets removed at the source. It is never the record of a decision
 * (that is `audit/`); it exists for the engineer who follows a request id.
 */
import { pino } from 'pino';
import type { DestinationStream, Logger } from 'pino';

export type { Logger };

/** Field names whose values never reach a log line, at the top level or one level down. */
const SECRET_FIELDS = [
  'access_token',
  'actor_token',
  'assertion',
  'authorization',
  'client_assertion',
  'client_secret',
  'code',
  'cookie',
  'credential',
  'form',
  'password',
  'private_key',
  'refresh_token',
  'secret',
  'subject_token',
  'token',
];

export function createLogger(level: string, destination: DestinationStream = pino.destination(2)): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: { paths: SECRET_FIELDS.flatMap((name) => [name, `*.${name}`]), censor: '[redacted]' },
    },
    destination,
  );
}
