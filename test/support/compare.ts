import { setTimeout as delay } from 'node:timers/promises';
import { connect } from 'nats';
import pg from 'pg';
import { askOperator } from './load-client.js';
import type { LoadModel, Variant } from './load-model.js';

export interface CompareOptions {
  readonly natsUrl: string;
  readonly connection: pg.PoolConfig;
  readonly model: LoadModel;
  /** The user's table; `accounts(id, balance)` where absent. `balance`: an expression in minor units. */
  readonly table?: { readonly name: string; readonly id: string; readonly balance: string };
  /** What rows held before, by account; 0 where absent. */
  readonly opening?: (account: string) => bigint;
  /** Some may stay set aside: their rows refuse them. */
  readonly mayStaySetAside?: boolean;
  /** The table was restored to before spill had folded: what was written directly since then is gone with it. */
  readonly restored?: boolean;
  readonly foldMs?: number;
}

export interface Compared {
  readonly acknowledged: number;
  readonly ledger: number;
  readonly setAside: number;
  readonly conflicts: number;
  readonly direct: number;
}

interface LedgerRow {
  readonly account: string;
  readonly id: string;
  readonly amount: number;
  readonly state: 'applied' | 'set_aside' | 'written_off';
  readonly direct: boolean;
}

interface ConflictRow {
  readonly account: string;
  readonly id: string;
  readonly amount: number;
}

interface Snapshot {
  readonly ledger: readonly LedgerRow[];
  readonly conflicts: readonly ConflictRow[];
  readonly balances: ReadonlyMap<string, bigint>;
  readonly openings: ReadonlyMap<string, bigint>;
  readonly folded: { readonly folded: number; readonly dropped: number; readonly conflicts: number };
}

const SETTLED_MS = 60_000;
const BALANCES_ASKED_MAX = 1_000;
const WRONG_SHOWN_MAX = 20;

/**
 * Folds everything, reads the database by SQL of its own, and compares with what the clients were told: nothing
 * acknowledged is lost, nothing counts twice, what was not acknowledged counts at most once, every balance is exact.
 *
 * @throws Error that lists what is wrong.
 */
export async function compareWithModel(options: CompareOptions): Promise<Compared> {
  const { natsUrl, model } = options;
  const nc = await connect({ servers: natsUrl.split(',') });
  try {
    await askOperator(nc, 'spill.supervisor.fold', {}, options.foldMs);
    const snapshot = await settledSnapshot(options);
    const wrong = [...model.violations, ...compareLedger(model, snapshot, options), ...compareRows(snapshot, options)];
    wrong.push(...(await compareAnswers(nc, snapshot)));
    const compared = {
      acknowledged: model.acknowledged,
      ledger: snapshot.ledger.length,
      setAside: snapshot.ledger.filter(({ state }) => state === 'set_aside').length,
      conflicts: snapshot.conflicts.length,
      direct: snapshot.ledger.filter(({ direct }) => direct).length,
    };
    if (wrong.length > 0) {
      const shown = wrong.slice(0, WRONG_SHOWN_MAX).join('\n  ');
      throw new Error(`${wrong.length} things are wrong (${JSON.stringify(compared)}):\n  ${shown}`);
    }
    return compared;
  } finally {
    await nc.close();
  }
}

/** What was set aside because its row was locked is applied within seconds; only then everything is at rest. */
async function settledSnapshot(options: CompareOptions): Promise<Snapshot> {
  const client = new pg.Client(options.connection);
  await client.connect();
  try {
    const end = performance.now() + SETTLED_MS;
    for (;;) {
      const { rows } = await client.query(`SELECT count(*)::int AS count FROM spill.ledger WHERE state = 'set_aside'`);
      if (options.mayStaySetAside || rows[0].count === 0) return await readSnapshot(client, options);
      if (performance.now() > end) {
        const { rows: examples } = await client.query(
          `SELECT account, id, reason, detail, attempts FROM spill.ledger WHERE state = 'set_aside' LIMIT 3`,
        );
        throw new Error(`${rows[0].count} transactions stay set aside, such as ${JSON.stringify(examples)}`);
      }
      await delay(250);
    }
  } finally {
    await client.end();
  }
}

async function readSnapshot(client: pg.Client, { table }: CompareOptions): Promise<Snapshot> {
  const { name, id, balance } = table ?? { name: 'accounts', id: 'id', balance: 'balance' };
  await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
  const ledger = await client.query(
    `SELECT account, id, amount::float8 AS amount, state::text, shard IS NULL AS direct FROM spill.ledger`,
  );
  const conflicts = await client.query('SELECT account, id, amount::float8 AS amount FROM spill.conflict');
  const balances = await client.query(`SELECT ${id}::text AS account, (${balance})::text AS balance FROM ${name}`);
  const openings = await client.query('SELECT account, trunc(balance)::text AS balance FROM spill.opening');
  const folded = await client.query(
    `SELECT sum(folded_count)::int AS folded, sum(dropped_count)::int AS dropped, sum(conflict_count)::int AS conflicts
     FROM spill.watermark`,
  );
  await client.query('COMMIT');
  const byAccount = (rows: { account: string; balance: string }[]): Map<string, bigint> =>
    new Map(rows.map((row) => [row.account, BigInt(row.balance)]));
  return {
    ledger: ledger.rows,
    conflicts: conflicts.rows,
    balances: byAccount(balances.rows),
    openings: byAccount(openings.rows),
    folded: folded.rows[0],
  };
}

