import type { Submittable } from 'pg';

/** What of `pg`'s connection a submitted query uses. */
interface Connection {
  query(text: string): void;
  readonly stream: { write(data: Buffer): boolean };
}

/**
 * `COPY … FROM STDIN` of data that is already in memory, sent in one go, as a query for `client.query`.
 *
 * `pg-copy-streams` is made for streams: where the server refuses the rows (here a normal thing: a duplicate key)
 * while the socket is still draining, it writes on to a connection that it has let go, and the process ends.
 */
export class CopyIn implements Submittable {
  readonly done: Promise<void>;
  private settle!: (error?: Error) => void;

  constructor(
    private readonly text: string,
    private readonly data: Buffer,
  ) {
    this.done = new Promise((resolve, reject) => {
      this.settle = (error) => (error === undefined ? resolve() : reject(error));
    });
  }

  /** `pg` wraps this with its read time-out; it must be called when the query ends. */
  callback(): void {}

  submit(connection: Connection): void {
    connection.query(this.text);
  }

  handleCopyInResponse(connection: Connection): void {
    const header = Buffer.allocUnsafe(5);
    header.write('d', 0, 'latin1');
    header.writeUInt32BE(this.data.length + 4, 1);
    connection.stream.write(header);
    connection.stream.write(this.data);
    connection.stream.write(COPY_DONE);
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
}

const COPY_DONE = Buffer.from([0x63, 0, 0, 0, 4]);
