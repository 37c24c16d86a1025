import { setTimeout as delay } from 'node:timers/promises';
import { Packr, Unpackr } from 'msgpackr';
import { connect, headers, type NatsConnection, NatsError } from 'nats';
import type { LoadTransaction } from './load-model.js';

const packr = new Packr({ useRecords: false });
const unpackr = new Unpackr({ useRecords: false });

/** How a client is told of a transaction: an answer for good, or an error after which it may send it again. */
export type LoadAnswer =
  | { readonly end: 'answered'; readonly status: string }
  | { readonly end: 'refused'; readonly code: string; readonly message: string }
  | { readonly end: 'again'; readonly code: string; readonly waitMs: number };

interface WireError {
  readonly code: string;
  readonly message: string;
  readonly retryable: boolean;
  readonly retry_after_ms?: number;
}

interface WireResult {
  readonly status: string;
  readonly error?: WireError;
}

/** How long spill is given, and how much longer a client waits for the answer's way back. */
const DEADLINE_MS = 1_500;
const WAY_BACK_MS = 500;

/** A client as anybody would write one: NATS requests as PROTOCOL says, and nothing of spill's own code. */
export class LoadClient {
  private constructor(readonly nc: NatsConnection) {}

  static async open(natsUrl: string): Promise<LoadClient> {
    return new LoadClient(
      await connect({
        servers: natsUrl.split(','),
        waitOnFirstConnect: true,
        maxReconnectAttempts: -1,
        reconnectTimeWait: 50,
        reconnectJitter: 50,
      }),
    );
  }

  /** One transaction by itself, or several in one request. An answer each, in order; never rejects. */
  async submit(transactions: readonly LoadTransaction[], encoding: 'json' | 'messagepack'): Promise<LoadAnswer[]> {
    const content = transactions.length === 1 ? transactions[0] : transactions;
    const body = encoding === 'json' ? JSON.stringify(content) : packr.pack(content);
    const reply = await this.request('spill.transactions.submit', body, encoding);
    if (reply.outcome === 'failed') {
      return transactions.map(() => ({ end: 'again', code: reply.code, waitMs: 20 }));
    }
    const { error, results, status } = reply.body as { error?: WireError; results?: WireResult[]; status?: string };
    if (error) return transactions.map(() => answerOf({ status: 'rejected', error }));
    if (transactions.length === 1) return [answerOf({ status: String(status) })];
    return (results as WireResult[]).map(answerOf);
  }

  /** In minor units; null where it can't be told just now. */
  async balance(account: string): Promise<bigint | null> {
    const reply = await this.request('spill.balance.get', JSON.stringify({ account }), 'json');
    if (reply.outcome === 'failed') return null;
    const { error, balance } = reply.body as { error?: WireError; balance: string };
    if (!error) return BigInt(balance);
    if (error.retryable) return null;
    throw new Error(`the balance of ${account}: ${error.code}, ${error.message}`);
  }

  async close(): Promise<void> {
    await this.nc.close();
  }

  private async request(
    subject: string,
    body: string | Uint8Array,
    encoding: 'json' | 'messagepack',
  ): Promise<{ outcome: 'reply'; body: unknown } | { outcome: 'failed'; code: string }> {
    const head = headers();
    head.set('Spill-Deadline-Ms', String(DEADLINE_MS));
    try {
      const message = await this.nc.request(subject, body, { timeout: DEADLINE_MS + WAY_BACK_MS, headers: head });
      return { outcome: 'reply', body: encoding === 'json' ? message.json() : unpackr.unpack(message.data) };
    } catch (error) {
      if (!(error instanceof NatsError)) throw error;
      return { outcome: 'failed', code: `NATS ${error.code}` };
    }
  }
}

function answerOf({ status, error }: WireResult): LoadAnswer {
  if (!error) return { end: 'answered', status };
  const { code, message, retryable } = error;
  if (retryable) return { end: 'again', code, waitMs: error.retry_after_ms ?? 20 };
  return { end: 'refused', code, message };
}

/** Asks an operator's question until it is answered without an error. @throws Error at the deadline. */
export async function askOperator<T>(
  nc: NatsConnection,
  subject: string,
  question: object,
  waitMs = 60_000,
): Promise<T> {
  const end = performance.now() + waitMs;
  for (let last = ''; ; ) {
    const leftMs = end - performance.now();
    if (leftMs < 100) throw new Error(`${subject} was not answered within ${waitMs / 1_000} s: ${last}`);
    const head = headers();
    head.set('Spill-Deadline-Ms', String(Math.floor(leftMs)));
    try {
      const reply = await nc.request(subject, JSON.stringify(question), { timeout: leftMs, headers: head });
      const body = reply.json<{ error?: WireError }>();
      if (!body.error) return body as T;
      if (!body.error.retryable) throw new Error(`${subject}: ${body.error.code}, ${body.error.message}`);
      last = body.error.message;
    } catch (error) {
      if (!(error instanceof NatsError)) throw error;
      last = error.message;
    }
    await delay(100);
  }
}
