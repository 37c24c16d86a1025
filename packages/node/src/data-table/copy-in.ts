import type { Submittable } from 'pg';

/** What of `pg`'s connection a submitted query uses. */
interface Connection {
  query(text: string): void;
  readonly stream: { write(data: Buffer): boolean; once(event: 'drain', listener: () => void): void };
}

/**
 * `COPY … FROM STDIN` of rows that are made as they are sent, a chunk at a time, as a query for `client.query`. Between
 * two chunks everything else has its turn, and the server works on one while the next is made.
 *
 * `pg-copy-streams` is made for streams: where the server refuses the rows (here a normal thing: a duplicate key)
 * while the socket is still draining, it writes on to a connection that it has let go, and the process ends.
 */
export class CopyIn implements Submittable {
  readonly done: Promise<void>;
  private settle!: (error?: Error) => void;
  private isOver = false;
  private failure: Error | null = null;

  constructor(
    private readonly text: string,
    private readonly chunks: Iterator<Buffer>,
  ) {
    this.done = new Promise((resolve, reject) => {
      this.settle = (error) => {
        this.isOver = true;
        if (error === undefined) resolve();
        else reject(this.failure ?? error);
      };
    });
  }

  /** `pg` wraps this with its read time-out; it must be called when the query ends. */
  callback(): void {}

  submit(connection: Connection): void {
    connection.query(this.text);
  }

  handleCopyInResponse(connection: Connection): void {
    this.sendNext(connection.stream);
  }

  handleCommandComplete(): void {}

  handleReadyForQuery(): void {
    this.callback();
    this.settle();
  }

  handleError(error: Error): void {
    this.callback();
    this.settle(error);
  }

  /** Nothing is sent once the server has refused the rows: the connection is somebody else's then. */
  private sendNext(stream: Connection['stream']): void {
    if (this.isOver) return;
    let next: IteratorResult<Buffer>;
    try {
      next = this.chunks.next();
    } catch (error) {
      // The server undoes what it has, and answers with an error.
      this.failure = error as Error;
      stream.write(COPY_FAIL);
      return;
    }
    if (next.done === true) {
      stream.write(COPY_DONE);
      return;
    }
    const header = Buffer.allocUnsafe(5);
    header.write('d', 0, 'latin1');
    header.writeUInt32BE(next.value.length + 4, 1);
    stream.write(header);
    const sendNext = (): void => this.sendNext(stream);
    if (stream.write(next.value)) setImmediate(sendNext);
    else stream.once('drain', sendNext);
  }
}

const COPY_DONE = Buffer.from([0x63, 0, 0, 0, 4]);
/** Without a reason: the error that is told is the one that was met here. */
const COPY_FAIL = Buffer.from([0x66, 0, 0, 0, 5, 0]);
