/**
 * The operational log: JSON lines on stderr, secrets removed at the source. It is never the record of a decision
 * (that is `audit/`); it exists for the engineer who follows a request id.
 */
import { pino } from 'pino';
import type { DestinationStream, Logger } from 'pino';
import { createLogDestination } from './log/destination.ts';
import { loggable, loggableText } from './log/loggable.ts';

export type { Logger };

export function createLogger(level: string, destination: DestinationStream = createLogDestination(2)): Logger {
  const logger = pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      // Errors are plain by then.
      serializers: { err: (err: unknown) => err },
      hooks: {
        // Everything that a line is made of comes through here, before pino looks at it: an error's own message too.
        logMethod(args, method) {
          method.apply(this, args.map(argument) as typeof args);
        },
      },
    },
    destination,
  );
  // Pino formats the bindings of a child before any hook. Children inherit this one.
  const original = Reflect.get(logger, 'child') as unknown as (
    this: Logger,
    bindings: object,
    options?: object,
  ) => Logger;
  const child = function (this: Logger, bindings: object, options?: object) {
    return original.call(this, loggable(bindings) as object, options);
  };
  Reflect.set(logger, 'child', child);
  return logger;
}

function argument(value: unknown): unknown {
  if (typeof value === 'string') return loggableText(value);
  return value instanceof Error ? { err: loggable(value) } : loggable(value);
}
