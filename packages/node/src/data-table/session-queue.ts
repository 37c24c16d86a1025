/** What of PGlite the queue uses. */
export interface ProtocolDatabase {
  execProtocolRawStream(message: Uint8Array, options: { onRawData: (data: Uint8Array) => void }): Promise<void>;
  isInTransaction(): boolean;
  exec(sql: string): Promise<unknown>;
}

interface Waiting {
  readonly session: number;
  readonly message: Uint8Array;
  readonly onData: (data: Uint8Array) => void;
  readonly resolve: (bytes: number) => void;
  readonly reject: (error: Error) => void;
}

export interface SessionQueueOptions {
  /** How long a session may hold the database without a word while others wait; then it is cut off. */
  readonly holdMsMax: number;
  /** Called to cut a session off: its socket is destroyed, which rolls its transaction back. */
  readonly cutOff: (session: number) => void;
  /** PGlite itself failed; nothing can be said about what follows. */
  readonly onFailure: (error: Error) => void;
}

const ERROR_RESPONSE = 0x45;
const SYNC = 0x53;
const SIMPLE_QUERY = 0x51;
const TERMINATE = 0x58;

/**
 * Lets several connections of `pglite-socket` share the one session that PGlite is, in the place of its own queue.
 *
 * ```
 *                 message                     Sync or Query done, not in a transaction
 *   free ───────────────────▶ held by a session ───────────────────▶ free (the longest waiting session next)
 * ```
 *
 * A session holds the database from its first message until its cycle is over (Sync of an extended query, end of a
 * simple one) and no transaction is open. pglite-socket's own queue releases it after every single message, so that
 * between the Parse and the Bind of one client comes the Parse of another, and the first one runs the other's
 * statement; and after one failure of PGlite it stands still for ever.
 */
export class SessionQueue {
  private readonly waiting: Waiting[] = [];
  private holder: number | null = null;
  private goneHolder: number | null = null;
  private running = false;
  private holdTimer: NodeJS.Timeout | undefined;

  constructor(
    private readonly database: ProtocolDatabase,
    private readonly options: SessionQueueOptions,
  ) {}

  /** The four methods are those that pglite-socket's handler calls. */
  enqueue(session: number, message: Uint8Array, onData: (data: Uint8Array) => void): Promise<number> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ session, message, onData, resolve, reject });
      void this.run();
    });
  }

  getQueueLength(): number {
    return this.waiting.length;
  }

  /** The session is gone: what it still wanted is not done. */
  clearQueueForHandler(session: number): void {
    for (let place = this.waiting.length - 1; place >= 0; place -= 1) {
      if (this.waiting[place]!.session !== session) continue;
      this.waiting.splice(place, 1)[0]!.reject(new Error('the connection was closed'));
    }
  }

  /** The session is gone: its transaction is rolled back, and the next one gets its turn. */
  async clearTransactionIfNeeded(session: number): Promise<void> {
    if (this.holder !== session) return;
    if (this.running) {
      // Its message is being served: released right after it.
      this.goneHolder = session;
      return;
    }
    await this.release();
    void this.run();
  }

  private async run(): Promise<void> {
    if (this.running) return;
    this.running = true;
    clearTimeout(this.holdTimer);
    for (let next = this.take(); next !== undefined; next = this.take()) await this.serve(next);
    this.running = false;
    if (this.holder !== null && this.waiting.length > 0) this.watchHolder(this.holder);
  }

  private take(): Waiting | undefined {
    if (this.holder === null) return this.waiting.shift();
    const place = this.waiting.findIndex((item) => item.session === this.holder);
    return place === -1 ? undefined : this.waiting.splice(place, 1)[0];
  }

  private async serve(item: Waiting): Promise<void> {
    this.holder = item.session;
    let bytes = 0;
    try {
      await this.database.execProtocolRawStream(item.message, {
        onRawData: (data) => {
          bytes += data.length;
          item.onData(data);
          if (isFatal(data)) this.options.onFailure(new Error('it ended its own session'));
        },
      });
      if (endsCycle(item.message) && !this.database.isInTransaction()) this.holder = null;
      if (this.goneHolder === item.session) await this.release();
      item.resolve(bytes);
    } catch (error) {
      const failure = error instanceof Error ? error : new Error(String(error));
      item.reject(failure);
      this.options.onFailure(failure);
    }
  }

  private async release(): Promise<void> {
    if (this.database.isInTransaction()) await this.database.exec('ROLLBACK');
    this.holder = null;
    this.goneHolder = null;
  }

  private watchHolder(session: number): void {
    clearTimeout(this.holdTimer);
    this.holdTimer = setTimeout(() => this.options.cutOff(session), this.options.holdMsMax);
  }
}

/**
 * An ErrorResponse of severity FATAL (or PANIC): PostgreSQL would end the session's process now. PGlite is that process,
 * can't end, and from then on says the same for ever (seen after idle_in_transaction_session_timeout, and after a COPY
 * that a client sent in the usual way).
 */
function isFatal(data: Uint8Array): boolean {
  if (data[0] !== ERROR_RESPONSE) return false;
  const fields = Buffer.from(data.buffer, data.byteOffset, Math.min(data.length, 64)).toString('latin1');
  return fields.includes('VFATAL\0') || fields.includes('VPANIC\0');
}

/** A start-up message has no type byte: its first byte is the first of its length, 0. */
function endsCycle(message: Uint8Array): boolean {
  const type = message[0];
  return type === SYNC || type === SIMPLE_QUERY || type === TERMINATE || type === 0;
}
