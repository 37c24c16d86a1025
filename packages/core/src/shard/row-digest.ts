import { hashId, type IdHashKey } from './id-hash.js';

/** One transaction as a certificate sees it. `shard` and `sequence` are those of its first storing. */
export interface CertifiedRow {
  readonly account: string;
  readonly id: string;
  readonly amount: bigint;
  readonly timestamp: number;
  readonly shard: number;
  readonly sequence: number;
}

const LANES = 4;

/**
 * A digest of a set of transactions that does not depend on their order: the sum of keyed 128-bit hashes, as four lanes
 * of 32 bits, each modulo 2^32. Two shards that know the same set have the same count and digest.
 */
export class RowDigest {
  count = 0;
  private readonly lanes = new Uint32Array(LANES);
  private readonly keys: readonly IdHashKey[];
  private scratch = Buffer.alloc(256);

  constructor(key: IdHashKey) {
    this.keys = Array.from({ length: LANES }, (_, lane) => ({
      k0: (key.k0 ^ Math.imul(lane + 1, 0x9e37_79b1)) | 0,
      k1: (key.k1 ^ Math.imul(lane + 1, 0x85eb_ca6b)) | 0,
    }));
  }

  add(row: CertifiedRow): void {
    const length = this.write(row);
    for (let lane = 0; lane < LANES; lane++) {
      this.lanes[lane] =
        ((this.lanes[lane] as number) + hashId(this.keys[lane] as IdHashKey, this.scratch, 0, length)) >>> 0;
    }
    this.count += 1;
  }

  /** 32 hexadecimal digits. */
  get hex(): string {
    return [...this.lanes].map((lane) => lane.toString(16).padStart(8, '0')).join('');
  }

  /** Lengths go first, so that no two rows have the same bytes. */
  private write(row: CertifiedRow): number {
    const { scratch } = this;
    const accountBytes = scratch.write(row.account, 34, 'utf8');
    const idBytes = scratch.write(row.id, 34 + accountBytes, 'utf8');
    scratch.writeUInt8(accountBytes, 0);
    scratch.writeUInt8(idBytes, 1);
    scratch.writeBigInt64LE(row.amount, 2);
    scratch.writeDoubleLE(row.timestamp, 10);
    scratch.writeDoubleLE(row.shard, 18);
    scratch.writeDoubleLE(row.sequence, 26);
    return 34 + accountBytes + idBytes;
  }
}
