/**
 * `decide` and `evolve` against a plain model of the rules, with everything between that a shard lives through, and the
 * state against its own replay from every place at which a record says that a replay may begin.
 */
import {
  decide,
  decideAdoption,
  decideReady,
  decideSeal,
  decideSettled,
  endRecord,
  evolve,
  type FirstSeen,
  initialShardState,
  isAccepted,
  judgeLink,
  linkOf,
  type Migration,
  NO_SMALL_STATE,
  type Pool,
  RowStatus,
  readBatch,
  readRecord,
  recordHash,
  replayRecord,
  type ShardEvent,
  type ShardIdentity,
  type ShardState,
  type SmallState,
  sealRecord,
  slotsOf,
} from '@spill/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { adoptedRows } from '../support/adopted-rows.js';
import { batchOf, type Row, rawBatch, rowsOf } from '../support/batch-rows.js';
import { comparable } from '../support/comparable-state.js';
import { runs } from '../support/property-runs.js';
import { keyOf, type ModelLedger, ShardModel } from '../support/shard-model.js';

const SHARD = 7;
const OTHER = 9;
const SKEW = 20;
const OWNED = new Set([0, 1, 2, 3]);
/** Account `a5` lies in slot 5: the model must see which slot is whose. */
const slotOf = (account: string): number => Number(account.slice(1));

interface RowPlan {
  readonly account: number;
  readonly id: number;
  readonly amount: number;
  readonly when: number;
  readonly stamped: boolean;
}

type Step =
  | {
      readonly kind: 'submit';
      readonly rows: readonly RowPlan[];
      readonly reachable: boolean;
      /** The sender lists every account once a row. */
      readonly repeatAccounts: boolean;
    }
  | { readonly kind: 'end' }
  | { readonly kind: 'fold'; readonly records: number }
  | { readonly kind: 'set back'; readonly records: number }
  | { readonly kind: 'forget'; readonly forward: number }
  | { readonly kind: 'checkpoint' | 'opened' | 'rebased' | 'close' | 'direct' }
  | { readonly kind: 'epoch'; readonly epoch: number }
  | { readonly kind: 'migrate'; readonly slot: number; readonly away: boolean }
  | { readonly kind: 'adopt'; readonly migration: number; readonly rows: readonly RowPlan[] }
  | { readonly kind: 'ready'; readonly migration: number; readonly ahead: number }
  | { readonly kind: 'seal'; readonly migration: number }
  | { readonly kind: 'settle'; readonly migration: number; readonly commit: boolean }
  | { readonly kind: 'horizon set'; readonly back: number }
  | { readonly kind: 'sweep'; readonly budget: number };

const rowPlan: fc.Arbitrary<RowPlan> = fc.record({
  account: fc.oneof({ weight: 6, arbitrary: fc.nat(2) }, { weight: 1, arbitrary: fc.nat(5) }),
  id: fc.nat(9),
  amount: fc.oneof({ weight: 4, arbitrary: fc.nat(1) }, { weight: 1, arbitrary: fc.nat(15) }),
  when: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, { weight: 3, arbitrary: fc.nat(9) }),
  stamped: fc.boolean(),
});

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      kind: fc.constant('submit' as const),
      rows: fc.array(rowPlan, { maxLength: 10 }),
      reachable: fc.boolean(),
      repeatAccounts: fc.boolean(),
    }),
  },
  { weight: 8, arbitrary: fc.constant({ kind: 'end' as const }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('fold' as const), records: fc.integer({ min: 1, max: 9 }) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('forget' as const),
      forward: fc.oneof({ weight: 9, arbitrary: fc.nat(12) }, { weight: 1, arbitrary: fc.constant(200) }),
    }),
  },
  { weight: 2, arbitrary: fc.constant({ kind: 'checkpoint' as const }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('sweep' as const), budget: fc.nat(30) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('migrate' as const), slot: fc.nat(3), away: fc.boolean() }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('adopt' as const),
      migration: fc.nat(2),
      rows: fc.array(rowPlan, { maxLength: 6 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.oneof(
      fc.record({ kind: fc.constant('seal' as const), migration: fc.nat(2) }),
      fc.record({ kind: fc.constant('ready' as const), migration: fc.nat(2), ahead: fc.integer({ min: -9, max: 9 }) }),
    ),
  },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('settle' as const), migration: fc.nat(2), commit: fc.boolean() }),
  },
  {
    weight: 4,
    arbitrary: fc.oneof(
      fc.record({ kind: fc.constant('set back' as const), records: fc.nat(9) }),
      fc.record({ kind: fc.constantFrom('opened' as const, 'rebased' as const, 'direct' as const) }),
      fc.record({ kind: fc.constant('epoch' as const), epoch: fc.nat(9) }),
      fc.record({ kind: fc.constant('horizon set' as const), back: fc.integer({ min: -5, max: 260 }) }),
    ),
  },
);

