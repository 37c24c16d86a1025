import type { Msg, NatsConnection } from 'nats';

export interface ServedSubject {
  /** Takes nothing new; resolves when what had arrived was handed out. */
  drain(): Promise<void>;
}

/** Answers requests on one subject. `handle` gets the body and answers once, now or later. */
export function serveSubject(
  nc: NatsConnection,
  subject: string,
  handle: (body: Uint8Array, respond: (reply: Uint8Array) => void) => void,
): ServedSubject {
  const subscription = nc.subscribe(subject, {
    callback: (error: Error | null, message: Msg) => {
      // The client reports a broken subscription here; its closed connection ends the process.
      if (error) return;
      handle(message.data, (reply) => {
        message.respond(reply);
      });
    },
  });
  return { drain: () => subscription.drain() };
}
