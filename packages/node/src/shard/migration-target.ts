import {
  type AdoptionChunk,
  batchAccount,
  batchAmount,
  batchTimestamp,
  type Certificate,
  type CopyChunk,
  decideAdoption,
  decideReady,
  type Migration,
  RowDigest,
  readBatch,
  type ShardEvent,
  type ShardState,
} from '@spill/core';

export interface TargetPorts {
  /** Asks the source for a chunk; null: it did not answer, or is no source of the migration just now. */
  ask(stream: number, chunk: number): Promise<CopyChunk | null>;
  /** Puts events into the next record; resolves once it is acknowledged. */
  control(decide: (sequence: number) => readonly ShardEvent[]): Promise<number>;
  /** The topology's word on the migration, as this shard knows it. */
  current(): Migration | undefined;
}

/** One call copies for so long at most, so that the supervisor hears how it goes. */
const COPY_MS_MAX = 500;
/** A chunk with fewer rows than this is the tail. */
const TAIL_ROWS = 1_000;

/**
 * The taking side of a migration: asks the source chunk by chunk and adopts what it does not know yet. What it has read
 * it adds up for the certificate; a new stream (another process of the source, a lost chunk) begins the sum anew.
 */
export class MigrationTarget {
  copiedTo = 0;
  tailRows = 0;
  private stream = 0;
  private chunk = 0;
  private horizon = 0;
  private digest: RowDigest;
  private busy: Promise<void> | null = null;

  constructor(
    private readonly state: ShardState,
    private readonly ports: TargetPorts,
  ) {
    this.digest = new RowDigest(state.idHashKey);
  }

  /** Copies until the tail is small, the source is silent, or half a second has passed. */
  copy(): Promise<void> {
    return this.once(async () => {
      const until = performance.now() + COPY_MS_MAX;
      do {
        if (!(await this.next())) return;
      } while (performance.now() < until && (this.copiedTo === 0 || this.tailRows > TAIL_ROWS));
    });
  }

  /** Copies up to the seal and says so in the log. */
  finish(sealedSequence: number, horizon: number): Promise<void> {
    return this.once(async () => {
      while (this.copiedTo < sealedSequence) if (!(await this.next())) return;
      // The sum is of another set than the one that was sealed: the supervisor will abort.
      if (this.horizon !== horizon) return;
      const certificate: Certificate = { horizon, count: this.digest.count, digest: this.digest.hex };
      await this.ports.control(() => decideReady(this.state, this.ports.current(), certificate));
    });
  }

  /** One at a time; who comes meanwhile waits for the one at work and leaves it at that. */
  private once(work: () => Promise<void>): Promise<void> {
    this.busy ??= work().finally(() => {
      this.busy = null;
    });
    return this.busy;
  }

  private async next(): Promise<boolean> {
    const piece = await this.ports.ask(this.stream, this.chunk + 1);
    const migration = this.ports.current();
    if (!piece || !migration) return false;
    if (piece.stream !== this.stream || piece.horizon !== this.horizon) {
      this.stream = piece.stream;
      this.horizon = piece.horizon;
      this.chunk = 0;
      this.copiedTo = 0;
      this.digest = new RowDigest(this.state.idHashKey);
    }
    // Of a stream that has moved on without us only the beginning is any use.
    if (piece.chunk !== this.chunk + 1) return true;
    const chunk = unpack(piece);
    await this.ports.control(() => decideAdoption(this.state, migration, chunk));
    this.add(chunk);
    this.chunk = piece.chunk;
    this.tailRows = chunk.batch.rows + piece.left;
    if (piece.to > 0) this.copiedTo = piece.to;
    return true;
  }

  private add({ batch, shards, sequences }: AdoptionChunk): void {
    let idAt = batch.idsAt;
    for (let row = 0; row < batch.rows; row++) {
      const idTo = idAt + (batch.bytes[batch.idLengthsAt + row] as number);
      this.digest.add({
        account: batch.accounts[batchAccount(batch, row)] as string,
        id: Buffer.from(batch.bytes.buffer, batch.bytes.byteOffset + idAt, idTo - idAt).toString('utf8'),
        amount: batchAmount(batch, row),
        timestamp: batchTimestamp(batch, row),
        shard: shards[row] as number,
        sequence: sequences[row] as number,
      });
      idAt = idTo;
    }
  }
}

function unpack(piece: CopyChunk): AdoptionChunk {
  return {
    batch: readBatch(piece.batch),
    // Copied: as it came, it need not lie on a boundary of 4 and 8 bytes.
    shards: new Uint32Array(new Uint8Array(piece.shards).buffer),
    sequences: new Float64Array(new Uint8Array(piece.sequences).buffer),
  };
}