interface Setting {
  readonly pool: Pool;
  readonly largeThreshold: bigint;
  readonly segmentEntries: number;
}

const setting: fc.Arbitrary<Setting> = fc.record({
  pool: fc.constantFrom('credit', 'debit', 'large'),
  largeThreshold: fc.constantFrom(10n, 1_000_000n, 2n ** 31n - 1n, 2n ** 31n, 2n ** 32n, 2n ** 32n + 7n, 2n ** 62n),
  segmentEntries: fc.constantFrom(1, 3, 8, 64),
});

/** Amounts at every edge of the pools; the first two are plain ones of the shard's own pool. */
function amounts({ pool, largeThreshold: large }: Setting): bigint[] {
  const own = pool === 'large' ? [large, -large] : pool === 'credit' ? [1n, 2n] : [-1n, -2n];
  const max = 2n ** 63n - 1n;
  const edges = [1n, large - 1n, large, large + 1n, max, max - 1n, 2n ** 31n];
  return [...own, ...edges, ...edges.map((amount) => -amount)];
}

class Run {
  readonly state: ShardState;
  readonly model: ShardModel;
  readonly records: Uint8Array[] = [];
  /** The state after each record. */
  readonly snapshots: Record<string, unknown>[] = [];
  private readonly identity: ShardIdentity;
  private readonly owned = new Uint8Array(1024);
  private readonly amounts: bigint[];
  private events: ShardEvent[] = [];
  /** Of the record that is being gathered: the rows that the model stored. */
  private accepted: Row[] = [];
  private now = 1_000;
  private watermark = 0;
  private ledger: ModelLedger = new Map();
  private assignment = 1;
  private epoch = 0;
  /** As the topology would have them: with the shard as source or target, the newest last. */
  private readonly migrations: Migration[] = [];
  private readonly readied = new Set<number>();

  constructor(readonly setting: Setting) {
    const { pool, largeThreshold, segmentEntries } = setting;
    this.identity = { shard: SHARD, pool, largeThreshold, idHashKey: { k0: 1, k1: 2 }, slotOf, segmentEntries };
    this.state = initialShardState(this.identity);
    this.model = new ShardModel(SHARD, pool, largeThreshold, slotOf, OWNED, SKEW);
    this.amounts = amounts(setting);
    for (const slot of OWNED) this.owned[slot] = 1;
    this.state.logId = 'a'.repeat(32);
    this.model.horizon = 900;
    this.take({ type: 'created', shard: SHARD, small: { ...NO_SMALL_STATE, horizon: 900 } });
    this.end();
  }

  private get sequence(): number {
    return this.records.length + 1;
  }

  private take(event: ShardEvent): void {
    this.events.push(event);
    evolve(this.state, event, this.sequence);
  }

  private row(plan: RowPlan): Row {
    const { horizon } = this.model;
    const times = [
      this.now,
      horizon,
      horizon - 1,
      horizon + 1,
      horizon - 30,
      this.now + SKEW,
      this.now + SKEW + 1,
      this.now - 10,
      this.now - 50,
      0,
    ];
    return {
      account: `a${plan.account}`,
      id: `id-${plan.id}`,
      amount: this.amounts[plan.amount % this.amounts.length] as bigint,
      timestamp: Math.max(0, times[plan.when] as number),
      stamped: plan.stamped,
    };
  }

