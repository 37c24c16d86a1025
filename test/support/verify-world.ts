/**
 * Logs and a database as they are after any amount of correct work, made from a seed: what `verify` must find nothing
 * wrong with. Built from the description of the design, not with the code under test, but for the records' bytes.
 */
import {
  type AccountTotals,
  type ConflictRow,
  type FoldTotals,
  firstTopology,
  type LogLedgerRow,
  NO_HASH,
  NO_SMALL_STATE,
  recordHash,
  type ShardEvent,
  type Topology,
  type Witness,
  writeRecord,
} from '@spill/core';
import type { ReadableLog, VerifyPorts } from '@spill/node';
import { batchOf } from './batch-rows.js';
import type { Random } from './random.js';

export interface WorldTransaction {
  readonly account: string;
  readonly id: string;
  readonly amount: bigint;
  readonly timestamp: number;
}

export interface WorldRecord {
  readonly sequence: number;
  bytes: Uint8Array;
  readonly transactions: readonly WorldTransaction[];
}

export interface WorldShard {
  readonly id: number;
  readonly logId: string;
  records: WorldRecord[];
  firstSequence: number;
  watermark: number;
  missing: boolean;
  witness: Witness | null;
}

export type WorldLedgerRow = Omit<LogLedgerRow, 'shard' | 'sequence' | 'logId' | 'index'> & {
  shard: number | null;
  sequence: number | null;
  logId: string | null;
  index: number | null;
  amount: bigint;
};

const ACCOUNTS = ['alice', 'bob', 'hot', 'Ω', '7'];

export class VerifyWorld {
  readonly shards: WorldShard[] = [];
  readonly ledger = new Map<string, WorldLedgerRow>();
  readonly conflicts: ConflictRow[] = [];
  readonly totals: FoldTotals[] = [];
  /** What other code did to the rows. */
  readonly foreign = new Map<string, bigint>();
  readonly topology: Topology;
  private nextId = 1;

  constructor(private readonly random: Random) {
    const count = 3;
    const logIds = Array.from({ length: count }, (_, i) => (i + 1).toString(16).padStart(32, 'a'));
    this.topology = firstTopology({
      accountType: 'text',
      node: { name: 'n', labels: {}, since: '' },
      shardCount: count,
      largeThreshold: 1_000n,
      replicas: 1,
      secret: '0'.repeat(64),
      logIds,
    });
    // Some came the direct path, before a shard stored them again.
    const direct = Array.from({ length: random.int(0, 4) }, () => this.transaction());
    for (const transaction of direct) this.put(transaction, null);
    logIds.forEach((logId, i) => {
      this.shards.push(this.makeShard(i + 1, logId, direct));
    });
  }

  /** A ledger row's key. */
  static key({ account, id }: { account: string; id: string }): string {
    return JSON.stringify([account, id]);
  }

  private transaction(): WorldTransaction {
    const { random } = this;
    const amount = BigInt(random.int(1, 500)) * (random.int(0, 1) === 0 ? 1n : -1n);
    const id = `t${this.nextId++}`;
    return { account: random.pick(ACCOUNTS), id, amount, timestamp: 1_000_000 + this.nextId };
  }

