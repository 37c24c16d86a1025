/**
 * `get` and `retrieve`: the ledger first, then every shard that may hold the account, merged by (account, id). Where
 * both know a transaction, the ledger wins: it is there for good, and only there its state is told.
 */
import {
  encodeCursor,
  type Holder,
  holdersOf,
  isDrainedIn,
  type LedgerRow,
  type LedgerState,
  type PageCursor,
  type RetrieveRequest,
  type ShardAnswer,
  type ShardTransaction,
  SpillError,
  showValue,
  type Topology,
  type TransactionKey,
  type Watermark,
} from '@spill/core';
import { inRounds, RoundFailed } from './read-rounds.js';
import { askHolder, freshTopology, fromDatabase, type ReadOptions } from './reads.js';

export type TransactionState = 'pending' | 'folded' | 'set_aside' | 'written_off';

/** A stored transaction as replies show it. `shard` and `sequence` are null for the direct path. */
export interface StoredTransaction {
  readonly id: string;
  readonly amount: bigint;
  /** Microseconds. */
  readonly timestamp: number;
  readonly shard: number | null;
  readonly sequence: number | null;
  readonly state: TransactionState;
}

export interface TransactionPage {
  readonly account: string;
  readonly transactions: readonly StoredTransaction[];
  /** The cursor for `after`; missing on the last page. */
  readonly next?: string;
}

const STATE_OF: Readonly<Record<LedgerState, TransactionState>> = {
  applied: 'folded',
  set_aside: 'set_aside',
  written_off: 'written_off',
};

/**
 * One transaction. @throws SpillError `not_found` only where the ledger and every shard that may hold it have answered,
 * else `unavailable` or `timeout`.
 */
export function getTransaction(
  key: TransactionKey,
  deadlineMs: number,
  options: ReadOptions,
): Promise<StoredTransaction & { readonly account: string }> {
  const { dataTable, requests } = options;
  const { account, id } = key;
  return inRounds(deadlineMs, async (deadline) => {
    const topology = await freshTopology(options.topology, deadline);
    const [row] = await fromDatabase(dataTable.ledger([key]), deadline);
    if (row) return { account, ...fromLedger(row) };
    const holders = holdersOf(topology, options.slot(account));
    const answers = await Promise.all(
      holders.map((holder) =>
        askHolder(
          requests,
          topology,
          holder,
          { ask: 'get', role: holder.role, epoch: topology.epoch, account, id },
          deadline,
        ),
      ),
    );
    let failed: RoundFailed | null = null;
    for (const [i, answer] of answers.entries()) {
      if (answer instanceof RoundFailed) failed = answer;
      else {
        const { transaction } = answer as Extract<ShardAnswer, { answer: 'get' }>;
        if (transaction) return { account, ...fromShard(transaction, (holders[i] as Holder).shard.id) };
      }
    }
    if (failed) return failed;
    const watermarks = await fromDatabase(dataTable.watermarks(), deadline);
    const behind =
      watermarkBehind(holders, answers as Extract<ShardAnswer, { answer: 'get' }>[], watermarks) ??
      drainedBehind(topology, holders, watermarks);
    if (behind) return behind;
    // Folded and forgotten between the two looks: then it is in the ledger now.
    const [late] = await fromDatabase(dataTable.ledger([key]), deadline);
    if (late) return { account, ...fromLedger(late) };
    throw new SpillError('not_found', `no transaction of account ${showValue(account)} has the id ${showValue(id)}`);
  });
}

/**
 * A shard may have forgotten what it had seen folded. Where the data table was set back since, that is nowhere to be
 * found until it is folded again.
 */
function watermarkBehind(
  holders: readonly Holder[],
  answers: readonly Extract<ShardAnswer, { answer: 'get' }>[],
  watermarks: readonly Watermark[],
): RoundFailed | null {
  for (const [i, { completeAbove }] of answers.entries()) {
    const { id } = (holders[i] as Holder).shard;
    const folded = watermarks.find(({ shard }) => shard === id)?.sequence ?? 0;
    if (folded < completeAbove) return foldsAgain(id);
  }
  return null;
}

/** Nor is what a former holder gave away, which is not asked any more. */
function drainedBehind(
  topology: Topology,
  holders: readonly Holder[],
  watermarks: readonly Watermark[],
): RoundFailed | null {
  const asked = new Set(holders.map(({ shard }) => shard.id));
  for (const shard of topology.shards) {
    const watermark = watermarks.find((one) => one.shard === shard.id);
    if (!asked.has(shard.id) && !isDrainedIn(shard, watermark)) return foldsAgain(shard.id);
  }
  return null;
}

function foldsAgain(shard: number): RoundFailed {
  return new RoundFailed(`shard ${shard} folds again what the data table has lost`, false);
}

