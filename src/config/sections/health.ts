/**
 * When a node says that it is not ready: its clock is too far from the database's, or it is about to stop.
 */
import { z } from 'zod';
import { CLOCK_MARGIN_SECONDS } from '../../core/clock.ts';

const MARGIN_MS = CLOCK_MARGIN_SECONDS * 1000;

export const clockSkewLimitSetting = z
  .number()
  .int()
  .min(100)
  .max(MARGIN_MS, `must be ${MARGIN_MS} at most: beyond that a node answers no request, whatever is said here`)
  .default(MARGIN_MS)
  .describe('Not ready when the clock of this node is further than this from that of the database');

export const shutdownGraceSetting = z
  .number()
  .int()
  .min(0)
  .max(60_000)
  .optional()
  .describe(
    'After SIGTERM: how long to say "not ready" and serve on, so that load balancers notice; absent = 0 on loopback, else 5000',
  );