  private makeShard(id: number, logId: string, direct: readonly WorldTransaction[]): WorldShard {
    const { random } = this;
    const records: WorldRecord[] = [];
    let previous = NO_HASH;
    let count = 0;
    let sum = 0n;
    const append = (events: ShardEvent[], transactions: readonly WorldTransaction[]): void => {
      count += transactions.length;
      for (const { amount } of transactions) sum += amount;
      const number = records.length + 1;
      const bytes = writeRecord({
        logId,
        previous,
        assignment: 1,
        number,
        count,
        sum,
        replayFrom: 1,
        epoch: 1,
        events,
      });
      previous = recordHash(bytes);
      records.push({ sequence: number, bytes, transactions });
    };
    append([{ type: 'created', shard: id, small: NO_SMALL_STATE }], []);
    append([{ type: 'opened', assignment: 1 }], []);
    const length = random.int(1, 12);
    for (let i = 0; i < length; i++) {
      const rows = Array.from({ length: random.int(0, 5) }, () => this.submitted(direct));
      // Refused rows stay in the batch, and only the bitmap leaves them out.
      const refused = rows.length > 0 && random.int(0, 3) === 0 ? random.int(0, rows.length - 1) : -1;
      const stored = rows.filter((_, row) => row !== refused);
      const batch = batchOf(rows.map((row) => ({ ...row, stamped: false })));
      const accepted = new Uint8Array((rows.length + 7) >> 3);
      rows.forEach((_, row) => {
        if (row !== refused) accepted[row >> 3] = (accepted[row >> 3] as number) | (1 << (row & 7));
      });
      const event: ShardEvent = {
        type: 'stored',
        batch,
        accepted: refused < 0 ? null : accepted,
        count: stored.length,
      };
      append(rows.length > 0 ? [event] : [{ type: 'epoch', epoch: 1 }], stored);
    }
    const watermark = random.int(0, records.length);
    const shard: WorldShard = { id, logId, records, firstSequence: 1, watermark, missing: false, witness: null };
    this.fold(shard);
    // Purged from the front, never above the watermark, never the last record.
    shard.firstSequence =
      random.int(0, 1) === 0 ? 1 : random.int(1, Math.max(1, Math.min(watermark, records.length - 1)));
    shard.records = records.filter(({ sequence }) => sequence >= shard.firstSequence);
    const last = records.at(-1) as WorldRecord;
    const witness = { from: 'the test', logId, assignment: 1, sequence: last.sequence, number: last.sequence };
    shard.witness = { ...witness, hash: recordHash(last.bytes) };
    return shard;
  }

  /** Mostly new; sometimes one that is in the ledger already, with the same amount or with another. */
  private submitted(direct: readonly WorldTransaction[]): WorldTransaction {
    const { random } = this;
    const before = [...direct, ...[...this.ledger.values()].filter((row) => row.shard !== null)];
    if (before.length === 0 || random.int(0, 5) > 0) return this.transaction();
    const { account, id, amount, timestamp } = random.pick(before);
    return { account, id, amount: random.int(0, 1) === 0 ? amount : amount + 1_000n, timestamp: timestamp + 1 };
  }

  private fold(shard: WorldShard): void {
    const totals = { folded: [0n, 0n], dropped: [0n, 0n], conflicts: [0n, 0n] } as Record<string, [bigint, bigint]>;
    const add = (kind: string, amount: bigint): void => {
      const [count, sum] = totals[kind] as [bigint, bigint];
      totals[kind] = [count + 1n, sum + amount];
    };
    for (const record of shard.records.filter(({ sequence }) => sequence <= shard.watermark)) {
      record.transactions.forEach((transaction, index) => {
        const row = this.ledger.get(VerifyWorld.key(transaction));
        if (!row) {
          this.put(transaction, { shard: shard.id, logId: shard.logId, sequence: record.sequence, index });
          add('folded', transaction.amount);
        } else if (row.amount === transaction.amount) add('dropped', transaction.amount);
        else {
          const place = { logId: shard.logId, shard: shard.id, sequence: record.sequence, index };
          const rest = { ledgerAmount: row.amount, detail: null, state: 'open' as const };
          this.conflicts.push({ ...transaction, ...place, ...rest });
          add('conflicts', transaction.amount);
        }
      });
    }
    if (shard.watermark === 0) return;
    const last = shard.records[shard.watermark - 1] as WorldRecord;
    const part = (kind: string) => {
      const [count, sum] = totals[kind] as [bigint, bigint];
      return { count, sum };
    };
    this.totals.push({
      watermark: {
        shard: shard.id,
        logId: shard.logId,
        sequence: shard.watermark,
        number: shard.watermark,
        hash: recordHash(last.bytes),
        assignment: 1,
      },
      baseSequence: 0,
      folded: part('folded'),
      dropped: part('dropped'),
      conflicts: part('conflicts'),
      current: true,
    });
  }

  private put(
    transaction: WorldTransaction,
    place: { shard: number; logId: string; sequence: number; index: number } | null,
  ): void {
    const state =
      place && this.random.int(0, 4) === 0 ? this.random.pick(['set_aside', 'written_off'] as const) : 'applied';
    const nowhere = { shard: null, logId: null, sequence: null, index: null };
    this.ledger.set(VerifyWorld.key(transaction), {
      ...transaction,
      ...(place ?? nowhere),
      state,
      reason: state === 'applied' ? null : 'row_locked',
      appliedAccount: null,
    });
  }

