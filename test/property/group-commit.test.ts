import {
  acceptedRows,
  idHashKey,
  initialShardState,
  NO_HASH,
  ReplyCode,
  RowStatus,
  readRecord,
  readSubmitReply,
  recordHash,
  replayRecord,
  type ShardEvent,
  type ShardState,
  type SubmitReply,
  slotOf,
  writeSubmitRequest,
} from '@spill/core';
import { type AcknowledgedRecord, GroupCommit } from '@spill/node';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { batchOf } from '../support/batch-rows.js';
import { runs } from '../support/property-runs.js';

const IDENTITY = {
  shard: 1,
  pool: 'credit',
  largeThreshold: 1_000_000n,
  idHashKey: idHashKey('0123456789abcdef'),
  slotOf,
} as const;
const LOG_ID = 'ab'.repeat(16);
const ASSIGNMENT = 3;
const NOW = Date.now() * 1_000;

type Outcome = { outcome: 'stored' | 'refused'; detail?: string };
type Command =
  | { readonly do: 'submit'; readonly ids: readonly number[]; readonly amount: number }
  | { readonly do: 'control'; readonly events: number }
  | { readonly do: 'ask' }
  | { readonly do: 'settle'; readonly outcome: 'stored' | 'refused' }
  | { readonly do: 'turn' }
  | { readonly do: 'probe' };

const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('submit' as const),
      ids: fc.array(fc.nat(40), { minLength: 1, maxLength: 6 }),
      amount: fc.integer({ min: 1, max: 2 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('control' as const), events: fc.nat(2) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('ask' as const) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('settle' as const),
      outcome: fc.oneof(
        { weight: 5, arbitrary: fc.constant('stored' as const) },
        { weight: 1, arbitrary: fc.constant('refused' as const) },
      ),
    }),
  },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('turn' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('probe' as const) }) },
);

/** A log that stores or refuses one record when told to, and whoever waits for the shard. */
class World {
  readonly state: ShardState = initialShardState(IDENTITY);
  readonly commit: GroupCommit;
  readonly records: Uint8Array[] = [];
  /** Amount by id, of what the log holds. */
  readonly durable = new Map<string, bigint>();
  readonly acknowledged: AcknowledgedRecord[] = [];
  /** What did not hold; thrown at the end, since most of it is noticed within callbacks. */
  readonly faults: unknown[] = [];
  refusals = 0;
  answered = 0;
  submitted = 0;
  private waiting: { bytes: Uint8Array; settle: (outcome: Outcome) => void } | null = null;
  private refused: Uint8Array | null = null;
  private epoch = 0;

  constructor() {
    this.state.logId = LOG_ID;
    this.commit = new GroupCommit(
      this.state,
      ASSIGNMENT,
      // So small that a few requests fill a record.
      {
        recordBytesMax: 420,
        waitingBytesMax: 1e6,
        pendingBytesMax: 1e9,
        idsMax: 1e6,
        maxClockSkewMicros: 60_000_000,
      },
      {
        append: (bytes, expectedLast) => this.append(bytes, expectedLast),
        housekeeping: () => [],
        ownedSlots: () => new Uint8Array(4096).fill(1),
        pendingBytes: () => 0,
        onAcknowledged: (record) => this.acknowledged.push(record),
        askLedger: async (keys) => keys.map(() => null),
        onFatal: (reason, detail) => {
          throw new Error(`${reason}: ${detail}`);
        },
        onRefusing: () => {},
      },
    );
  }

  submit(ids: readonly number[], amount: bigint): void {
    const rows = ids.map((id) => ({ account: 'a', id: `id-${id}`, amount, timestamp: NOW, stamped: false }));
    this.submitted += 1;
    let answers = 0;
    this.commit.submit(writeSubmitRequest(600_000, batchOf(rows).bytes), (reply) => {
      answers += 1;
      this.answered += 1;
      this.claim(() => {
        expect(answers).toBe(1);
        this.check(ids, amount, readSubmitReply(reply));
      });
    });
  }

  /** What an answer says rests on records that the log holds. */
  private check(ids: readonly number[], amount: bigint, reply: SubmitReply): void {
    if (reply.code !== ReplyCode.ok) {
      expect(reply.code).toBe(ReplyCode.unavailable);
      expect(this.refusals).toBeGreaterThan(0);
      return;
    }
    for (const [row, id] of ids.entries()) {
      const status = reply.statuses.length === 0 ? RowStatus.stored : reply.statuses[row];
      const durable = this.durable.get(`id-${id}`);
      expect(durable).toBeDefined();
      expect(status === RowStatus.idConflict).toBe(durable !== amount);
      if (status === RowStatus.stored) expect(reply.sequence).toBeLessThanOrEqual(this.records.length);
    }
  }

  control(events: number): void {
    let decided = 0;
    const done = this.commit.control((sequence) => {
      decided = sequence;
      return Array.from({ length: events }, () => ({ type: 'epoch' as const, epoch: ++this.epoch }));
    });
    void done.then(() => {
      this.claim(() => expect(this.records.length).toBeGreaterThanOrEqual(events > 0 ? decided : decided - 1));
    });
  }

  ask(): void {
    const { known } = this.state;
    const decided = [...known.entries()].map((entry) => known.id(entry));
    this.commit.whenAcknowledged((acknowledged) => {
      this.claim(() => {
        if (!acknowledged) expect(this.refusals).toBeGreaterThan(0);
        else expect(decided.filter((id) => !this.durable.has(id))).toEqual([]);
      });
    });
  }

