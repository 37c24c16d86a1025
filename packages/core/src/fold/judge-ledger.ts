import { shardOf } from '../topology/owners.js';
import type { Topology } from '../topology/topology.js';

/** A ledger that may not be the one that the shard has folded into. */
export interface LedgerView {
  readonly shard: number;
  /** The id of the ledger that the database has now. */
  readonly ledgerId: string;
  /** Whether it has a watermark of this shard's log: then it is the log's ledger, whatever its id. */
  readonly hasWatermark: boolean;
  /** As far as the log itself says that it was folded; 0: it does not say. */
  readonly foldedUpTo: number;
}

/**
 * Whether a ledger is the one that a shard folds into, as far as the topology remembers. All shards of a cluster fold into
 * one: a shard that has not looked yet takes none that no other has.
 */
export function isLedgerOf(topology: Topology, shard: number, ledgerId: string): boolean {
  const own = shardOf(topology, shard)?.ledgerId;
  if (own !== undefined) return own === ledgerId;
  const others = topology.shards.flatMap((entry) => entry.ledgerId ?? []);
  return others.length === 0 || others.includes(ledgerId);
}

/**
 * Why the shard must not fold into this ledger; null: it may.
 *
 * A shard without a watermark has either never folded here (a first start, a dump from before its first fold: ledger and
 * rows are of one moment, and all of it is folded), or the ledger is not the one that was: its rows would take everything
 * a second time, since nothing would be dropped. A dump carries the ledger's id, one that was made anew has another. The
 * topology remembers the id of each shard from before its first fold on.
 */
export function judgeLedger(topology: Topology, view: LedgerView): string | null {
  if (view.hasWatermark) return null;
  const isOwn = shardOf(topology, view.shard)?.ledgerId === view.ledgerId;
  if (isOwn || (view.foldedUpTo === 0 && isLedgerOf(topology, view.shard, view.ledgerId))) return null;
  return (
    "spill's schema in the database (its ledger) is another than the one that was folded into before, and would drop " +
    'nothing of what was. Does the table hold what was folded? Then every transaction kept in the log would count twice: ' +
    "restore the table and spill's schema together, from one dump, before `spill repair`. Only where the table's balances " +
    'do not hold it may all that is kept be folded again: `spill repair --accept-loss --accept-new-ledger`'
  );
}
