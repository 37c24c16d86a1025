import { setTimeout as delay } from 'node:timers/promises';
import { AckPolicy, type Consumer, DeliverPolicy, type NatsConnection, nanos, nuid } from 'nats';
import { askAgain } from './ask-again.js';
import type { LogMessage } from './log.js';
import { isNatsAway } from './nats-away.js';

/** For a consumer to be made; the server that it was put on may be gone. */
const MAKE_MS = 2_000;
const TRY_AGAIN_MS = 250;
/** A consumer that delivers nothing for so long is left for another one. */
const SILENCE_MS = 3_000;
/** After this it is given up. */
const SILENT_MS = 15_000;
/** The server removes a consumer that nobody has pulled from for so long. */
const LEFT_MS = 60_000;
/** Far below the 64 MB at which the server drops a slow reader. */
const READ_AHEAD_BYTES = 16 * 1024 * 1024;

/**
 * The messages of a stream from `from` to `to`, both inclusive, in order; what the stream has lost of them is left out.
 *
 * A consumer has one server, which JetStream may choose among those that are just gone. The library's ordered consumer
 * would then ask for that very one again, and only after some 30 s; so here each try has a consumer of its own.
 *
 * @throws Error where nothing arrives for 15 s.
 */
export async function* readStream(
  nc: NatsConnection,
  stream: string,
  from: number,
  to: number,
): AsyncGenerator<LogMessage> {
  let next = from;
  let trouble: unknown;
  for (let heardAt = performance.now(); next <= to; ) {
    const began = next;
    try {
      for await (const message of readOnce(await makeConsumer(nc, stream, next), to)) {
        // Nothing twice, whatever a copy that lags behind makes of where to begin.
        if (message.sequence < next) continue;
        next = message.sequence + 1;
        if (message.sequence <= to) yield message;
      }
    } catch (error) {
      if (!isNatsAway(error) || nc.isClosed()) throw error;
      trouble = error;
    }
    if (next > began) {
      heardAt = performance.now();
      trouble = undefined;
    } else if (performance.now() - heardAt > SILENT_MS) {
      throw new Error(`reading the stream ${stream} from ${next} fell silent before ${to}`, { cause: trouble });
    } else await delay(TRY_AGAIN_MS);
  }
}

async function makeConsumer(nc: NatsConnection, stream: string, from: number): Promise<Consumer> {
  const { consumers } = await nc.jetstreamManager({ checkAPI: false, timeout: MAKE_MS });
  const config = {
    // With a name, to ask again makes no second one.
    name: nuid.next(),
    ack_policy: AckPolicy.None,
    deliver_policy: DeliverPolicy.StartSequence,
    opt_start_seq: from,
    inactive_threshold: nanos(LEFT_MS),
    mem_storage: true,
    num_replicas: 1,
  };
  return nc.jetstream().consumers.getPullConsumerFor(await askAgain(() => consumers.add(stream, config)));
}

/** What one consumer delivers, as far as it goes. */
async function* readOnce(consumer: Consumer, to: number): AsyncGenerator<LogMessage> {
  const messages = await consumer.consume({ max_bytes: READ_AHEAD_BYTES });
  let silence: NodeJS.Timeout | undefined;
  const watch = (): void => {
    clearTimeout(silence);
    silence = setTimeout(() => messages.stop(), SILENCE_MS);
  };
  try {
    watch();
    let delivered = 0;
    for await (const message of messages) {
      // One that went missing on its way is no loss of the log's: the next consumer begins with it.
      if (message.info.deliverySequence !== ++delivered) return;
      watch();
      yield { sequence: message.seq, time: Math.floor(message.info.timestampNanos / 1000), bytes: message.data };
      if (message.seq >= to) return;
    }
  } finally {
    clearTimeout(silence);
    // Its end is told to whoever iterates, and nobody does any more: not to be waited for.
    messages.stop();
    // Nobody waits for this: where it is not heard, the server removes the consumer after LEFT_MS.
    consumer.delete().catch(() => {});
  }
}
