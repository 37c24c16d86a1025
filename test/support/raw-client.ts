import type { TransactionInput } from '@spill/node/client';
import { Packr, Unpackr } from 'msgpackr';
import { connect, headers, type NatsConnection } from 'nats';

const packr = new Packr({ useRecords: false });
const unpackr = new Unpackr({ useRecords: false });
const SUBJECT = 'spill.transactions.submit';
const TIMEOUT_MS = 30_000;

export type Encoding = 'json' | 'messagepack';

export interface RawResult {
  readonly id: string;
  readonly status: string;
  readonly error?: { readonly code: string; readonly retry_after_ms?: number };
}

/** A client in the public protocol, as anybody would write one; nothing of spill's own code. */
export class RawClient {
  private readonly headers = headers();

  private constructor(
    private readonly nc: NatsConnection,
    private readonly deadlineMs: number,
  ) {
    this.headers.set('Spill-Deadline-Ms', String(deadlineMs));
  }

  static async open(natsUrl: string, deadlineMs = TIMEOUT_MS): Promise<RawClient> {
    return new RawClient(await connect({ servers: natsUrl }), deadlineMs);
  }

  /** Sends a request's body; resolves with the reply's. */
  async send(body: Uint8Array): Promise<Uint8Array> {
    const { data } = await this.nc.request(SUBJECT, body, { timeout: this.deadlineMs, headers: this.headers });
    return data;
  }

  /** A question in JSON. */
  async ask(subject: string, question: object): Promise<unknown> {
    return (await this.nc.request(subject, JSON.stringify(question), { timeout: TIMEOUT_MS })).json();
  }

  close(): Promise<void> {
    return this.nc.close();
  }
}

/** The body of a request; a list of one is sent as a transaction by itself. */
export function bodyOf(transactions: readonly TransactionInput[], encoding: Encoding): Uint8Array {
  const wire = transactions.map(({ id, account, amount }) => ({ id, account, amount: Number(amount) }));
  const content = wire.length === 1 ? wire[0] : wire;
  return encoding === 'json' ? Buffer.from(JSON.stringify(content)) : packr.pack(content);
}

/** The results of a reply to these. Of a batch that is overloaded as a whole each is. @throws Error for any other refusal. */
export function resultsOf(
  reply: Uint8Array,
  encoding: Encoding,
  transactions: readonly TransactionInput[],
): RawResult[] {
  const value = encoding === 'json' ? JSON.parse(Buffer.from(reply).toString()) : unpackr.unpack(reply);
  const { results, status, error } = value as { results?: RawResult[]; status?: string; error?: RawResult['error'] };
  if (results) return results;
  if (status) return [value as RawResult];
  if (error?.code !== 'overloaded') throw new Error(`refused: ${JSON.stringify(value)}`);
  return transactions.map(({ id = '' }) => ({ id, status: 'rejected', error }));
}
