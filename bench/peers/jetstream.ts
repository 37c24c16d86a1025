import { connect, DiscardPolicy, StorageType } from 'nats';
import { forSeconds } from '../support/closed-loop.js';
import type { Measured } from '../support/rounds.js';
import type { Peer } from './peer.js';

const STREAM = 'BENCH';
const SUBJECT = 'bench.message';
const BYTES = 60;
const SECONDS = 1.5;

export interface JetStreamPublisher {
  /** Keeps `inFlight` publications under way. */
  readonly publishing: (inFlight: number, seconds: number) => Promise<Measured>;
  readonly close: () => Promise<void>;
}

/** A stream as durable as spill's logs on the same server, with one message a transaction. */
export async function openJetStream(natsUrl: string): Promise<JetStreamPublisher> {
  const nc = await connect({ servers: natsUrl });
  const manager = await nc.jetstreamManager();
  await manager.streams.add({
    name: STREAM,
    subjects: [SUBJECT],
    storage: StorageType.File,
    discard: DiscardPolicy.New,
    num_replicas: 1,
  });
  const jetstream = nc.jetstream();
  const body = Buffer.alloc(BYTES, 'spill bench body, the same each time. ');
  let published = 0;
  return {
    publishing: async (inFlight, seconds) => {
      const measured = await forSeconds(seconds, inFlight, () => jetstream.publish(SUBJECT, body));
      published += measured.sent;
      const { messages } = (await manager.streams.info(STREAM)).state;
      if (messages !== published) throw new Error(`the stream has ${messages} messages, ${published} were published`);
      return measured;
    },
    close: async () => {
      await manager.streams.delete(STREAM);
      await nc.close();
    },
  };
}

export async function jetStreamPeer(natsUrl: string): Promise<Peer> {
  const { publishing, close } = await openJetStream(natsUrl);
  return {
    peer: 'JetStream',
    what: `one JetStream message of ${BYTES} bytes a transaction, 64 in flight, synced, on spill's own server`,
    missing: null,
    measure: () => publishing(64, SECONDS),
    close,
  };
}
