import {
  type AdoptedRows,
  accountName,
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
/** Chunks on their way into the log, some 200 KB each. */
const UNSTORED_MAX = 3;
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
  private asked: Promise<CopyChunk | null> | null = null;
  private unstored: Promise<unknown>[] = [];
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

  /** Copies up to the seal and says so in the log, in the record of the last chunk. */
  finish(sealedSequence: number, horizon: number): Promise<void> {
    return this.once(async () => {
      while (this.copiedTo < sealedSequence) if (!(await this.next({ sealedSequence, horizon }))) return;
      // The sum is of another set than the one that was sealed: the supervisor will abort.
      if (this.horizon !== horizon) return;
      if (this.ready().length > 0) await this.ports.control(() => this.ready());
    });
  }

  /** None where the log says so already. */
  private ready(): readonly ShardEvent[] {
    const certificate: Certificate = { horizon: this.horizon, count: this.digest.count, digest: this.digest.hex };
    return decideReady(this.state, this.ports.current(), certificate);
  }

  /** One at a time; who comes meanwhile waits for the one at work and leaves it at that. */
  private once(work: () => Promise<void>): Promise<void> {
    this.busy ??= work().finally(() => {
      this.busy = null;
    });
    return this.busy;
  }

  private async next(seal?: { readonly sealedSequence: number; readonly horizon: number }): Promise<boolean> {
    const piece = await (this.asked ?? this.ask());
    this.asked = null;
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
    this.chunk = piece.chunk;
    if (piece.left > 0) this.askAhead();
    const chunk = unpack(piece);
    this.add(chunk);
    this.tailRows = chunk.batch.rows + piece.left;
    const last = seal && piece.to >= seal.sealedSequence && this.horizon === seal.horizon;
    const stored = this.ports.control(() => [
      ...decideAdoption(this.state, migration, chunk),
      ...(last ? this.ready() : []),
    ]);
    this.unstored.push(stored);
    // What has been asked for ahead is taken up while this is being stored: else a copy could not keep up with a busy
    // source on a busy machine. Records come in order, so what the last chunk vouches for includes those before it.
    while (this.unstored.length > (this.asked ? UNSTORED_MAX : 0)) await this.unstored.shift();
    if (piece.to > 0) {
      await stored;
      this.copiedTo = piece.to;
    }
    return true;
  }

  private ask(): Promise<CopyChunk | null> {
    return this.ports.ask(this.stream, this.chunk + 1);
  }

  /** The source works at the next chunk while this one is being stored. */
  private askAhead(): void {
    this.asked = this.ask();
    // Whoever takes it up is told; if nobody does, nothing was lost.
    this.asked.catch(() => {});
  }

  private add({ batch, shards, sequences }: AdoptedRows): void {
    const { bytes } = batch;
    let idFrom = batch.idsAt;
    for (let row = 0; row < batch.rows; row++) {
      const idTo = idFrom + (bytes[batch.idLengthsAt + row] as number);
      this.digest.add({
        account: accountName(batch, batchAccount(batch, row)),
        bytes,
        idFrom,
        idTo,
        amount: batchAmount(batch, row),
        timestamp: batchTimestamp(batch, row),
        shard: shards[row] as number,
        sequence: sequences[row] as number,
      });
      idFrom = idTo;
    }
  }
}

function unpack(piece: CopyChunk): AdoptedRows {
  return {
    batch: readBatch(piece.batch),
    // Copied: as it came, it need not lie on a boundary of 4 and 8 bytes.
    shards: new Uint32Array(new Uint8Array(piece.shards).buffer),
    sequences: new Float64Array(new Uint8Array(piece.sequences).buffer),
  };
}
