import { ErrorCode, Events, headers as emptyHeaders, type MsgHdrs, type NatsConnection, NatsError } from 'nats';

export type { NatsConnection } from 'nats';

/** How a request ended. Only `no_responders` and `not_sent` are certain not to have been delivered. */
export type RequestOutcome =
  | { readonly outcome: 'answer'; readonly data: Uint8Array; readonly error: ServiceErrorHeaders | null }
  | { readonly outcome: 'no_responders' }
  | { readonly outcome: 'not_sent'; readonly detail: string }
  | { readonly outcome: 'no_answer'; readonly detail: string };

/** The headers of an answer that says that the request could not be answered. */
export interface ServiceErrorHeaders {
  readonly status: string;
  readonly description: string;
}

export interface RequestOptions {
  readonly timeoutMs: number;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Sends one request and waits for one answer. Never rejects: every end is an outcome to decide on. */
export type Requester = (subject: string, payload: Uint8Array, options: RequestOptions) => Promise<RequestOutcome>;

const NOT_SENT: ReadonlySet<string> = new Set([
  ErrorCode.ConnectionClosed,
  ErrorCode.ConnectionDraining,
  ErrorCode.MaxPayloadExceeded,
  ErrorCode.PermissionsViolation,
  ErrorCode.BadSubject,
]);

/** One for each connection: whoever follows a connection's status does so as long as it lives. */
const requesters = new WeakMap<NatsConnection, Requester>();

/**
 * Requests on a connection that reconnects by itself. While it is away nothing is sent, since the client library would
 * keep or drop it as it likes; what is under way when it breaks ends at once, as `no_answer`: no answer can come.
 */
export function requesterOf(nc: NatsConnection): Requester {
  const requester = requesters.get(nc) ?? newRequester(nc);
  requesters.set(nc, requester);
  return requester;
}

function newRequester(nc: NatsConnection): Requester {
  let connected = true;
  const underWay = new Set<() => void>();
  void followStatus(nc, (isConnected) => {
    connected = isConnected;
    if (!isConnected) for (const lose of underWay) lose();
  });
  return (subject, payload, options) => {
    if (!connected) return Promise.resolve({ outcome: 'not_sent', detail: 'the connection to NATS is away' });
    return new Promise((resolve) => {
      const lose = (): void => resolve({ outcome: 'no_answer', detail: 'the connection to NATS broke' });
      underWay.add(lose);
      void requestOnce(nc, subject, payload, options).then((outcome) => {
        underWay.delete(lose);
        resolve(outcome);
      });
    });
  };
}

async function followStatus(nc: NatsConnection, tell: (connected: boolean) => void): Promise<void> {
  for await (const { type } of nc.status()) {
    if (type === Events.Disconnect) tell(false);
    else if (type === Events.Reconnect) tell(true);
  }
}

async function requestOnce(
  nc: NatsConnection,
  subject: string,
  payload: Uint8Array,
  { timeoutMs, headers }: RequestOptions,
): Promise<RequestOutcome> {
  const timeout = Math.max(1, Math.ceil(timeoutMs));
  try {
    const msg = await nc.request(subject, payload, headers ? { timeout, headers: natsHeaders(headers) } : { timeout });
    return { outcome: 'answer', data: msg.data, error: serviceErrorHeaders(msg.headers) };
  } catch (error) {
    const code = error instanceof NatsError ? error.code : '';
    if (code === ErrorCode.NoResponders) return { outcome: 'no_responders' };
    const detail = error instanceof Error ? error.message : String(error);
    return NOT_SENT.has(code) ? { outcome: 'not_sent', detail } : { outcome: 'no_answer', detail };
  }
}

function natsHeaders(values: Readonly<Record<string, string>>): MsgHdrs {
  const headers = emptyHeaders();
  for (const [name, value] of Object.entries(values)) headers.set(name, value);
  return headers;
}

function serviceErrorHeaders(headers: MsgHdrs | undefined): ServiceErrorHeaders | null {
  const status = headers?.get('Nats-Service-Error-Code');
  return status ? { status, description: headers?.get('Nats-Service-Error') ?? '' } : null;
}
