/**
 * What the supervisor does next for one migration. Pure: it looks at the topology's word and at what source and target
 * say of themselves, just asked, and names one step; the actor carries it out and looks again. Any supervisor can take
 * over at any moment, since nothing is remembered between two looks but when the present one began.
 *
 * ```
 *  copying ──▶ copy ──tail small──▶ seal ──▶ finish ──certificates equal──▶ commit ──▶ committed ──both logs──▶ remove
 *     │          ▲  │                 │         │
 *     │          └──┘                 └─────────┴── too slow, unequal, closing, silent ──▶ abort ──▶ aborted ─▶ remove
 *     └── copies for too long ──▶ abort
 * ```
 */

import type { Certificate } from '../shard/events.js';
import { shardOf } from '../topology/owners.js';
import type { Migration, Topology } from '../topology/topology.js';

export interface SourceReport {
  /** null: not sealed. */
  readonly sealed: (Certificate & { readonly sequence: number }) | null;
  /** Whether its log holds the outcome. */
  readonly settled: boolean;
  /** Its last acknowledged record. */
  readonly sequence: number;
}

export interface TargetReport {
  /** The source's records up to here are copied; 0: none yet. */
  readonly copiedTo: number;
  /** Rows of the last chunk and entries left behind it: about what is still to come. */
  readonly tailRows: number;
  /** null: not ready. */
  readonly ready: Certificate | null;
  readonly settled: boolean;
}

export interface MigrationLook {
  readonly topology: Topology;
  readonly migration: Migration;
  /** null: silent. */
  readonly source: SourceReport | null;
  readonly target: TargetReport | null;
  /** Milliseconds since this supervisor first saw the migration, and since it first saw the source sealed (0: not). */
  readonly copyingMs: number;
  readonly sealedMs: number;
}

export interface MigrationLimits {
  readonly pauseMsMax: number;
  readonly copyMsMax: number;
  /** A tail of so many rows or fewer is small enough to seal. */
  readonly tailRowsMax: number;
}

export type MigrationStep =
  | { readonly step: 'copy' }
  | { readonly step: 'seal' }
  | { readonly step: 'finish'; readonly sealedSequence: number; readonly horizon: number }
  | { readonly step: 'commit'; readonly sealedSequence: number }
  | { readonly step: 'abort'; readonly reason: string }
  /** The outcome is to be logged by these; asking again is safe. */
  | { readonly step: 'settle'; readonly source: boolean; readonly target: boolean }
  | { readonly step: 'remove' };

export function nextMigrationStep(look: MigrationLook, limits: MigrationLimits): MigrationStep {
  return look.migration.state === 'copying' ? whileCopying(look, limits) : afterOutcome(look);
}

function whileCopying(look: MigrationLook, limits: MigrationLimits): MigrationStep {
  const { topology, migration, source, target } = look;
  const to = shardOf(topology, migration.target);
  if (to?.state !== 'open') return abort(`shard ${migration.target} is ${to?.state ?? 'not there'}`);
  const from = shardOf(topology, migration.source);
  if (from?.state !== 'open' && from?.state !== 'closing') {
    return abort(`shard ${migration.source} is ${from?.state ?? 'not there'}`);
  }
  if (source?.sealed) {
    const { sealed } = source;
    if (target?.ready) {
      return sameCertificate(sealed, target.ready)
        ? { step: 'commit', sealedSequence: sealed.sequence }
        : abort(`the certificates differ: ${show(sealed)} sealed, ${show(target.ready)} taken over`);
    }
    // Nobody accepts for the slots now: the pause has its budget.
    if (look.sealedMs > limits.pauseMsMax) return abort(`the cut-over took longer than ${limits.pauseMsMax} ms`);
    if (!target) return abort(`shard ${migration.target} fell silent during the cut-over`);
    return { step: 'finish', sealedSequence: sealed.sequence, horizon: sealed.horizon };
  }
  if (look.copyingMs > limits.copyMsMax) return abort(`copying took longer than ${limits.copyMsMax} ms`);
  if (!source || !target) return { step: 'copy' };
  const small = target.copiedTo > 0 && target.tailRows <= limits.tailRowsMax;
  return small ? { step: 'seal' } : { step: 'copy' };
}

function afterOutcome({ source, target, migration, topology }: MigrationLook): MigrationStep {
  // A retired shard's log has ended; what it never logged can't matter any more.
  const gone = (shard: number): boolean => shardOf(topology, shard)?.state === 'retired';
  const sourceSettled = source?.settled === true || gone(migration.source);
  const targetSettled = target?.settled === true || gone(migration.target);
  if (sourceSettled && targetSettled) return { step: 'remove' };
  return { step: 'settle', source: !sourceSettled, target: !targetSettled };
}

function sameCertificate(a: Certificate, b: Certificate): boolean {
  return a.count === b.count && a.digest === b.digest && a.horizon === b.horizon;
}

function show(certificate: Certificate): string {
  return `${certificate.count} transactions (${certificate.digest.slice(0, 8)})`;
}

function abort(reason: string): MigrationStep {
  return { step: 'abort', reason };
}
