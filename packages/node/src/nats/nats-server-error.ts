/** What can be wrong with having or starting a nats-server. */
export type NatsServerErrorCode =
  /** None found, and none could be got; the message says how to get one on this system. */
  | 'NATS_SERVER_NOT_FOUND'
  /** The one that `SPILL_NATS_SERVER` names can't be used: missing, not executable, no nats-server, or too old. */
  | 'NATS_SERVER_UNUSABLE'
  /** The port for clients is taken by another process; `port` says which. */
  | 'NATS_PORT_TAKEN'
  /** It ended, or did not get ready, while starting; the message carries its last lines. */
  | 'NATS_SERVER_NOT_STARTED';

/** Thrown by what finds, gets and starts a nats-server. None of these go away by trying again at once. */
export class NatsServerError extends Error {
  override readonly name = 'NatsServerError';

  constructor(
    readonly code: NatsServerErrorCode,
    message: string,
    /** The taken port, with `NATS_PORT_TAKEN`. */
    readonly port?: number,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
