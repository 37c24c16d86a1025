import { type DataTable, DataTableUnavailableError, type ShardQuestion } from '@spill/core';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { compareKeys, FakeDataTable } from '../support/fake-data-table.ts';
import type { FakeShard } from '../support/fake-shard.ts';
import { RouterHarness } from '../support/router-harness.ts';

let harness: RouterHarness;
let table: FakeDataTable;
let shards: FakeShard[];

const LOG_IDS = [1, 2, 3].map((id) => id.toString(16).padStart(32, '0'));
const T = 1_763_970_000_000_000;

beforeEach(async () => {
  harness = await RouterHarness.start();
  table = new FakeDataTable();
  shards = [];
  for (const [i, logId] of LOG_IDS.entries()) {
    const shard = await harness.shard(i + 1);
    shard.answerReads(logId);
    shards.push(shard);
  }
});

afterEach(async () => {
  await harness.stop();
});

/** Pending in a shard: as if it had been stored there. */
function pending(shard: number, sequence: number, account: string, id: string, amount: bigint, timestamp = T): void {
  shards[shard - 1]!.known.set(`${account}\n${id}`, { account, id, amount, timestamp, stamped: false, sequence });
}

const balance = async (body: object) => (await harness.request('spill.balance.get', body)).json();
const get = async (account: string, id: string) =>
  (await harness.request('spill.transactions.get', { account, id })).json();
const retrieve = async (body: object) => (await harness.request('spill.transactions.retrieve', body)).json();

