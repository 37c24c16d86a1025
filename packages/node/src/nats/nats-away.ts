import { ErrorCode, NatsError } from 'nats';

const AWAY: ReadonlySet<string> = new Set([
  ErrorCode.Timeout,
  ErrorCode.NoResponders,
  ErrorCode.ConnectionClosed,
  ErrorCode.ConnectionDraining,
  ErrorCode.ConnectionRefused,
  ErrorCode.ConnectionTimeout,
  ErrorCode.Disconnect,
  ErrorCode.JetStreamNotEnabled,
]);

/** Whether an error, or what caused it, says only that NATS or a quorum of it did not answer just now. */
export function isNatsAway(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause) {
    // With an answer of JetStream's in it, the code is that answer's; 503 is then a limit or a missing leader.
    if (at instanceof NatsError) return AWAY.has(at.code) || at.api_error?.code === 503;
  }
  return false;
}
