import {
  DataTableUnavailableError,
  type FoldRequest,
  type FoldRows,
  judgeWatermark,
  TransientDataTableError,
  type Watermark,
} from '@spill/core';
import type { PostgresDataTable } from '@spill/node';
import fc from 'fast-check';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  foldRows,
  freshDataTable,
  hashOf,
  logOf,
  openDataTable,
  type Row,
  sql,
  startOf,
  type TestDatabase,
  timestampOf,
  ZERO_HASH,
} from '../support/data-table-fixture.js';

import { type DatabaseProxy, startDatabaseProxy } from '../support/database-proxy.js';
import { SOAK } from '../support/fault.js';
import { startPostgres, type TestPostgres } from '../support/postgres.js';

const SHARDS = [1, 2, 3] as const;
const NOTE = { who: 'a property', why: 'at random' };

/** good: plain rows. floor: never below 0. top: near the end of its range. locked: held by another session at times. */
const ACCOUNTS = ['good1', 'good2', 'floor', 'top', 'locked', 'missing', 'trigger'] as const;
const OPENING: Record<string, bigint> = {
  good1: 0n,
  good2: 1_000n,
  floor: 3n,
  top: 2n ** 63n - 6n,
  locked: 50n,
  trigger: 7n,
};

type Command =
  | { readonly do: 'append'; readonly shard: number; readonly rows: readonly Row[] }
  | {
      readonly do: 'fold';
      readonly shard: number;
      readonly records: number;
      readonly fault: 'none' | 'commit_lost' | 'answer_lost' | 'middle_lost' | 'twice' | 'set_aside_all';
    }
  | { readonly do: 'zombie'; readonly shard: number }
  | { readonly do: 'restart'; readonly shard: number }
  | { readonly do: 'direct'; readonly row: Row }
  | { readonly do: 'lock' | 'unlock' | 'dump' | 'restore' | 'retry' }
  | { readonly do: 'move' | 'write_off'; readonly pick: number };

const row: fc.Arbitrary<Row> = fc.tuple(
  fc.constantFrom(...ACCOUNTS),
  fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'),
  fc.integer({ min: -4, max: 4 }).map((n) => BigInt(n >= 0 ? n + 1 : n)),
);
const shard = fc.constantFrom(...SHARDS);
const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('append' as const), shard, rows: fc.array(row, { maxLength: 6 }) }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('fold' as const),
      shard,
      records: fc.integer({ min: 1, max: 4 }),
      fault: fc.constantFrom(
        ...(['none', 'none', 'none', 'commit_lost', 'answer_lost', 'middle_lost', 'twice', 'set_aside_all'] as const),
      ),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('zombie' as const), shard }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('restart' as const), shard }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('direct' as const), row }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom('lock', 'unlock', 'dump', 'restore', 'retry' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('move', 'write_off' as const), pick: fc.nat(20) }) },
);

/** A shard's log, and what its process believes. */
interface Shard {
  readonly log: Row[][];
  assignment: number;
  watermark: Watermark;
}

/**
 * Folds of three shards at random against a real database: with lost commits, lost answers, zombies, locked, missing
 * and refusing rows, direct writes, operators, and the whole database set back. Whatever happened, once everything is
 * folded every (account, id) has taken effect exactly once.
 */
