import type { SpillError } from './errors.js';
import { encodeBody, type WireEncoding } from './wire-encoding.js';

/** How a request that can't be answered at all is answered: the convention of NATS services, and a body. */
export interface ServiceErrorReply {
  /** For the header `Nats-Service-Error-Code`. */
  readonly status: number;
  /** For the header `Nats-Service-Error`: one line of printable ASCII. */
  readonly description: string;
  /** `{"error": {code, message, retryable, retry_after_ms?}}` in the request's encoding. */
  readonly body: Uint8Array;
}

export function serviceErrorReply(error: SpillError, encoding: WireEncoding): ServiceErrorReply {
  const description = `${error.code}: ${error.message}`.replace(/[^\x20-\x7e]/gu, '?').slice(0, 500);
  return { status: error.status, description, body: encodeBody({ error: error.toWire() }, encoding) };
}
