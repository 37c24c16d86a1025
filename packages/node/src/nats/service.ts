import { headers as emptyHeaders, Match, type NatsConnection, type ServiceMsg } from 'nats';

export interface ServiceRequest {
  readonly data: Uint8Array;
  header(name: string): string | undefined;
  respond(body: Uint8Array): void;
  /** With the headers `Nats-Service-Error-Code` and `Nats-Service-Error`. */
  respondError(status: number, description: string, body: Uint8Array): void;
}

export interface ServiceEndpoint {
  /** One token, as `nats micro` shows it. */
  readonly name: string;
  readonly subject: string;
  /** Must answer and must not throw. */
  readonly handler: (request: ServiceRequest) => void;
}

export interface ServiceOptions {
  readonly name: string;
  readonly version: string;
  readonly description: string;
  readonly queue: string;
  readonly endpoints: readonly ServiceEndpoint[];
  /** Shown under `data` of each endpoint in `$SRV.STATS`. */
  readonly stats?: (endpoint: string) => unknown;
}

export interface RunningService {
  /** Takes no further requests; resolves when those already received have been handed to their handlers. */
  stop(): Promise<void>;
  /** Resolves with the error that ended it, or null after `stop`. */
  readonly stopped: Promise<Error | null>;
}

/** A NATS service: visible to `$SRV.PING`, `$SRV.INFO` and `$SRV.STATS`, one queue group for all its endpoints. */
export async function startService(nc: NatsConnection, options: ServiceOptions): Promise<RunningService> {
  const { name, version, description, queue, stats } = options;
  const service = await nc.services.add({
    name,
    version,
    description,
    queue,
    ...(stats && { statsHandler: async (endpoint) => stats((endpoint as { name?: string }).name ?? '') }),
  });
  for (const { name: endpoint, subject, handler } of options.endpoints) {
    service.addEndpoint(endpoint, {
      subject,
      handler: (error, msg) => {
        if (!error) handler(asRequest(msg));
      },
    });
  }
  await nc.flush();
  return {
    stop: async () => {
      await service.stop();
    },
    stopped: service.stopped,
  };
}

function asRequest(msg: ServiceMsg): ServiceRequest {
  return {
    data: msg.data,
    header: (name) => msg.headers?.get(name, Match.IgnoreCase) || undefined,
    respond: (body) => {
      msg.respond(body);
    },
    respondError: (status, description, body) => {
      msg.respondError(status, description, body, { headers: emptyHeaders() });
    },
  };
}