/** The ledger and the conflicts against what was sent and what was acknowledged. */
function compareLedger(model: LoadModel, snapshot: Snapshot, options: CompareOptions): string[] {
  const wrong: string[] = [];
  const inLedger = new Map(snapshot.ledger.map((row) => [`${row.account} ${row.id}`, row]));
  const kept = new Map<string, number>();
  for (const { account, id, amount } of snapshot.conflicts) {
    const name = `${account} ${id} ${amount}`;
    kept.set(name, (kept.get(name) ?? 0) + 1);
  }
  for (const [name, { variants }] of model.keys) {
    const row = inLedger.get(name);
    if (row && !variants.some(({ amount }) => amount === row.amount)) {
      wrong.push(`${name}: the ledger has ${row.amount}, which nobody sent: ${JSON.stringify(variants)}`);
    }
    for (const variant of variants) {
      const times = (row?.amount === variant.amount ? 1 : 0) + (kept.get(`${name} ${variant.amount}`) ?? 0);
      if (times > 1) wrong.push(`${name} ${variant.amount} is in the database ${times} times`);
      if (times === 0 && variant.acknowledged > 0 && !isGoneWithTheRestore(variant, options)) {
        wrong.push(`${name} was acknowledged and is lost: ${JSON.stringify(variant)}`);
      }
    }
  }
  for (const name of inLedger.keys())
    if (!model.keys.has(name)) wrong.push(`${name} is in the ledger, and was not sent`);
  for (const { account, id } of snapshot.conflicts) {
    if (!model.keys.has(`${account} ${id}`)) wrong.push(`${account} ${id} is a conflict, and was not sent`);
  }
  const direct = snapshot.ledger.filter((row) => row.direct).length;
  const { folded, dropped, conflicts } = snapshot.folded;
  if (folded + direct !== snapshot.ledger.length) {
    wrong.push(`${folded} were folded and ${direct} written directly, the ledger has ${snapshot.ledger.length}`);
  }
  if (conflicts !== snapshot.conflicts.length) {
    wrong.push(`${conflicts} conflicts were counted, ${snapshot.conflicts.length} are kept`);
  }
  // A log holds a transaction twice only where its first way was the direct one.
  if (dropped > direct) wrong.push(`${dropped} were dropped as known, with ${direct} written directly`);
  return wrong;
}

function isGoneWithTheRestore({ stored, acknowledged, applied }: Variant, { restored }: CompareOptions): boolean {
  return restored === true && applied > 0 && stored === 0 && acknowledged > 0;
}

/** The rows against the ledger. */
function compareRows(snapshot: Snapshot, options: CompareOptions): string[] {
  const wrong: string[] = [];
  const applied = new Map<string, bigint>();
  for (const { account, amount, state } of snapshot.ledger) {
    if (state === 'applied') applied.set(account, (applied.get(account) ?? 0n) + BigInt(amount));
  }
  const opening = options.opening ?? (() => 0n);
  for (const [account, balance] of snapshot.balances) {
    const expected = opening(account) + (applied.get(account) ?? 0n);
    if (balance !== expected) wrong.push(`the row of ${account} is ${balance}, and should be ${expected}`);
  }
  for (const [account, balance] of snapshot.openings) {
    if (balance !== opening(account)) wrong.push(`${account} opened with ${balance}, not ${opening(account)}`);
  }
  for (const account of applied.keys()) if (!snapshot.balances.has(account)) wrong.push(`${account} has no row`);
  return wrong;
}

/** What spill itself answers for the busiest accounts: row, set aside, and nothing pending. */
async function compareAnswers(nc: Awaited<ReturnType<typeof connect>>, snapshot: Snapshot): Promise<string[]> {
  const sums = new Map<string, { setAside: bigint; count: number }>();
  for (const { account, amount, state } of snapshot.ledger) {
    const sum = sums.get(account) ?? { setAside: 0n, count: 0 };
    if (state === 'set_aside') sum.setAside += BigInt(amount);
    sum.count += 1;
    sums.set(account, sum);
  }
  const busiest = [...sums].sort((a, b) => b[1].count - a[1].count).slice(0, BALANCES_ASKED_MAX);
  if (busiest.length === 0) return [];
  const { balances } = await askOperator<{
    balances: { account: string; balance: string; row: string | null; set_aside: string; pending: string }[];
  }>(nc, 'spill.balance.get', { accounts: busiest.map(([account]) => account) });
  return busiest.flatMap(([account, { setAside }], i) => {
    const row = snapshot.balances.get(account) ?? null;
    const expected = { account, balance: `${(row ?? 0n) + setAside}`, row: row === null ? null : `${row}` };
    const right = JSON.stringify({ ...expected, set_aside: `${setAside}`, pending: '0' });
    const { balance, row: answeredRow, set_aside, pending } = balances[i] as (typeof balances)[number];
    const answered = JSON.stringify({ account, balance, row: answeredRow, set_aside, pending });
    return answered === right ? [] : [`spill answers ${answered}, and it should be ${right}`];
  });
}