  settle(outcome: 'stored' | 'refused'): void {
    const { waiting } = this;
    if (!waiting) return;
    this.waiting = null;
    if (outcome === 'refused') {
      this.refusals += 1;
      this.refused = waiting.bytes;
      waiting.settle({ outcome, detail: 'no space' });
      return;
    }
    this.refused = null;
    this.records.push(waiting.bytes);
    for (const row of acceptedRows(readRecord(waiting.bytes))) {
      this.claim(() => expect(this.durable.has(row.id)).toBe(false));
      this.durable.set(row.id, row.amount);
    }
    waiting.settle({ outcome });
  }

  claim(holds: () => void): void {
    try {
      holds();
    } catch (fault) {
      this.faults.push(fault);
    }
  }

  get isStoring(): boolean {
    return this.waiting !== null;
  }

  private append(bytes: Uint8Array, expectedLast: number): Promise<Outcome> {
    this.claim(() => {
      expect(this.waiting).toBeNull();
      expect(expectedLast).toBe(this.records.length);
      if (this.refused) expect(bytes).toEqual(this.refused);
      const before = this.records.at(-1);
      expect(readRecord(bytes).previous).toBe(before ? recordHash(before) : NO_HASH);
    });
    return new Promise((settle) => {
      this.waiting = { bytes, settle };
    });
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('the intake of a shard', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  test('answers rest on stored records alone, whatever is refused, and the log replays to the same state', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(command, { maxLength: 60, size: 'max' }), async (commands) => {
        const world = new World();
        for (const step of commands) {
          if (step.do === 'submit') world.submit(step.ids, BigInt(step.amount));
          else if (step.do === 'control') world.control(step.events);
          else if (step.do === 'ask') world.ask();
          else if (step.do === 'settle') {
            const wasStoring = world.isStoring;
            world.settle(step.outcome);
            await turn();
            // Nobody waits for a log that refuses.
            if (wasStoring && step.outcome === 'refused') {
              world.claim(() => expect(world.answered).toBe(world.submitted));
            }
          } else if (step.do === 'probe') vi.advanceTimersByTime(1_000);
          else await turn();
        }
        for (let idle = 0; idle < 3; idle = world.isStoring ? 0 : idle + 1) {
          world.settle('stored');
          await turn();
          vi.advanceTimersByTime(1_000);
        }
        await world.commit.drained();
        if (world.faults.length > 0) throw world.faults[0];
        expect(world.answered).toBe(world.submitted);
        expect(world.acknowledged.map((record) => record.sequence)).toEqual(world.records.map((_, i) => i + 1));
        expect(world.acknowledged.map((record) => record.hash)).toEqual(world.records.map(recordHash));
        const replayed = initialShardState(IDENTITY);
        for (const [i, bytes] of world.records.entries()) {
          replayRecord(replayed, readRecord(bytes), i + 1, recordHash(bytes));
        }
        const keys = ({ known }: ShardState): string[] =>
          [...known.entries()].map((entry) => `${known.id(entry)} ${known.amount(entry)} ${known.sequence(entry)}`);
        expect(keys(replayed)).toEqual(keys(world.state));
        expect({ count: replayed.count, sum: replayed.sum, small: replayed.small, number: replayed.number }).toEqual({
          count: world.state.count,
          sum: world.state.sum,
          small: world.state.small,
          number: world.state.number,
        });
        // Each record's transactions lie in its own places.
        expect(world.acknowledged.map((record) => record.toPlace - record.fromPlace)).toEqual(
          world.acknowledged.map((record) => record.rows),
        );
      }),
      runs(200),
    );
  });

  test('a record says from where it is to be replayed, not from where what was decided after it is', async () => {
    const world = new World();
    world.submit([1], 1n);
    await turn();
    void world.commit.control(() => [
      { type: 'forgotten', horizon: NOW + 1, foldedUpTo: 1 },
      { type: 'checkpoint', small: { ...world.state.small, horizon: NOW + 1, forgottenBelow: NOW + 1, foldedUpTo: 1 } },
    ]);
    await turn();
    world.settle('stored');
    await turn();
    expect(world.state.replayFrom).toBe(2);
    expect(world.acknowledged.map(({ replayFrom }) => replayFrom)).toEqual([1]);
    world.settle('stored');
    await turn();
    expect(world.acknowledged.map(({ replayFrom }) => replayFrom)).toEqual([1, 2]);
  });

  test('what is large and comes at once does not go into one record', async () => {
    const world = new World();
    world.submit([0], 1n);
    await turn();
    const rows = Array.from({ length: 10 }, (_, i) => ({
      account: 'a',
      id: `taken-${i}`,
      amount: 1n,
      timestamp: NOW,
      stamped: false,
    }));
    const chunk: ShardEvent = {
      type: 'adopted',
      migration: 1,
      slots: [{ from: 0, to: 4096 }],
      batch: batchOf(rows),
      shards: new Uint32Array(10),
      sequences: new Float64Array(10),
    };
    for (let i = 0; i < 4; i++) void world.commit.control(() => [chunk]);
    for (let idle = 0; idle < 3; idle = world.isStoring ? 0 : idle + 1) {
      world.settle('stored');
      await turn();
    }
    expect(world.records.map((bytes) => readRecord(bytes).events.length)).toEqual([1, 1, 1, 1, 1]);
  });
});