  private submit(step: Extract<Step, { kind: 'submit' }>): void {
    const rows = step.rows.map((plan) => this.row(plan));
    const batch = step.repeatAccounts
      ? readBatch(
          rawBatch(
            rows.map((row) => row.account),
            rows.map((row, place) => ({ ...row, place })),
          ),
        )
      : batchOf(rows);
    const { now, sequence } = this;
    const submit = { batch, now, maxClockSkewMicros: SKEW, ownedSlots: this.owned, sequence };
    const before = comparable(this.state);
    let decision = decide(this.state, submit);
    if (decision.askLedger.length > 0) {
      expect(decision.event).toBeNull();
      const answers = new Map<number, FirstSeen | null | 'unreachable'>();
      for (const row of decision.askLedger) {
        const there = this.ledger.get(keyOf(rows[row] as Row)) ?? null;
        // With one answer missing it asks for that one again, and decides nothing.
        expect(decide(this.state, { ...submit, ledger: answers }).askLedger).toContain(row);
        answers.set(row, step.reachable ? there : 'unreachable');
      }
      decision = decide(this.state, { ...submit, ledger: answers });
      expect(decision.askLedger).toEqual([]);
    }
    expect(comparable(this.state)).toEqual(before);
    const expected = this.model.submit(rows, now, sequence, step.reachable ? this.ledger : null);
    const statuses = rows.map((_, row) => decision.statuses[row] ?? RowStatus.stored);
    expect(statuses.map((status) => RowStatus[status])).toEqual(expected.map(({ status }) => RowStatus[status]));
    expect(rows.map((_, row) => decision.firsts.get(row) ?? null)).toEqual(expected.map(({ first }) => first));
    const stored = rows.filter((_, row) => expected[row]?.status === RowStatus.stored);
    expect(decision.event?.count ?? 0).toBe(stored.length);
    this.accepted.push(...stored);
    if (decision.event) this.take(decision.event);
  }

  /** Ends the record: its bytes go to the log, and what a reader finds in them is what was accepted. */
  private end(): void {
    if (this.events.length === 0) return;
    const { sequence } = this;
    const bytes = sealRecord(this.state, this.events, this.assignment);
    const hash = recordHash(bytes);
    endRecord(this.state, { sequence, number: this.state.number + 1, hash });
    this.state.assignment = this.assignment;
    const read = readRecord(bytes);
    const accepted = read.events.flatMap((event) =>
      event.type === 'stored' ? rowsOf(event.batch).filter((_, row) => isAccepted(event, row)) : [],
    );
    expect(accepted).toEqual(this.accepted);
    for (const { ids } of [{ ids: this.state.known }, ...this.state.adoptions.values()]) {
      const places = Array.from({ length: ids.size }, (_, n) => ids.firstPlace + n);
      // An account without entries would never be released.
      expect(ids.accountCount).toBe(new Set(places.map((place) => ids.accountNumberOf(ids.at(place)))).size);
    }
    this.records.push(bytes);
    this.snapshots.push(comparable(this.state));
    this.events = [];
    this.accepted = [];
  }

  private fold(upTo: number): void {
    for (const { account, id, amount, timestamp, sequence } of this.model.stored) {
      const key = keyOf({ account, id });
      if (sequence <= upTo && !this.ledger.has(key))
        this.ledger.set(key, { shard: SHARD, sequence, timestamp, amount });
    }
    this.watermark = upTo;
  }