  /** What `verify` asks, answered from memory. */
  ports(): VerifyPorts {
    const rowsOfLog = (shard: number, logId: string): WorldLedgerRow[] =>
      [...this.ledger.values()]
        .filter((row) => row.shard === shard && row.logId === logId)
        .sort((a, b) => a.sequence! - b.sequence! || a.index! - b.index!);
    return {
      accounts: null,
      topology: async () => this.topology,
      openLog: async (id) => this.log(this.shards.find((shard) => shard.id === id) as WorldShard),
      witness: async (id) => this.shards.find((shard) => shard.id === id)?.witness ?? null,
      table: {
        foldTotals: async () => [...this.totals],
        ledgerTotals: async () => {
          const logs = new Map<string, WorldLedgerRow[]>();
          for (const row of this.ledger.values()) {
            const key = `${row.shard} ${row.logId}`;
            logs.set(key, [...(logs.get(key) ?? []), row]);
          }
          return [...logs.values()].map((rows) => ({
            shard: rows[0]!.shard,
            logId: rows[0]!.logId,
            rows: { count: BigInt(rows.length), sum: rows.reduce((sum, row) => sum + row.amount, 0n) },
            firstSequence: rows[0]!.sequence && Math.min(...rows.map((row) => row.sequence!)),
            lastSequence: rows[0]!.sequence && Math.max(...rows.map((row) => row.sequence!)),
          }));
        },
        ledgerOfLog: async ({ shard, logId, fromSequence, toSequence, after, limit }) =>
          rowsOfLog(shard, logId)
            .filter((row) => row.sequence! >= fromSequence && row.sequence! <= toSequence)
            .filter(
              (row) =>
                !after ||
                row.sequence! > after.sequence ||
                (row.sequence === after.sequence && row.index! > after.index),
            )
            .slice(0, limit) as LogLedgerRow[],
        conflictsOfLog: async ({ shard, logId, fromSequence, toSequence }) =>
          this.conflicts.filter(
            (row) =>
              row.shard === shard && row.logId === logId && row.sequence >= fromSequence && row.sequence <= toSequence,
          ),
        ledger: async (keys) => keys.map((key) => this.ledger.get(VerifyWorld.key(key)) ?? null),
        listConflicts: async () => this.conflicts,
        accountTotals: async ({ after }) => ({
          accounts: after === undefined ? ACCOUNTS.map((account) => this.accountTotals(account)) : [],
          watermarks: new Map(),
        }),
      },
    };
  }

  private accountTotals(account: string): AccountTotals {
    const part = (holds: (row: WorldLedgerRow) => boolean) => {
      const rows = [...this.ledger.values()].filter((row) => row.account === account && holds(row));
      return { count: BigInt(rows.length), sum: rows.reduce((sum, row) => sum + row.amount, 0n) };
    };
    const nothing = { count: 0n, sum: 0n };
    const ownApplied = part((row) => row.state === 'applied');
    const drift = this.foreign.get(account) ?? 0n;
    return {
      account,
      opening: 10n,
      row: 10n + ownApplied.sum + drift,
      rowProblem: null,
      ownApplied,
      direct: part((row) => row.shard === null),
      movedIn: nothing,
      movedOut: nothing,
      setAside: part((row) => row.state === 'set_aside'),
      writtenOff: part((row) => row.state === 'written_off'),
      conflicts: nothing,
      drift,
    };
  }

  private log(shard: WorldShard): ReadableLog {
    const messages = (): { sequence: number; time: number; bytes: Uint8Array }[] =>
      shard.records.map(({ sequence, bytes }) => ({ sequence, time: 0, bytes }));
    return {
      info: async () => ({
        firstSequence: shard.firstSequence,
        lastSequence: messages().at(-1)?.sequence ?? 0,
        problems: [],
      }),
      last: async () => messages().at(-1) ?? null,
      read: async function* (from, to) {
        for (const message of messages()) if (message.sequence >= from && message.sequence <= to) yield message;
      },
    };
  }
}