/** A page of an account's transactions by (timestamp, bytes of id). @throws SpillError `unavailable` or `timeout` */
export function retrieveTransactions(
  request: RetrieveRequest,
  deadlineMs: number,
  options: ReadOptions,
): Promise<TransactionPage> {
  return inRounds(deadlineMs, async (deadline) => {
    const topology = await freshTopology(options.topology, deadline);
    const ledger = await readLedgerPage(request, options, deadline);
    const sources: Source[] = [{ rows: ledger.rows, truncated: ledger.rows.length >= request.limit }];
    if (request.state === 'all' || request.state === 'pending') {
      const holders = holdersOf(topology, options.slot(request.account));
      const behind = drainedBehind(
        topology,
        holders,
        [...ledger.watermarks.values()].flatMap((one) => one ?? []),
      );
      if (behind) return behind;
      const answers = await Promise.all(
        holders.map((holder) =>
          askHolder(
            options.requests,
            topology,
            holder,
            {
              ask: 'retrieve',
              role: holder.role,
              epoch: topology.epoch,
              account: request.account,
              watermark: ledger.watermarks.get(holder.shard.id)?.sequence ?? 0,
              after: request.after,
              from: request.from,
              to: request.to,
              limit: request.limit,
            },
            deadline,
          ),
        ),
      );
      for (const [i, answer] of answers.entries()) {
        if (answer instanceof RoundFailed) return answer;
        const { transactions } = answer as Extract<ShardAnswer, { answer: 'retrieve' }>;
        const { id: shard } = (holders[i] as Holder).shard;
        const rows = await preferLedger(transactions, shard, request, options, deadline);
        // Where the page of a shard ends is told by what it sent, whatever the ledger says of it.
        const end = transactions.at(-1);
        sources.push({ rows, truncated: transactions.length >= request.limit, ...(end && { end }) });
      }
    }
    return mergePages(request, sources);
  });
}

async function readLedgerPage(
  { account, after, from, to, state, limit }: RetrieveRequest,
  { dataTable }: ReadOptions,
  deadline: number,
): Promise<{ rows: StoredTransaction[]; watermarks: ReadonlyMap<number, Watermark | null> }> {
  if (state === 'pending') {
    const watermarks = await fromDatabase(dataTable.watermarks(), deadline);
    return { rows: [], watermarks: new Map(watermarks.map((watermark) => [watermark.shard, watermark])) };
  }
  const page = await fromDatabase(
    dataTable.retrieve({
      account,
      limit,
      ...(after && { after }),
      ...(from !== null && { from }),
      ...(to !== null && { to }),
      ...(state === 'folded' && { state: 'applied' as const }),
      ...(state === 'set_aside' && { state }),
    }),
    deadline,
  );
  return { rows: page.rows.map(fromLedger), watermarks: page.watermarks };
}

/**
 * A shard's transactions, each as the ledger has it where it does: written by the direct path, folded meanwhile, or
 * stored a second time and not dropped yet.
 */
async function preferLedger(
  transactions: readonly ShardTransaction[],
  shard: number,
  request: RetrieveRequest,
  { dataTable }: ReadOptions,
  deadline: number,
): Promise<StoredTransaction[]> {
  if (transactions.length === 0) return [];
  const keys = transactions.map(({ id }) => ({ account: request.account, id }));
  const known = await fromDatabase(dataTable.ledger(keys), deadline);
  return transactions.flatMap((transaction, i) => {
    const row = known[i];
    if (!row) return [fromShard(transaction, shard)];
    return request.state === 'all' && isWithin(row, request) ? [fromLedger(row)] : [];
  });
}

function isWithin(row: LedgerRow, { after, from, to }: RetrieveRequest): boolean {
  if (after && compareKeys(row, after) <= 0) return false;
  return (from === null || row.timestamp >= from) && (to === null || row.timestamp < to);
}

interface Source {
  readonly rows: readonly StoredTransaction[];
  /** It may hold more after its last row. */
  readonly truncated: boolean;
  /** Its last row, where `rows` does not tell. */
  readonly end?: PageCursor;
}

/** Merges pages that each begin after the same cursor. What lies beyond the end of a truncated one waits. */
function mergePages({ account, limit }: RetrieveRequest, sources: readonly Source[]): TransactionPage {
  let bound: PageCursor | null = null;
  for (const { rows, truncated, end } of sources) {
    const last = end ?? rows.at(-1);
    if (truncated && last && (bound === null || compareKeys(last, bound) < 0)) bound = last;
  }
  const byId = new Map<string, StoredTransaction>();
  for (const { rows } of sources) {
    for (const row of rows) if (!byId.has(row.id)) byId.set(row.id, row);
  }
  const complete = [...byId.values()].filter((row) => bound === null || compareKeys(row, bound) <= 0).sort(compareKeys);
  const transactions = complete.slice(0, limit);
  if (complete.length > limit) return { account, transactions, next: encodeCursor(transactions.at(-1) as PageCursor) };
  return bound === null ? { account, transactions } : { account, transactions, next: encodeCursor(bound) };
}

function compareKeys(a: PageCursor, b: PageCursor): number {
  return a.timestamp - b.timestamp || Buffer.compare(Buffer.from(a.id), Buffer.from(b.id));
}

function fromLedger({ id, amount, timestamp, shard, sequence, state }: LedgerRow): StoredTransaction {
  return { id, amount, timestamp, shard, sequence, state: STATE_OF[state] };
}

function fromShard({ id, amount, timestamp, sequence }: ShardTransaction, shard: number): StoredTransaction {
  return { id, amount: BigInt(amount), timestamp, shard, sequence, state: 'pending' };
}