  step(step: Step): void {
    this.now += 1;
    switch (step.kind) {
      case 'submit':
        this.submit(step);
        break;
      case 'end':
        this.end();
        break;
      case 'fold':
        this.fold(Math.min(this.records.length, this.watermark + step.records));
        break;
      case 'set back': {
        const upTo = Math.max(0, this.watermark - step.records);
        this.ledger = new Map([...this.ledger].filter(([, first]) => (first.sequence ?? 0) <= upTo));
        this.watermark = upTo;
        break;
      }
      case 'direct':
        this.ledger.set(keyOf({ account: 'a1', id: 'id-3' }), {
          shard: null,
          sequence: null,
          timestamp: 5,
          amount: this.amounts[0] as bigint,
        });
        break;
      case 'forget': {
        // A clock that is wrong by far takes the horizon past everything.
        const newest = step.forward >= 200 ? Number.MAX_SAFE_INTEGER : this.now - 20;
        const horizon = Math.max(this.model.horizon, Math.min(this.model.horizon + step.forward, newest));
        this.take({ type: 'forgotten', horizon, foldedUpTo: this.watermark });
        this.model.forget(horizon, this.watermark);
        break;
      }
      case 'horizon set': {
        const horizon = Math.max(0, this.model.horizon - step.back);
        this.take({ type: 'horizon_set', horizon, who: 'operator', why: 'a clock was wrong' });
        this.model.horizon = horizon;
        break;
      }
      case 'checkpoint':
        this.take({ type: 'checkpoint', small: this.state.small });
        break;
      case 'epoch':
        this.epoch = Math.max(this.epoch, step.epoch);
        this.take({ type: 'epoch', epoch: step.epoch });
        break;
      case 'migrate': {
        const { length } = this.migrations;
        const [source, target] = step.away ? [SHARD, OTHER] : [OTHER, SHARD];
        const slots = [{ from: step.slot, to: step.slot + 1 }];
        const { pool } = this.setting;
        this.migrations.push({ id: length + 1, pool, slots, source, target, state: 'copying' });
        break;
      }
      case 'adopt': {
        const migration = this.migration(step.migration);
        if (migration) this.adopt(migration, step.rows);
        break;
      }
      case 'ready': {
        const migration = this.migration(step.migration);
        if (!migration) break;
        const horizon = Math.max(0, this.model.horizon + step.ahead);
        const events = decideReady(this.state, migration, { horizon, count: 0, digest: 'd'.repeat(32) });
        const again = this.readied.has(migration.id) || this.model.settled.has(migration.id);
        expect(events.length).toBe(again || migration.state !== 'copying' || migration.target !== SHARD ? 0 : 1);
        if (events.length > 0) {
          this.readied.add(migration.id);
          this.model.horizon = Math.max(this.model.horizon, horizon);
        }
        for (const event of events) this.take(event);
        break;
      }
      case 'seal': {
        const migration = this.migration(step.migration);
        if (!migration) break;
        const certificate = { horizon: this.model.horizon, count: 0, digest: 'd'.repeat(32) };
        const events = decideSeal(this.state, migration, certificate);
        const again = this.model.sealed.has(migration.id) || this.model.settled.has(migration.id);
        expect(events.length).toBe(again || migration.state !== 'copying' || migration.source !== SHARD ? 0 : 1);
        if (events.length > 0) this.model.sealed.set(migration.id, new Set(slotsOf(migration.slots)));
        for (const event of events) this.take(event);
        break;
      }
      case 'settle': {
        const migration = this.migration(step.migration);
        if (!migration) break;
        const state = step.commit ? 'committed' : 'aborted';
        const said: Migration = { ...migration, state: migration.state === 'copying' ? state : migration.state };
        this.migrations[said.id - 1] = said;
        const events = decideSettled(this.state, [said]);
        expect(events.length).toBe(this.model.settled.has(said.id) ? 0 : 1);
        for (const event of events) this.take(event);
        this.model.settle(said.id, said.state === 'committed');
        this.isStale(migration);
        break;
      }
      case 'close':
        this.model.closed = true;
        this.take({ type: 'closed' });
        break;
      case 'opened':
        this.end();
        this.assignment += 1;
        this.take({ type: 'opened', assignment: this.assignment });
        this.end();
        break;
      case 'rebased': {
        this.end();
        this.assignment += 1;
        const formerLogId = this.state.logId;
        this.state.logId = `${this.assignment}`.padStart(32, 'b');
        const { small } = this.state;
        const loss = { lost: 'nothing', who: 'operator', why: 'a drill' };
        this.take({ type: 'rebased', formerLogId, assignment: this.assignment, ...loss, small });
        this.end();
        break;
      }
      case 'sweep':
        this.state.known.sweep(step.budget);
        break;
    }
  }

  private migration(nth: number): Migration | undefined {
    return this.migrations[this.migrations.length - 1 - nth];
  }

