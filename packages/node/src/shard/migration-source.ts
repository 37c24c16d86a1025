import { setImmediate as afterOtherWork } from 'node:timers/promises';
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

const CHUNK_ROWS_MAX = 4_000;
const CHUNK_ENTRIES_MAX = 50_000;
const COUNT_ENTRIES_MAX = 2_000;
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
  private readonly digest: RowDigest;
  private readonly counted: KnownRowScan;
  private sending: KnownRowScan | null = null;
  private sent: CopyChunk | null = null;
  private stream = 0;
  private heardAt = performance.now();
  private counting: Promise<void> | null = null;
  private ended = false;

  constructor(
    private readonly state: ShardState,
    readonly migration: Migration,
    /** The place after the last acknowledged transaction, and the last acknowledged record. */
    private readonly acknowledged: () => { place: number; sequence: number },
    private readonly newStream: () => number,
  ) {
    this.horizon = state.small.horizon;
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
    this.keepCounting();
    if (this.sent && stream === this.stream && chunk === this.sent.chunk) return this.sent;
    if (!this.sent || !this.sending || stream !== this.stream || chunk !== this.sent.chunk + 1) {
      this.stream = this.newStream();
      this.sending = this.scan();
      this.sent = null;
    }
    const { place, sequence } = this.acknowledged();
    const { rows, done } = this.sending.take(place, CHUNK_ROWS_MAX, CHUNK_ENTRIES_MAX);
    this.sent = {
      ...columns(rows),
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
   * null: too much is left to count without a pause that is felt.
   */
  certificate(): Certificate | null {
    const end = this.state.known.endPlace;
    if (this.counting || this.counted.left(end) > COUNT_LEFT_MAX) return null;
    while (!this.countSome(end, EVERYTHING));
    return { horizon: this.horizon, count: this.digest.count, digest: this.digest.hex };
  }

  private scan(): KnownRowScan {
    return new KnownRowScan(this.state, this.migration.slots, this.horizon);
  }

  private keepCounting(): void {
    this.counting ??= this.count().finally(() => {
      this.counting = null;
    });
  }

  private async count(): Promise<void> {
    while (!this.ended && !this.countSome(this.acknowledged().place, COUNT_ENTRIES_MAX)) await afterOtherWork();
  }

  private countSome(end: number, entriesMax: number): boolean {
    const { rows, done } = this.counted.take(end, EVERYTHING, entriesMax);
    for (const row of rows) this.digest.add(row);
    return done;
  }
}

function columns(rows: readonly CertifiedRow[]): Pick<CopyChunk, 'batch' | 'shards' | 'sequences'> {
  const builder = new BatchBuilder(rows.length + 1);
  for (const { account, id, amount, timestamp } of rows) builder.add(account, id, amount, timestamp, false);
  return {
    batch: builder.finish(),
    shards: bytesOf(Uint32Array.from(rows, (row) => row.shard)),
    sequences: bytesOf(Float64Array.from(rows, (row) => row.sequence)),
  };
}

function bytesOf(array: Uint32Array | Float64Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}