describe('a balance', () => {
  it('is the row, what is set aside and what every pool holds beyond its watermark', async () => {
    await harness.router({}, table.asDataTable());
    table.rows.set('alice', 1_000n);
    table.fold(1, LOG_IDS[0]!, 10, [{ account: 'alice', id: 'a', amount: 5n, timestamp: T }]);
    table.add({ account: 'alice', id: 'b', amount: -70n, timestamp: T, state: 'set_aside', reason: 'row_locked' });
    pending(1, 10, 'alice', 'a', 5n); // At the watermark: in the row already.
    pending(1, 11, 'alice', 'c', 300n);
    pending(2, 3, 'alice', 'd', -20n);
    pending(3, 2, 'alice', 'e', 9_000_000_000_000_000_000n);
    expect(await balance({ account: 'alice' })).toEqual({
      account: 'alice',
      balance: (1_005n - 70n + 300n - 20n + 9_000_000_000_000_000_000n).toString(),
      row: '1005',
      set_aside: '-70',
      pending: '9000000000000000280',
    });
  });

  it('leaves out of pending what the direct path has written', async () => {
    await harness.router({}, table.asDataTable());
    pending(1, 4, 'alice', 'a', 5n);
    table.add({ account: 'alice', id: 'a', amount: 5n, timestamp: T });
    table.directIds.set('alice', ['a']);
    expect(await balance({ account: 'alice' })).toMatchObject({ balance: '5', row: '5', pending: '0' });
  });

  it('asks each shard in its role, with the epoch and exactly the watermark that SQL has seen', async () => {
    const questions: ShardQuestion[] = [];
    const answer = shards[0]!.onAsk;
    shards[0]!.onAsk = (question) => {
      questions.push(question);
      return answer(question);
    };
    await harness.router({}, table.asDataTable());
    table.fold(1, LOG_IDS[0]!, 10, []);
    table.directIds.set('bob', ['x']);
    pending(1, 11, 'alice', 'a', 1n);
    pending(2, 11, 'bob', 'b', -1n);
    await balance({ accounts: ['alice', 'bob'] });
    const { epoch } = await harness.topology();
    expect(questions).toEqual([
      {
        ask: 'pending',
        role: 'owner',
        epoch,
        logId: LOG_IDS[0],
        watermark: 10,
        accounts: ['alice', 'bob'],
        without: [[], ['x']],
      },
    ]);
  });

  it('reads again from the topology on when a shard has moved, folded on, or does not answer', async () => {
    await harness.router({}, table.asDataTable());
    pending(1, 4, 'alice', 'a', 5n);
    const answer = shards[0]!.onAsk;
    const first = [
      { answer: 'moved', epoch: 99 },
      { answer: 'again' },
      { answer: 'unavailable', message: 'opening' },
    ] as const;
    let asked = 0;
    shards[0]!.onAsk = (question) => first[asked++] ?? answer(question);
    expect(await balance({ account: 'alice' })).toMatchObject({ balance: '5' });
    expect(asked).toBe(4);
  });

  it('is unavailable after five rounds, never a part of the sum', async () => {
    await harness.router({}, table.asDataTable());
    table.rows.set('alice', 1_000n);
    pending(1, 4, 'alice', 'a', 5n);
    let asked = 0;
    shards[1]!.onAsk = () => {
      asked += 1;
      return { answer: 'again' };
    };
    const reply = await harness.request('spill.balance.get', { account: 'alice' });
    expect(reply.errorCode).toBe('503');
    expect(reply.json()).toEqual({
      error: { code: 'unavailable', message: expect.stringMatching(/shard 2/), retryable: true },
    });
    expect(asked).toBe(5);
  });

  it('is not told without each shard: no process, no answer, the database down', async () => {
    await harness.router({}, table.asDataTable());
    table.rows.set('alice', 1_000n);
    await shards[2]!.die();
    expect((await balance({ account: 'alice' })).error).toMatchObject({ code: 'unavailable', retryable: true });
    await shards[2]!.listen();
    shards[1]!.onAsk = () => null;
    const began = performance.now();
    const late = await harness.request('spill.balance.get', { account: 'alice' }, { deadlineMs: 300 });
    expect(performance.now() - began).toBeLessThan(900);
    expect(late.json().error.retryable).toBe(true);
    shards[1]!.answerReads(LOG_IDS[1]!);
    table.down = new DataTableUnavailableError('connection refused');
    expect((await balance({ account: 'alice' })).error).toMatchObject({
      code: 'unavailable',
      message: expect.stringMatching(/connection refused/),
    });
  });

  it('of an account that nobody has seen is not found; one that only a shard has seen is', async () => {
    await harness.router({}, table.asDataTable());
    expect((await balance({ account: 'nobody' })).error).toMatchObject({ code: 'not_found', retryable: false });
    pending(1, 4, 'new', 'a', 5n);
    pending(2, 4, 'new', 'b', -5n);
    const { balances } = await balance({ accounts: ['nobody', 'new'] });
    expect(balances).toEqual([
      { account: 'nobody', error: { code: 'not_found', message: expect.any(String), retryable: false } },
      { account: 'new', balance: '0', row: null, set_aside: '0', pending: '0' },
    ]);
  });

  it('can not be told where the row holds none', async () => {
    await harness.router({}, table.asDataTable());
    table.rowProblem = 'the balance is NULL';
    expect((await balance({ account: 'alice' })).error).toMatchObject({ message: expect.stringMatching(/is NULL/) });
  });

  it('asks the shard that drains too, and each one that may hold the account while a pool folds again', async () => {
    const wide = await RouterHarness.start({ shardCount: 4 });
    try {
      const roles: string[] = [];
      for (const id of [1, 2, 3, 4]) {
        const shard = await wide.shard(id);
        shard.answerReads(id.toString(16).padStart(32, '0'));
        const answer = shard.onAsk;
        shard.onAsk = (question) => {
          if ('role' in question) roles.push(`${id} ${question.role}`);
          return answer(question);
        };
        shard.known.set('alice\na', {
          account: 'alice',
          id: `${id}`,
          amount: 1n,
          timestamp: T,
          stamped: false,
          sequence: 2,
        });
      }
      await wide.store.change((topology) => ({
        ...topology,
        epoch: topology.epoch + 1,
        owners: { ...topology.owners, credit: [{ from: 0, to: 1024, shard: 4 }] },
        draining: [{ shard: 1, pool: 'credit', slots: [{ from: 0, to: 1024 }], sealedSequence: 5 }],
      }));
      await wide.router({}, table.asDataTable());
      expect((await wide.request('spill.balance.get', { account: 'alice' })).json().balance).toBe('4');
      expect(roles.sort()).toEqual(['1 draining', '2 owner', '3 owner', '4 owner']);
      roles.length = 0;
      await wide.store.change((topology) => ({
        ...topology,
        epoch: topology.epoch + 1,
        draining: [],
        shards: topology.shards.map((shard) => (shard.id === 1 ? { ...shard, refolding: true } : shard)),
      }));
      expect((await wide.request('spill.balance.get', { account: 'alice' })).json().balance).toBe('4');
      expect(roles.sort()).toEqual(['1 draining', '2 owner', '3 owner', '4 owner']);
    } finally {
      await wide.stop();
    }
  });

  it('reads the topology after the request came, so that a slot that moved just before is asked where it went', async () => {
    const wide = await RouterHarness.start({ shardCount: 4 });
    try {
      for (const id of [1, 2, 3, 4]) {
        const shard = await wide.shard(id);
        shard.answerReads(id.toString(16).padStart(32, '0'));
        if (id === 4) {
          shard.known.set('alice\na', {
            account: 'alice',
            id: 'a',
            amount: 7n,
            timestamp: T,
            stamped: false,
            sequence: 2,
          });
        }
      }
      await wide.router({}, table.asDataTable());
      for (let i = 0; i < 5; i++) {
        const owner = i % 2 === 0 ? 4 : 1;
        await wide.store.change((topology) => ({
          ...topology,
          epoch: topology.epoch + 1,
          owners: { ...topology.owners, credit: [{ from: 0, to: 1024, shard: owner }] },
        }));
        // No watch has to have arrived: the read looks for itself.
        const reply = (await wide.request('spill.balance.get', { account: 'alice' })).json();
        if (owner === 4) expect(reply.balance).toBe('7');
        else expect(reply.error.code).toBe('not_found');
      }
    } finally {
      await wide.stop();
    }
  });

  it('contains what was acknowledged before it was asked for, while folds go on beneath it', async () => {
    await harness.router({}, table.asDataTable());
    const shard = shards[0]!;
    let sequence = 0;
    let acknowledged = 0n;
    let folding = true;
    // A fold may commit at any moment: between the statement and the question, and while the shard answers.
    const foldSome = (): void => {
      if (!folding || sequence === 0) return;
      const from = table.foldedTo.get(1)?.sequence ?? 0;
      const to = Math.min(sequence, from + 3);
      const rows = [...shard.known.values()].filter((row) => row.sequence > from && row.sequence <= to);
      table.fold(1, LOG_IDS[0]!, to, rows);
    };
    table.afterSnapshot = foldSome;
    for (let round = 0; round < 60; round++) {
      for (let i = 0; i < 3; i++) {
        sequence += 1;
        pending(1, sequence, 'alice', `t${sequence}`, BigInt(sequence));
        acknowledged += BigInt(sequence);
      }
      expect((await balance({ account: 'alice' })).balance).toBe(acknowledged.toString());
    }
    folding = false;
    expect((await balance({ account: 'alice' })).balance).toBe(acknowledged.toString());
  });
});