  private adopt(migration: Migration, plans: readonly RowPlan[]): void {
    const { sequence } = this;
    const unique = new Map<string, Row>();
    for (const plan of plans) {
      const row = this.row(plan);
      if ([...slotsOf(migration.slots)].includes(slotOf(row.account))) unique.set(keyOf(row), row);
    }
    const rows = [...unique.values()];
    const chunk = {
      batch: batchOf(rows),
      shards: Uint32Array.from(rows, () => OTHER),
      sequences: Float64Array.from(rows, (_, i) => 100 * sequence + i),
    };
    const events = decideAdoption(this.state, migration, chunk);
    const takes = migration.state === 'copying' && migration.target === SHARD && !this.model.settled.has(migration.id);
    const fresh = takes ? this.model.fresh(rows) : [];
    const taken = events.flatMap((event) => (event.type === 'adopted' ? rowsOf(event.batch) : []));
    expect(taken).toEqual(fresh);
    for (const event of events) this.take(event);
    for (const row of fresh) {
      const first = { shard: OTHER, sequence: 100 * sequence + rows.indexOf(row) };
      this.model.adopted.push({ ...row, sequence, migration: migration.id, first, forgotten: false });
    }
  }

  /** What still says `copying` of an ended migration comes late, and changes nothing. */
  private isStale(migration: Migration): void {
    const stale: Migration = { ...migration, state: 'copying' };
    const certificate = { horizon: 0, count: 0, digest: '' };
    const row = { account: 'a0', id: 'late', amount: this.amounts[0] as bigint, timestamp: this.now, stamped: false };
    const chunk = { batch: batchOf([row]), shards: Uint32Array.of(OTHER), sequences: Float64Array.of(1) };
    expect(decideSeal(this.state, stale, certificate)).toEqual([]);
    expect(decideReady(this.state, stale, certificate)).toEqual([]);
    expect(decideAdoption(this.state, stale, chunk)).toEqual([]);
    expect(decideSettled(this.state, [{ ...stale, state: 'aborted' }])).toEqual([]);
  }

  finish(): void {
    this.end();
    expect(this.state.count).toBe(this.model.stored.length);
    expect(this.state.sum).toBe(this.model.sum);
    // Never a lower one again, whatever a lagging replica says.
    expect(this.state.small.epoch).toBe(this.epoch);
    const { known } = this.state;
    expect([...known.entries()].map((entry) => `${known.account(entry)} ${known.id(entry)}`)).toEqual(
      this.model.known.map(({ account, id }) => `${account} ${id}`),
    );
    const adopted = [...this.state.adoptions.values()].flatMap(adoptedRows);
    expect(adopted.map(({ account, id, shard, sequence }) => `${account} ${id} ${shard} ${sequence}`).sort()).toEqual(
      this.model.adopted
        .filter(({ forgotten }) => !forgotten)
        .map(({ account, id, first }) => `${account} ${id} ${first.shard} ${first.sequence}`)
        .sort(),
    );
    this.replays();
  }

  /** From where each record says, and from every earlier such place. */
  private replays(): void {
    const last = this.records.length;
    const begins = this.records.map((bytes) => readRecord(bytes).replayFrom);
    begins.forEach((from, i) => {
      expect(from).toBeGreaterThanOrEqual(1);
      expect(from).toBeLessThanOrEqual(i + 1);
      // What is not folded is read back as well: the fold and the sums beyond the watermark come from it.
      const { foldedUpTo } = (this.snapshots[i] as { small: SmallState }).small;
      expect(from).toBeLessThanOrEqual(foldedUpTo + 1);
      expect(comparable(this.replay(from, i + 1))).toEqual(this.snapshots[i]);
    });
    const newest = begins.at(-1) as number;
    for (const from of new Set(begins)) {
      if (from < newest) expect(comparable(this.replay(from, last))).toEqual(this.snapshots[last - 1]);
    }
  }

  private replay(from: number, to: number): ShardState {
    const state = initialShardState(this.identity);
    for (let sequence = from; sequence <= to; sequence++) {
      const bytes = this.records[sequence - 1] as Uint8Array;
      const record = readRecord(bytes);
      if (sequence > from) expect(judgeLink(linkOf(state), record, sequence)).toBeNull();
      replayRecord(state, record, sequence, recordHash(bytes));
    }
    // Sums beyond an earlier watermark would be partial.
    expect(state.known.completeAbove).toBe(from - 1);
    return state;
  }
}

