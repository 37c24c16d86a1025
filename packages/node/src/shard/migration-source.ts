import {
  BatchBuilder,
  type Certificate,
  type CertifiedRow,
  type CopyChunk,
  KnownRowScan,
  type Migration,
  RowDigest,
  type ShardState,
} from '@spill/core';

/**
 * Reading, sending and taking over so many takes each side some milliseconds, in which it serves nobody. With the longest
 * ids and accounts still less than half a megabyte: a record holds a chunk beside other events.
 */
const CHUNK_ROWS_MAX = 2_000;
const CHUNK_ENTRIES_MAX = 50_000;
/** So many entries may be left to count when the seal is asked for: some milliseconds. */
const COUNT_LEFT_MAX = 10_000;
/** How long the horizon is kept still for a target that says nothing any more. */
const SILENCE_MS_MAX = 30_000;
const EVERYTHING = Number.MAX_SAFE_INTEGER;

/**
 * The giving side of a migration: streams what is known for the slots, and counts the same set by itself, apart from
 * what it sends, for the certificate. While it is at work the shard's horizon stands still, so that the set has an edge.
 */
export class MigrationSource {
  readonly horizon: number;
  private readonly forgottenBelow: number;
  private readonly digest: RowDigest;
  private readonly counted: KnownRowScan;
  private sending: KnownRowScan | null = null;
  private sent: CopyChunk | null = null;
  private stream = 0;
  private heardAt = performance.now();
  private ended = false;

  constructor(
    private readonly state: ShardState,
    readonly migration: Migration,
    /** The place after the last acknowledged transaction, and the last acknowledged record. */
    private readonly acknowledged: () => { place: number; sequence: number },
    private readonly newStream: () => number,
  ) {
    this.horizon = state.small.horizon;
    this.forgottenBelow = state.small.forgottenBelow;
    this.digest = new RowDigest(state.idHashKey);
    this.counted = this.scan();
  }

  /** Whether the shard's horizon must still stand. */
  get holdsHorizon(): boolean {
    return !this.ended && performance.now() - this.heardAt < SILENCE_MS_MAX;
  }

  /** The outcome is logged. */
  end(): void {
    this.ended = true;
  }

  /** The next chunk; the one before again, where its answer was lost; the first of a new stream for anything else. */
  copy(stream: number, chunk: number): CopyChunk {
    this.heardAt = performance.now();
    if (this.sent && stream === this.stream && chunk === this.sent.chunk) return this.sent;
    if (!this.sent || !this.sending || stream !== this.stream || chunk !== this.sent.chunk + 1) {
      this.stream = this.newStream();
      this.sending = this.scan();
      this.sent = null;
    }
    const { place, sequence } = this.acknowledged();
    const rows = new ChunkRows();
    const done = this.sending.take(place, CHUNK_ROWS_MAX, CHUNK_ENTRIES_MAX, (row) => rows.add(row));
    // In step with what is sent, so that little is left to count at the seal.
    this.count(place, CHUNK_ROWS_MAX, CHUNK_ENTRIES_MAX);
    this.sent = {
      ...rows.finish(),
      stream: this.stream,
      chunk: (this.sent?.chunk ?? 0) + 1,
      horizon: this.horizon,
      // Only once everything acknowledged has been sent does the chunk vouch for a record.
      to: done ? sequence : 0,
      left: this.sending.left(place),
    };
    return this.sent;
  }

  /**
   * The set as it is at this very moment, everything decided included: asked while the record of the seal is built.
   * null: too much is left to count without a pause that is felt, or the horizon has gone on after all (nobody asked for
   * long), and of the set something is forgotten.
   */
  certificate(): Certificate | null {
    const end = this.state.known.endPlace;
    if (this.state.small.forgottenBelow !== this.forgottenBelow) return null;
    if (this.counted.left(end) > COUNT_LEFT_MAX) return null;
    this.count(end, EVERYTHING, EVERYTHING);
    return { horizon: this.horizon, count: this.digest.count, digest: this.digest.hex };
  }

  private scan(): KnownRowScan {
    return new KnownRowScan(this.state, this.migration.slots, this.horizon);
  }

  private count(end: number, rowsMax: number, entriesMax: number): void {
    this.counted.take(end, rowsMax, entriesMax, (row) => this.digest.add(row));
  }
}

/** The rows of a chunk, in columns. */
class ChunkRows {
  private readonly batch = new BatchBuilder(CHUNK_ROWS_MAX);
  private readonly shards = new Uint32Array(CHUNK_ROWS_MAX);
  private readonly sequences = new Float64Array(CHUNK_ROWS_MAX);

  add({ account, bytes, idFrom, idTo, amount, timestamp, shard, sequence }: CertifiedRow): void {
    const row = this.batch.addEncoded(account, bytes, idFrom, idTo, amount, timestamp, false);
    this.shards[row] = shard;
    this.sequences[row] = sequence;
  }

  finish(): Pick<CopyChunk, 'batch' | 'shards' | 'sequences'> {
    const { rows } = this.batch;
    return {
      batch: this.batch.finish(),
      shards: bytesOf(this.shards.subarray(0, rows)),
      sequences: bytesOf(this.sequences.subarray(0, rows)),
    };
  }
}

function bytesOf(array: Uint32Array | Float64Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}
