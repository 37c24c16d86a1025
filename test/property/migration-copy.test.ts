import {
  type Certificate,
  type CopyChunk,
  decideSeal,
  evolve,
  idHashKey,
  initialShardState,
  type Migration,
  type ShardEvent,
  type ShardState,
  slotOf,
  type TargetReport,
} from '@spill/core';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Migrations } from '../../packages/node/src/shard/migrations.js';
import { adoptedRows } from '../support/adopted-rows.js';
import { batchOf } from '../support/batch-rows.js';
import { runs } from '../support/property-runs.js';

/** More rows than fit into two chunks move from shard to shard, with chunks lost and traffic going on. */
const KEY = idHashKey('0123456789abcdef'.repeat(4));
const SLOTS = [
  { from: 0, to: 300 },
  { from: 400, to: 900 },
];
const ACCOUNTS = Array.from({ length: 40 }, (_, i) => `account-${i}`);
const moves = (account: string): boolean =>
  SLOTS.some(({ from, to }) => slotOf(account) >= from && slotOf(account) < to);

class ShardOfTest {
  readonly state: ShardState;
  readonly stored: { account: string; id: string }[] = [];
  migrations: Migrations;
  /** Whether the answer to the next question for a chunk is lost. */
  loses: () => boolean = () => false;

  constructor(
    readonly shard: number,
    private readonly under: () => readonly Migration[],
    private readonly shards: Map<number, ShardOfTest>,
  ) {
    this.state = initialShardState({ shard, pool: 'credit', largeThreshold: 1_000n, idHashKey: KEY, slotOf });
    this.migrations = this.started();
    shards.set(shard, this);
  }

  /** As another process of the shard would begin. */
  restart(): void {
    this.migrations = this.started();
  }

  store(count: number): void {
    const rows = Array.from({ length: count }, (_, i) => {
      const number = this.stored.length + i;
      return {
        account: ACCOUNTS[number % ACCOUNTS.length] as string,
        id: `${this.shard}-${number}`,
        amount: BigInt(number + 1),
        timestamp: 1_000 + number,
        stamped: false,
      };
    });
    this.record([{ type: 'stored', batch: batchOf(rows), accepted: null, count }]);
    this.stored.push(...rows);
  }

  private started(): Migrations {
    return new Migrations(this.state, {
      acknowledged: () => ({ place: this.state.known.endPlace, sequence: this.state.sequence }),
      migrations: this.under,
      control: async (decide) => this.record(decide(this.state.sequence + 1)),
      askForChunk: async ({ id, source }, stream, chunk): Promise<CopyChunk | null> => {
        const piece = this.shards.get(source)?.migrations.chunk(id, stream, chunk) ?? null;
        return this.loses() ? null : piece;
      },
    });
  }

  private record(events: readonly ShardEvent[]): number {
    for (const event of events) evolve(this.state, event, this.state.sequence + 1);
    if (events.length > 0) this.state.sequence += 1;
    return this.state.sequence;
  }
}

/** Moves the slots as a supervisor would, with something that disturbs before each call. */
async function move(source: ShardOfTest, target: ShardOfTest, id: number, disturb: () => void): Promise<void> {
  for (let call = 0; ; call++) {
    if (call === 500) throw new Error('it copies for ever');
    disturb();
    await target.migrations.step(id, { step: 'copy' });
    const { copiedTo, tailRows } = target.migrations.report(id).target as TargetReport;
    if (copiedTo === 0 || tailRows > 1_000) continue;
    await source.migrations.step(id, { step: 'seal' });
    if (source.migrations.report(id).source?.sealed) break;
  }
  const { sealed } = source.migrations.report(id).source as { sealed: Certificate & { sequence: number } };
  for (let call = 0; !target.migrations.report(id).target?.ready; call++) {
    if (call === 500) throw new Error('it is never ready');
    await target.migrations.step(id, { step: 'finish', sealedSequence: sealed.sequence, horizon: sealed.horizon });
  }
  const { sequence: _, ...certificate } = sealed;
  expect(target.migrations.report(id).target?.ready).toEqual(certificate);
}

describe('what is known of moving slots', () => {
  test('is taken over whole, whatever is lost on the way', { timeout: 60_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 6_000, max: 11_000 }),
        fc.infiniteStream(fc.integer({ min: 0, max: 11 })),
        async (count, dice) => {
          const throws = (): number => dice.next().value as number;
          let migration: Migration;
          const shards = new Map<number, ShardOfTest>();
          const [one, two, three] = [1, 2, 3].map((shard) => new ShardOfTest(shard, () => [migration], shards)) as [
            ShardOfTest,
            ShardOfTest,
            ShardOfTest,
          ];
          for (const shard of [two, three]) shard.loses = () => throws() === 0;
          one.store(count);
          const expected: string[] = [];
          const known = ({ state }: ShardOfTest): string[] =>
            [...state.adoptions.values()]
              .flatMap(adoptedRows)
              .map(({ account, id, shard, sequence }) => `${account} ${id} ${shard} ${sequence > 0}`)
              .sort();
          for (const [id, source, target] of [
            [1, one, two],
            [2, two, three],
          ] as const) {
            migration = {
              id,
              pool: 'credit',
              slots: SLOTS,
              source: source.shard,
              target: target.shard,
              state: 'copying',
            };
            source.store(50);
            await move(source, target, id, () => {
              const face = throws();
              if (face === 1) source.store(100);
              if (face === 2) source.restart();
              if (face === 3) target.restart();
            });
            const rows = source.stored.filter(({ account }) => moves(account));
            expected.push(...rows.map(({ account, id: own }) => `${account} ${own} ${source.shard} true`));
            expect(known(target)).toEqual([...expected].sort());
            // Nothing is sealed twice, and the outcome ends it.
            expect(decideSeal(source.state, migration, { horizon: 0, count: 0, digest: '' })).toEqual([]);
            for (const shard of [source, target]) {
              migration = { ...migration, state: 'committed' };
              await shard.migrations.step(id, { step: 'settle' });
            }
          }
        },
      ),
      runs(15),
    );
  });
});