describe('a shard', () => {
  it('answers as the rules say, and is the replay of its records from wherever they say', () => {
    fc.assert(
      fc.property(setting, fc.array(step, { maxLength: 60, size: 'max' }), fc.boolean(), (setting, steps, close) => {
        const run = new Run(setting);
        for (const step of steps) run.step(step);
        if (close) {
          run.step({ kind: 'close' });
          const rows = [{ account: 0, id: 99, amount: 0, when: 0, stamped: false }];
          run.step({ kind: 'submit', rows, reachable: true, repeatAccounts: false });
        }
        run.finish();
      }),
      runs(200),
    );
  });

  it('keeps known what a horizon that was taken back does not cover', () => {
    const run = new Run({ pool: 'credit', largeThreshold: 10n, segmentEntries: 4 });
    const row = (id: number): RowPlan => ({ account: 0, id, amount: 0, when: 0, stamped: false });
    const submit = (id: number): void =>
      run.step({ kind: 'submit', rows: [row(id)], reachable: true, repeatAccounts: false });
    submit(1);
    run.step({ kind: 'end' });
    run.step({ kind: 'fold', records: 9 });
    // A wrong clock forgets everything; the operator takes the horizon back.
    run.step({ kind: 'forget', forward: 200 });
    run.step({ kind: 'horizon set', back: 180 });
    submit(2);
    run.step({ kind: 'end' });
    run.step({ kind: 'fold', records: 9 });
    run.step({ kind: 'forget', forward: 1 });
    run.finish();
    const { known } = run.state;
    expect([...known.entries()].map((entry) => known.id(entry))).toEqual(['id-2']);
  });

  it('keeps forgotten what was taken over and forgotten, when the horizon is taken back', () => {
    const run = new Run({ pool: 'credit', largeThreshold: 10n, segmentEntries: 4 });
    run.step({ kind: 'migrate', slot: 0, away: false });
    const row = (id: number): RowPlan => ({ account: 0, id, amount: 0, when: 0, stamped: false });
    run.step({ kind: 'adopt', migration: 0, rows: [row(1)] });
    run.step({ kind: 'end' });
    run.step({ kind: 'fold', records: 9 });
    run.step({ kind: 'adopt', migration: 0, rows: [row(2)] });
    run.step({ kind: 'settle', migration: 0, commit: true });
    run.step({ kind: 'end' });
    // A wrong clock forgets the first; the operator takes the horizon back.
    run.step({ kind: 'forget', forward: 200 });
    run.step({ kind: 'horizon set', back: 180 });
    run.step({ kind: 'forget', forward: 1 });
    run.step({ kind: 'submit', rows: [row(1), row(2)], reachable: true, repeatAccounts: false });
    run.finish();
    expect(run.model.stored.map(({ id }) => id)).toEqual(['id-1']);
  });

  it('decides a batch in which every account uses the same id as fast as any other', () => {
    const rows = (id: (i: number) => string): Row[] =>
      Array.from({ length: 32_768 }, (_, i) => ({
        account: `a${i}`,
        id: id(i),
        amount: 1n,
        timestamp: 1_000,
        stamped: false,
      }));
    const time = (all: Row[]): number => {
      const state = initialShardState({
        shard: SHARD,
        pool: 'credit',
        largeThreshold: 10n,
        idHashKey: { k0: 1, k1: 2 },
        slotOf: () => 0,
      });
      const batch = batchOf(all);
      const owned = new Uint8Array(1024).fill(1);
      // Of this process, not of the machine, which other tests use as well.
      const started = process.cpuUsage();
      const decision = decide(state, { batch, now: 1_000, maxClockSkewMicros: 0, ownedSlots: owned, sequence: 1 });
      expect(decision.event?.count).toBe(all.length);
      return process.cpuUsage(started).user / 1_000;
    };
    time(rows((i) => `${i}`));
    // Without spreading over the accounts this took half a billion comparisons: some seconds.
    expect(time(rows(() => 'salary-2026-11'))).toBeLessThan(20 * time(rows((i) => `${i}`)) + 100);
  });
});
