/**
 * Reads balances that contain every transaction acknowledged before the request was sent:
 *
 * ```
 *  request ──▶ topology, through its leader ──▶ one SQL statement: row, set aside, watermarks, direct marks
 *                   ▲                                          │
 *                   │                                          ▼
 *                   └── moved, again, no answer ◀── each shard that may hold the account: its sum beyond exactly
 *                        (at most five rounds)                 that watermark, without the marked ids
 * ```
 *
 * The watermark joins the two: what is at or below it is in the row or set aside, what is above it is the shard's to
 * tell. A sum that lacks a shard is never answered. A watermark below what a shard was drained to shows, in the very
 * statement that read the row, that the data table was set back: then that former holder is asked, too.
 */
import {
  type BalanceSnapshot,
  type Holder,
  holdersOf,
  isDrainedIn,
  type ShardAnswer,
  type ShardEntry,
  SpillError,
  showValue,
  type Topology,
} from '@spill/core';
import { inRounds, RoundFailed } from './read-rounds.js';
import { askHolder, freshTopology, fromDatabase, type ReadOptions } from './reads.js';

/** In minor units. `row` null: the data table has no such row. */
export interface AccountBalance {
  readonly account: string;
  readonly balance: bigint;
  readonly row: bigint | null;
  readonly set_aside: bigint;
  readonly pending: bigint;
}

/** One shard in one role, and the accounts (by their place in the request) that it may hold. */
interface HolderAccounts {
  readonly holder: Holder;
  readonly places: number[];
}

interface Pending {
  sum: bigint;
  known: boolean;
}

/**
 * The balances of accounts, in their order; an error in the place of one that nobody has seen.
 *
 * @throws SpillError `unavailable` or `timeout`
 */
export function readBalances(
  accounts: readonly string[],
  deadlineMs: number,
  options: ReadOptions,
): Promise<(AccountBalance | SpillError)[]> {
  return inRounds(deadlineMs, async (deadline) => {
    const topology = await freshTopology(options.topology, deadline);
    const holders = holdersOfAccounts(accounts, topology, options.slot);
    const drained = topology.shards.filter(({ drainedTo }) => drainedTo !== undefined);
    const shards = new Set([...holders.map(({ holder }) => holder.shard), ...drained].map(({ id }) => id));
    const snapshot = await fromDatabase(options.dataTable.readBalances(accounts, [...shards]), deadline);
    const setBack = drained.filter((shard) => !isDrainedIn(shard, snapshot.watermarks.get(shard.id)));
    const asked = [...holders, ...formerHolders(accounts, setBack, holders)];
    const pending = await readPending(accounts, topology, asked, snapshot, deadline, options);
    if (pending instanceof RoundFailed) return pending;
    return accounts.map((account, place) => balanceOf(account, place, snapshot, pending));
  });
}

function holdersOfAccounts(
  accounts: readonly string[],
  topology: Topology,
  slot: (account: string) => number,
): HolderAccounts[] {
  const byRole = new Map<string, HolderAccounts>();
  accounts.forEach((account, place) => {
    for (const holder of holdersOf(topology, slot(account))) {
      const key = `${holder.shard.id} ${holder.role}`;
      const entry = byRole.get(key);
      if (entry) entry.places.push(place);
      else byRole.set(key, { holder, places: [place] });
    }
  });
  return [...byRole.values()];
}

/**
 * Where the data table was set back to before these shards were drained, they hold unfolded transactions again, and of
 * which accounts the topology does not say any more: asked for all that they are not asked for anyway.
 */
function formerHolders(
  accounts: readonly string[],
  setBack: readonly ShardEntry[],
  holders: readonly HolderAccounts[],
): HolderAccounts[] {
  return setBack.flatMap((shard) => {
    const asked = new Set(holders.flatMap(({ holder, places }) => (holder.shard.id === shard.id ? places : [])));
    const places = accounts.flatMap((_, place) => (asked.has(place) ? [] : place));
    return places.length > 0 ? { holder: { shard, role: 'draining' as const }, places } : [];
  });
}

/** The pending sums by the accounts' places, or why the round has failed. */
async function readPending(
  accounts: readonly string[],
  topology: Topology,
  holders: readonly HolderAccounts[],
  snapshot: BalanceSnapshot,
  deadline: number,
  { requests }: ReadOptions,
): Promise<Pending[] | RoundFailed> {
  const pending = accounts.map((): Pending => ({ sum: 0n, known: false }));
  const answers = await Promise.all(
    holders.map(({ holder, places }) => {
      const watermark = snapshot.watermarks.get(holder.shard.id) ?? null;
      return askHolder(
        requests,
        topology,
        holder,
        {
          ask: 'pending',
          role: holder.role,
          epoch: topology.epoch,
          logId: watermark?.logId ?? holder.shard.logId,
          watermark: watermark?.sequence ?? 0,
          accounts: places.map((place) => accounts[place] as string),
          without: places.map((place) => snapshot.accounts[place]?.directIds ?? []),
        },
        deadline,
      );
    }),
  );
  for (const [i, answer] of answers.entries()) {
    if (answer instanceof RoundFailed) return answer;
    const { holder, places } = holders[i] as HolderAccounts;
    const { sums, known } = answer as Extract<ShardAnswer, { answer: 'pending' }>;
    if (sums.length !== places.length) return new RoundFailed(`shard ${holder.shard.id} left accounts out`, false);
    places.forEach((place, at) => {
      const entry = pending[place] as Pending;
      entry.sum += BigInt(sums[at] as string);
      entry.known ||= known[at] === true;
    });
  }
  return pending;
}

function balanceOf(
  account: string,
  place: number,
  snapshot: BalanceSnapshot,
  pendings: readonly Pending[],
): AccountBalance | SpillError {
  const sql = snapshot.accounts[place];
  const pending = pendings[place];
  if (!sql || !pending) return new SpillError('internal', `account ${showValue(account)} is missing in the answers`);
  const { row, rowProblem, setAside } = sql;
  if (rowProblem !== null) {
    return new SpillError('unavailable', `the row of account ${showValue(account)} can't be read: ${rowProblem}`);
  }
  if (row === null && setAside === 0n && !sql.known && !pending.known) {
    return new SpillError('not_found', `account is ${showValue(account)}: nobody has seen it`);
  }
  const balance = (row ?? 0n) + setAside + pending.sum;
  return { account, balance, row, set_aside: setAside, pending: pending.sum };
}