describe('get', () => {
  it('tells the state from the ledger, else pending', async () => {
    await harness.router({}, table.asDataTable());
    table.fold(1, LOG_IDS[0]!, 10, [{ account: 'alice', id: 'a', amount: 5n, timestamp: T }]);
    table.add({ account: 'alice', id: 'b', amount: -5n, timestamp: T, state: 'set_aside', shard: 2, sequence: 4 });
    table.add({ account: 'alice', id: 'c', amount: 6n, timestamp: T, state: 'written_off', shard: 2, sequence: 4 });
    table.add({ account: 'alice', id: 'd', amount: 7n, timestamp: T });
    pending(3, 9, 'alice', 'e', 5_000_000n, T + 1);
    pending(1, 12, 'alice', 'd', 7n); // Also in a log: the ledger wins.
    expect(await get('alice', 'a')).toEqual({
      account: 'alice',
      id: 'a',
      amount: '5',
      timestamp: T,
      shard: 1,
      sequence: 10,
      state: 'folded',
    });
    expect(await get('alice', 'b')).toMatchObject({ state: 'set_aside', shard: 2 });
    expect(await get('alice', 'c')).toMatchObject({ state: 'written_off' });
    expect(await get('alice', 'd')).toMatchObject({ state: 'folded', shard: null, sequence: null });
    expect(await get('alice', 'e')).toEqual({
      account: 'alice',
      id: 'e',
      amount: '5000000',
      timestamp: T + 1,
      shard: 3,
      sequence: 9,
      state: 'pending',
    });
  });

  it('finds nothing only where the ledger and all shards have answered', async () => {
    await harness.router({}, table.asDataTable());
    expect((await get('alice', 'x')).error).toMatchObject({ code: 'not_found', retryable: false });
    expect((await get('bob', 'x')).error.message).toMatch(/"bob".*"x"/);
    shards[2]!.onAsk = () => ({ answer: 'unavailable', message: 'opening' });
    expect((await get('alice', 'x')).error).toMatchObject({ code: 'unavailable', retryable: true });
    shards[2]!.answerReads(LOG_IDS[2]!);
    table.down = new DataTableUnavailableError('gone');
    expect((await get('alice', 'x')).error.code).toBe('unavailable');
  });

  it('finds what was folded and forgotten while it looked', async () => {
    await harness.router({}, table.asDataTable());
    pending(1, 4, 'alice', 'a', 5n);
    table.afterSnapshot = () => {
      table.afterSnapshot = () => {};
      table.fold(1, LOG_IDS[0]!, 4, [{ account: 'alice', id: 'a', amount: 5n, timestamp: T }]);
      shards[0]!.known.clear();
    };
    expect(await get('alice', 'a')).toMatchObject({ state: 'folded' });
  });

  it('needs a data table', async () => {
    await harness.router();
    expect((await get('alice', 'x')).error).toMatchObject({
      code: 'unavailable',
      message: expect.stringMatching(/data table/),
    });
  });
});