describe('folding at random', () => {
  let postgres: TestPostgres;
  let database: TestDatabase;
  let proxy: DatabaseProxy;

  beforeAll(async () => {
    postgres = await startPostgres({ fsync: false });
    database = {
      name: 'PostgreSQL',
      connection: { connectionString: postgres.url },
      embedded: false,
      postgres,
      stop: () => postgres.stop(),
    };
    proxy = await startDatabaseProxy({ host: '127.0.0.1', port: postgres.port });
  });
  afterAll(async () => {
    await proxy?.stop();
    await postgres?.stop();
  });

  it('every transaction takes effect once, and everything is accounted for', {
    timeout: SOAK ? 3_600_000 : 240_000,
  }, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(command, { minLength: 5, maxLength: 40 }), async (commands) => {
        await runWorld(commands);
      }),
      // biome-ignore lint/suspicious/noUndeclaredEnvVars: turbo does not run the tests
      { numRuns: Number(process.env.SPILL_FOLD_RUNS ?? (SOAK ? 250 : 25)), endOnFailure: true },
    );
  });

  async function runWorld(commands: readonly Command[]): Promise<void> {
    const inserts = Object.entries(OPENING).map(([id, balance]) => `('${id}', ${balance})`);
    const table = await freshDataTable(
      database,
      `CREATE TABLE accounts (id text PRIMARY KEY, balance bigint NOT NULL, CHECK (id <> 'floor' OR balance >= 0));
       INSERT INTO accounts VALUES ${inserts.join(', ')};
       CREATE OR REPLACE FUNCTION moody() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
         IF NEW.id = 'trigger' AND NEW.balance % 3 = 0 THEN RAISE EXCEPTION 'moody'; END IF; RETURN NEW; END $$;
       CREATE TRIGGER moody BEFORE UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION moody()`,
      {},
      { lockMsMax: 20 },
    );
    const folding = openDataTable(
      database,
      {},
      { lockMsMax: 20, connection: { connectionString: postgres.url.replace(/:\d+\//, `:${proxy.port}/`) } },
    );
    const locker = new pg.Client(database.connection);
    await locker.connect();
    const world = new World(database, table, folding, proxy, locker);
    try {
      for (const each of commands) await world.run(each);
      await world.settle();
      await world.check();
    } finally {
      await locker.end();
      await table.close();
      await folding.close();
    }
  }
});

class World {
  private readonly shards = new Map<number, Shard>(
    SHARDS.map((id) => [id, { log: [], assignment: 1, watermark: startOf(id) }]),
  );
  private locked = false;
  private dumped = false;

  constructor(
    private readonly database: TestDatabase,
    private readonly table: PostgresDataTable,
    /** Through the proxy that breaks connections. */
    private readonly folding: PostgresDataTable,
    private readonly proxy: DatabaseProxy,
    private readonly locker: pg.Client,
  ) {}

  async run(command: Command): Promise<void> {
    switch (command.do) {
      case 'append':
        this.shards.get(command.shard)!.log.push([...command.rows]);
        return;
      case 'fold':
        return await this.foldOnce(command.shard, command.records, command.fault);
      case 'zombie':
        return await this.zombie(command.shard);
      case 'restart': {
        // A new process knows nothing of the watermark but that nothing was folded.
        const state = this.shards.get(command.shard)!;
        state.assignment += 1;
        state.watermark = startOf(command.shard, logOf(command.shard), state.assignment);
        return;
      }
      case 'direct': {
        const [account, id, amount] = command.row;
        await this.table.direct({ account, id, amount, timestamp: timestampOf(0, 0) }, () => true);
        return;
      }
      case 'lock':
        if (!this.locked) await this.locker.query("BEGIN; SELECT FROM accounts WHERE id = 'locked' FOR UPDATE");
        this.locked = true;
        return;
      case 'unlock':
        return await this.unlock();
      case 'dump':
        return await this.dump();
      case 'restore':
        return await this.restore();
      case 'retry':
        await this.table.retrySetAside({ dueOnly: false, limit: 100 });
        return;
      case 'move':
      case 'write_off':
        return await this.operate(command.do, command.pick);
    }
  }

  /** Everything folded, nothing in the way any more. */
  async settle(): Promise<void> {
    await this.unlock();
    for (const [id, state] of this.shards) {
      for (let round = 0; state.watermark.sequence < state.log.length || round < 2; round += 1) {
        await this.foldOnce(id, 100, 'none');
        if (round > 10) throw new Error(`shard ${id} does not get on`);
      }
    }
    await this.table.retrySetAside({ dueOnly: false, limit: 100 });
  }

  async check(): Promise<void> {
    const conflicts = new Set(
      (await this.table.listConflicts({ limit: 10_000 })).map((c) => `${c.shard}/${c.sequence}/${c.index}`),
    );
    const expected = new Map<string, bigint>();
    for (const [id, { log, watermark }] of this.shards) {
      expect(watermark.sequence).toBe(log.length);
      let count = 0n;
      let sum = 0n;
      for (const [place, rows] of log.entries()) {
        const ledger = await this.table.ledger(rows.map(([account, txId]) => ({ account, id: txId })));
        rows.forEach(([account, txId, amount], index) => {
          count += 1n;
          sum += amount;
          // In the ledger with this amount, or kept as a conflict: nothing is lost.
          if (ledger[index]!.amount !== amount) expect(conflicts).toContain(`${id}/${place + 1}/${index}`);
          expected.set(`${account}\n${txId}`, ledger[index]!.amount);
        });
      }
      const totals = (await this.table.foldTotals()).filter((t) => t.watermark.shard === id);
      const read = totals.map((t) => [
        t.folded.count + t.dropped.count + t.conflicts.count,
        t.folded.sum + t.dropped.sum + t.conflicts.sum,
      ]);
      if (log.length > 0) expect(read).toEqual([[count, sum]]);
      const held = (await this.table.ledgerTotals()).find((t) => t.shard === id);
      if (log.length > 0) expect(held?.rows ?? { count: 0n, sum: 0n }).toEqual(totals[0]!.folded);
    }
    const { accounts } = await this.table.accountTotals({ limit: 100 });
    for (const totals of accounts) {
      if (totals.row !== null) expect(totals.drift).toBe(totals.opening === null ? null : 0n);
      const inLedger = totals.ownApplied.sum + totals.movedOut.sum + totals.setAside.sum + totals.writtenOff.sum;
      const direct = await sql(
        this.database,
        'SELECT id, amount::text AS amount FROM spill.ledger WHERE account = $1 AND shard IS NULL',
        [totals.account],
      );
      for (const row of direct) expected.set(`${totals.account}\n${row.id}`, BigInt(row.amount as string));
      const own = [...expected].filter(([key]) => key.startsWith(`${totals.account}\n`));
      expect(inLedger).toBe(own.reduce((total, [, amount]) => total + amount, 0n));
    }
  }

  private async foldOnce(id: number, records: number, fault: Extract<Command, { do: 'fold' }>['fault']): Promise<void> {
    const state = this.shards.get(id)!;
    const request = this.requestOf(id, records, fault === 'set_aside_all');
    if (fault === 'commit_lost') this.proxy.cutAt('COMMIT\u0000', 'request');
    if (fault === 'answer_lost') this.proxy.cutAt('COMMIT\u0000', 'answer');
    if (fault === 'middle_lost') this.proxy.cutAt('UPDATE spill.watermark', 'answer');
    try {
      const outcome = await this.folding.fold(request);
      if (fault === 'twice' && outcome.outcome === 'folded' && request.to.sequence > request.from.sequence) {
        const again = await this.folding.fold(request);
        expect(again).toEqual({ outcome: 'watermark_differs', watermark: outcome.watermark });
      }
      if (outcome.outcome === 'folded') state.watermark = outcome.watermark;
      if (outcome.outcome === 'watermark_differs') this.look(id, outcome.watermark);
      if (outcome.outcome === 'superseded' || outcome.outcome === 'blocked') throw new Error(outcome.outcome);
    } catch (error) {
      // The outcome is unknown, or nothing happened: the same again, later.
      if (!(error instanceof DataTableUnavailableError || error instanceof TransientDataTableError)) throw error;
    } finally {
      this.proxy.cutAt('nothing ever contains this', 'request');
    }
  }

  /** What a shard does when the watermark is another than it thought: it looks it up in its log. */
  private look(id: number, row: Watermark | null): void {
    const state = this.shards.get(id)!;
    const sequence = row?.sequence ?? 0;
    const verdict = judgeWatermark(row, {
      logId: logOf(id),
      firstSequence: 1,
      lastSequence: state.log.length,
      firstNumber: 1,
      hashBeforeFirst: ZERO_HASH,
      recordAtWatermark: sequence === 0 ? null : { number: sequence, hash: hashOf(sequence) },
      assignment: state.assignment,
      topologyAssignment: state.assignment,
      expectedSequence: state.watermark.sequence,
    });
    expect(['ahead', 'behind']).toContain(verdict.verdict);
    state.watermark = row ?? startOf(id, logOf(id), state.assignment);
  }

  private requestOf(id: number, records: number, setAsideAll: boolean): FoldRequest {
    const { log, watermark, assignment } = this.shards.get(id)!;
    const first = watermark.sequence;
    const last = Math.min(log.length, first + records);
    const parts = log.slice(first, last).map((rows, place) => foldRows(rows, first + place + 1));
    const join = <T>(pick: (rows: FoldRows) => readonly T[]) => parts.flatMap((part) => [...pick(part)]);
    return {
      shard: id,
      pool: 'credit',
      assignment,
      from: watermark,
      ledgerId: null,
      to: { sequence: last, number: last, hash: last === 0 ? ZERO_HASH : hashOf(last) },
      rows: {
        length: parts.reduce((sum, part) => sum + part.length, 0),
        accounts: join((rows) => rows.accounts),
        ids: join((rows) => rows.ids),
        amounts: join((rows) => rows.amounts),
        timestamps: join((rows) => rows.timestamps),
        sequences: join((rows) => rows.sequences),
        indexes: join((rows) => rows.indexes),
      },
      setAsideAll,
    };
  }

  /** A process of an earlier assignment wakes up, knowing the watermark of now, and folds what it thinks comes next. */
  private async zombie(id: number): Promise<void> {
    const row = await this.table.watermark(id);
    if (row === null || row.assignment < 2) return;
    const request = { ...this.requestOf(id, 1, false), from: row, assignment: row.assignment - 1 };
    expect(await this.table.fold(request)).toEqual({ outcome: 'superseded', watermark: row });
  }

  private async operate(what: 'move' | 'write_off', pick: number): Promise<void> {
    const rows = await this.table.listSetAside({ limit: 100 });
    const row = rows[pick % Math.max(1, rows.length)];
    if (row === undefined) return;
    try {
      if (what === 'move') await this.table.moveSetAside(row, row.account === 'good1' ? 'good2' : 'good1', NOTE);
      else await this.table.writeOff(row, NOTE);
    } catch (error) {
      // Its row may be held just now by a fold whose connection was cut and not yet ended.
      expect(error).toMatchObject({ retryable: expect.any(Boolean) });
    }
  }

  private async unlock(): Promise<void> {
    if (this.locked) await this.locker.query('COMMIT');
    this.locked = false;
  }

  private async dump(): Promise<void> {
    const copies = TABLES.map((name) => `CREATE TABLE dump.${name.replace('.', '_')} AS TABLE ${name}`);
    await this.quietly(`DROP SCHEMA IF EXISTS dump CASCADE; CREATE SCHEMA dump; ${copies.join('; ')}`);
    this.dumped = true;
  }

  private async restore(): Promise<void> {
    if (!this.dumped) return;
    const loads = TABLES.map((name) => `INSERT INTO ${name} TABLE dump.${name.replace('.', '_')}`);
    await this.quietly(`TRUNCATE ${TABLES.join(', ')}; ${loads.join('; ')}`);
  }

  /** With nobody else at work, as a restore is. */
  private async quietly(text: string): Promise<void> {
    await this.unlock();
    await sql(this.database, text);
  }
}

const TABLES = [
  'accounts',
  'spill.ledger',
  'spill.watermark',
  'spill.watermark_history',
  'spill.opening',
  'spill.conflict',
  'spill.direct_mark',
];
