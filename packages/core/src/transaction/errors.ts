/** The codes of the public protocol. */
export type ErrorCode =
  | 'malformed'
  | 'invalid_transaction'
  | 'batch_too_large'
  | 'id_conflict'
  | 'expired'
  | 'unavailable'
  | 'overloaded'
  | 'timeout'
  | 'not_found'
  | 'conflict'
  | 'internal';

/** Per code: whether the same request may be sent again as it is, and the number in `Nats-Service-Error-Code`. */
const CODES: Readonly<Record<ErrorCode, { readonly retryable: boolean; readonly status: number }>> = {
  malformed: { retryable: false, status: 400 },
  invalid_transaction: { retryable: false, status: 422 },
  batch_too_large: { retryable: false, status: 413 },
  id_conflict: { retryable: false, status: 409 },
  expired: { retryable: false, status: 410 },
  unavailable: { retryable: true, status: 503 },
  overloaded: { retryable: true, status: 429 },
  timeout: { retryable: true, status: 504 },
  not_found: { retryable: false, status: 404 },
  conflict: { retryable: false, status: 409 },
  internal: { retryable: false, status: 500 },
};

/** An error as it travels: `{"error": {...}}`, or beside a transaction's id. */
export interface WireError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly retryable: boolean;
  /** Milliseconds; only with `overloaded`. */
  readonly retry_after_ms?: number;
}

export interface SpillErrorDetails {
  /** Milliseconds; only with `overloaded`. */
  readonly retryAfterMs?: number;
  readonly cause?: unknown;
}

/**
 * Why a request, or one transaction of it, was not carried out. `retryable`: the same request may be sent again as it
 * is, with the same id, and takes effect once whatever became of the first one.
 */
export class SpillError extends Error {
  override readonly name = 'SpillError';
  readonly code: ErrorCode;
  readonly retryable: boolean;
  /** Milliseconds to wait before trying again; only with `overloaded`. */
  readonly retryAfterMs: number | undefined;

  constructor(code: ErrorCode, message: string, details: SpillErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.retryable = CODES[code].retryable;
    this.retryAfterMs = details.retryAfterMs;
  }

  /** The number for the header `Nats-Service-Error-Code`, in HTTP's terms. */
  get status(): number {
    return CODES[this.code].status;
  }

  toWire(): WireError {
    const wire = { code: this.code, message: this.message, retryable: this.retryable };
    return this.retryAfterMs === undefined ? wire : { ...wire, retry_after_ms: this.retryAfterMs };
  }
}

/** The error that a reply carries. What is not of the protocol (a newer spill's code) becomes `internal`. */
export function spillErrorFromWire(wire: unknown): SpillError {
  const { code, message, retry_after_ms: retryAfterMs } = (wire ?? {}) as Record<string, unknown>;
  const known = typeof code === 'string' && Object.hasOwn(CODES, code) ? (code as ErrorCode) : 'internal';
  const text = typeof message === 'string' ? message : `an error without a message (${String(code)})`;
  return new SpillError(known, text, typeof retryAfterMs === 'number' ? { retryAfterMs } : {});
}