interface Known {
  readonly id: string;
  readonly amount: bigint;
  readonly timestamp: number;
  readonly place: 'folded' | 'set_aside' | 'direct and pending' | 'folded, still known' | 'pending';
  readonly shard: 1 | 2 | 3;
}

const known: fc.Arbitrary<Known[]> = fc.uniqueArray(
  fc.record({
    id: fc.string({ unit: fc.constantFrom('a', 'B', 'é', '😀', '_'), minLength: 1, maxLength: 4 }),
    amount: fc.bigInt({ min: 1n, max: 99n }),
    timestamp: fc.integer({ min: T, max: T + 6 }),
    place: fc.constantFrom<Known['place'][]>(
      'folded',
      'set_aside',
      'direct and pending',
      'folded, still known',
      'pending',
    ),
    shard: fc.constantFrom(1 as const, 2 as const, 3 as const),
  }),
  { selector: (one) => one.id, maxLength: 30 },
);

describe('retrieve', () => {
  it('pages through everything once, in order, whatever is where', async () => {
    await harness.router({}, table.asDataTable());
    for (const shard of [1, 2, 3]) table.fold(shard, LOG_IDS[shard - 1]!, 100, []);
    await fc.assert(
      fc.asyncProperty(known, fc.integer({ min: 1, max: 7 }), async (list, limit) => {
        table.ledgerRows.length = 0;
        for (const shard of shards) shard.known.clear();
        for (const { id, amount, timestamp, place, shard } of list) {
          const row = { account: 'alice', id, amount, timestamp, shard, sequence: 50 };
          if (place === 'folded' || place === 'folded, still known') table.add(row);
          if (place === 'set_aside') table.add({ ...row, state: 'set_aside' });
          // The direct path took it under another timestamp than the log has.
          if (place === 'direct and pending')
            table.add({ ...row, shard: null, sequence: null, timestamp: timestamp + 1 });
          if (place === 'pending' || place === 'direct and pending')
            pending(shard, 101, 'alice', id, amount, timestamp);
          if (place === 'folded, still known') pending(shard, 50, 'alice', id, amount, timestamp);
        }
        const expected = list
          .map((one) => (one.place === 'direct and pending' ? { ...one, timestamp: one.timestamp + 1 } : one))
          .sort(compareKeys)
          .map(({ id, timestamp, place }) => {
            const state = place === 'pending' ? 'pending' : place === 'set_aside' ? 'set_aside' : 'folded';
            return `${timestamp} ${id} ${state}`;
          });
        for (const state of ['all', 'pending', 'folded', 'set_aside']) {
          const seen: string[] = [];
          let after: string | undefined;
          do {
            const page = await retrieve({ account: 'alice', limit, state, ...(after && { after }) });
            expect(page.account).toBe('alice');
            expect(page.transactions.length).toBeLessThanOrEqual(limit);
            for (const one of page.transactions) seen.push(`${one.timestamp} ${one.id} ${one.state}`);
            after = page.next;
          } while (after !== undefined);
          expect(seen).toEqual(expected.filter((line) => state === 'all' || line.endsWith(` ${state}`)));
        }
      }),
      { numRuns: 25 },
    );
  });

  it('takes only what lies from one moment to before another', async () => {
    await harness.router({}, table.asDataTable());
    table.fold(
      1,
      LOG_IDS[0]!,
      10,
      [1, 2, 3, 4].map((i) => ({ account: 'alice', id: `f${i}`, amount: 1n, timestamp: T + i })),
    );
    for (const i of [1, 2, 3, 4]) pending(1, 11, 'alice', `p${i}`, 1n, T + i);
    const { transactions, next } = await retrieve({ account: 'alice', from: T + 2, to: T + 4 });
    expect(transactions.map((one: { id: string }) => one.id)).toEqual(['f2', 'p2', 'f3', 'p3']);
    expect(next).toBeUndefined();
    expect(await retrieve({ account: 'nobody' })).toEqual({ account: 'nobody', transactions: [] });
  });

  it('is unavailable where a shard or the database does not answer', async () => {
    await harness.router({}, table.asDataTable());
    shards[1]!.onAsk = () => ({ answer: 'moved', epoch: 5 });
    expect((await retrieve({ account: 'alice' })).error).toMatchObject({ code: 'unavailable', retryable: true });
    table.down = new Error('disk full');
    expect((await retrieve({ account: 'alice' })).error).toMatchObject({ message: expect.stringMatching(/disk full/) });
  });
});

