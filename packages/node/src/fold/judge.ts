import {
  changeShard,
  type DataTable,
  judgeLedger,
  judgeWatermark,
  NO_HASH,
  RecordFormatError,
  type RecordHeader,
  readRecordHeader,
  shardOf,
  type Topology,
  TransientDataTableError,
  type Watermark,
  type WatermarkVerdict,
} from '@spill/core';
import { hashOf, type JetStreamLog } from '../nats/log.js';
import type { TopologyStore } from '../nats/topology-store.js';
import type { TopologyView } from '../shard/topology-view.js';

export interface JudgeParts {
  readonly shard: number;
  readonly logId: string;
  readonly assignment: number;
  readonly log: Pick<JetStreamLog, 'info' | 'get'>;
  readonly table: Pick<DataTable, 'ledgerOf'>;
  readonly topologies: Pick<TopologyStore, 'change'>;
  readonly view: Pick<TopologyView, 'entry' | 'newest' | 'take'>;
  /** The last record that the shard has acknowledged. */
  acknowledged(): number;
  /** As far as the log itself says that it was folded. */
  foldedUpTo(): number;
}

/** Judges what a fold finds in the data table: the watermark by the log, the ledger by what the topology remembers. */
export class Judge {
  /** The ledger that was judged last; null: none yet. */
  ledgerId: string | null = null;

  constructor(private readonly parts: JudgeParts) {}

  /**
   * Where the verdict lets the shard fold, the topology names the ledger before this resolves.
   *
   * @throws TransientDataTableError where the row has changed since it was read: look again.
   */
  async judge(row: Watermark | null, expectedSequence: number): Promise<WatermarkVerdict> {
    const { shard, assignment, table, topologies, view } = this.parts;
    const { ledgerId, watermark } = await table.ledgerOf(shard);
    // Another ledger's id must never be remembered for a row that was in the one before.
    if (!isSameRow(row, watermark)) {
      throw new TransientDataTableError('the watermark changed while it was looked at', '40001');
    }
    const log = await this.viewOf(row);
    this.ledgerId = ledgerId;
    const judged = (topology: Topology): WatermarkVerdict => {
      const entry = shardOf(topology, shard);
      if (!entry || entry.assignment > assignment) return { verdict: 'superseded' };
      const hasWatermark = row !== null;
      const why = judgeLedger(topology, { shard, ledgerId, hasWatermark, foldedUpTo: this.parts.foldedUpTo() });
      if (why !== null) return { verdict: 'damaged', why };
      return judgeWatermark(row, { ...log, topologyAssignment: entry.assignment, expectedSequence });
    };
    if (view.entry.ledgerId === ledgerId) return judged(view.newest);
    let verdict = judged(view.newest);
    const stored = await topologies.change((newest) => {
      verdict = judged(newest);
      const folds = verdict.verdict !== 'damaged' && verdict.verdict !== 'superseded';
      const entry = shardOf(newest, shard);
      const remembers = entry?.ledgerId === ledgerId || entry?.state === 'retired';
      return folds && !remembers ? changeShard(newest, shard, { ledgerId }) : null;
    });
    view.take(stored.topology);
    return verdict;
  }

  private async viewOf(row: Watermark | null) {
    const { log, logId, assignment } = this.parts;
    const info = await log.info();
    const first = await log.get(info.firstSequence);
    const header = first && readHeaderOrNull(first.bytes);
    const at = row && row.sequence > 0 ? await log.get(row.sequence) : null;
    return {
      logId,
      firstSequence: info.firstSequence,
      lastSequence: this.parts.acknowledged(),
      // A first record that cannot be read is an accepted loss: the repair has put the watermark at number 0 before it.
      firstNumber: header?.number ?? 1,
      hashBeforeFirst: header?.previous ?? NO_HASH,
      recordAtWatermark: at && { number: readHeaderOrNull(at.bytes)?.number ?? 0, hash: hashOf(at) },
      assignment,
    };
  }
}

function isSameRow(a: Watermark | null, b: Watermark | null): boolean {
  return a?.logId === b?.logId && a?.sequence === b?.sequence && a?.hash === b?.hash;
}

function readHeaderOrNull(bytes: Uint8Array): RecordHeader | null {
  try {
    return readRecordHeader(bytes);
  } catch (error) {
    if (!(error instanceof RecordFormatError)) throw error;
    return null;
  }
}