describe('the direct path', () => {
  // What a shard would refuse for its timestamp is refused here as well.
  const T = Date.now() * 1_000;
  const one = { id: 'a', account: 'alice', amount: 5, timestamp: T };

  it('is taken once no process has listened for long enough, and answers applied', async () => {
    await harness.router({ directAfterMs: 300 }, table.asDataTable());
    await shards[0]!.die();
    const began = performance.now();
    const reply = (await harness.submit(one)).json();
    expect(performance.now() - began).toBeGreaterThan(300);
    expect(reply).toEqual({ id: 'a', status: 'applied', shard: null, sequence: null, timestamp: T });
    expect(table.directWrites).toMatchObject([{ account: 'alice', id: 'a', amount: 5n, timestamp: T }]);
  });

  it('writes nothing that a shard would refuse for its timestamp', async () => {
    await harness.router({ directAfterMs: 0 }, table.asDataTable());
    await shards[0]!.die();
    const ahead = (await harness.submit({ ...one, timestamp: T + 3_600_000_000 })).json();
    expect(ahead.error).toMatchObject({ code: 'unavailable', retryable: true });
    const old = (await harness.submit({ ...one, timestamp: T - 3_600_000_000 })).json();
    expect(old.error).toMatchObject({ code: 'unavailable', retryable: true });
    expect(table.directWrites).toEqual([]);
  });

  it.each(['silent', 'opening', 'overloaded'] as const)('is never taken where a shard is %s', async (how) => {
    await harness.router({ directAfterMs: 0 }, table.asDataTable());
    const shard = shards[0]!;
    shard.onSubmit = () => {
      if (how === 'silent') return null;
      return shard.reply({ code: how === 'opening' ? 1 : 2, retryAfterMs: 50, message: how });
    };
    const { error } = (await harness.submit(one, { deadlineMs: 500 })).json();
    expect(error.retryable).toBe(true);
    expect(table.directWrites).toEqual([]);
  });

  it('is never taken for a transaction that an earlier attempt may have stored', async () => {
    await harness.router({ directAfterMs: 100 }, table.asDataTable());
    const shard = shards[0]!;
    shard.onSubmit = () => shard.reply({ code: 1, message: 'draining' });
    const answer = harness.submit(one, { deadlineMs: 1_500 });
    while (shard.requests.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    await shard.die();
    expect((await answer).json().error).toMatchObject({ code: 'timeout', retryable: true });
    expect(table.directWrites).toEqual([]);
  });

  it('never rejects for the row, and is no way round a database that is down', async () => {
    await harness.router({ directAfterMs: 0 }, table.asDataTable());
    await shards[0]!.die();
    table.onDirect = async () => ({ outcome: 'unavailable', detail: 'the row is locked' });
    expect((await harness.submit(one)).json()).toMatchObject({
      status: 'rejected',
      error: { code: 'unavailable', retryable: true, message: expect.stringMatching(/locked/) },
    });
    table.down = new DataTableUnavailableError('gone');
    expect((await harness.submit(one)).json()).toMatchObject({ error: { code: 'unavailable', retryable: true } });
    table.down = null;
    const row = {
      ...one,
      amount: 9n,
      shard: 1,
      sequence: 7,
      state: 'applied',
      reason: null,
      appliedAccount: null,
    } as const;
    table.onDirect = async () => ({ outcome: 'id_conflict', row });
    expect((await harness.submit(one)).json()).toMatchObject({ error: { code: 'id_conflict', retryable: false } });
    table.onDirect = async () => ({ outcome: 'duplicate', row });
    expect((await harness.submit(one)).json()).toMatchObject({
      status: 'duplicate',
      shard: 1,
      sequence: 7,
      timestamp: T,
    });
  });

  it('lets at most four at once wait for the row of an account', async () => {
    await harness.router({ directAfterMs: 0 }, table.asDataTable());
    await shards[0]!.die();
    let atOnce = 0;
    let most = 0;
    table.onDirect = async () => {
      most = Math.max(most, ++atOnce);
      await new Promise((resolve) => setTimeout(resolve, 100));
      atOnce -= 1;
      return { outcome: 'applied' };
    };
    const batch = Array.from({ length: 20 }, (_, i) => ({ ...one, id: `t${i}` }));
    const { results } = (await harness.submit(batch)).json();
    expect(most).toBe(4);
    expect(results.filter((result: { status: string }) => result.status === 'applied')).toHaveLength(4);
    for (const result of results) if (result.status === 'rejected') expect(result.error.code).toBe('overloaded');
  });
});

describe('submits', () => {
  it('go on while the database is down', async () => {
    table.down = new DataTableUnavailableError('gone');
    await harness.router({}, table as unknown as DataTable);
    expect((await harness.submit({ id: 'a', account: 'alice', amount: 5 })).json()).toMatchObject({ status: 'stored' });
  });
});
