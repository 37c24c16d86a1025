import { setTimeout as delay } from 'node:timers/promises';
import {
  abortMigration,
  commitMigration,
  type Migration,
  type MigrationAsk,
  type MigrationLimits,
  type MigrationStep,
  nextMigrationStep,
  removeMigration,
  type SourceReport,
  type TargetReport,
  type Topology,
  TopologyConflictError,
} from '@spill/core';
import type { StoredTopology, TopologyStore } from '../nats/topology-store.js';
import type { ShardAsker } from './shard-asker.js';

export interface MigrationRunnerOptions {
  readonly topology: TopologyStore;
  readonly ask: ShardAsker;
  readonly limits: MigrationLimits;
  readonly signal: AbortSignal;
  /** Every step taken, for the log and for `spill migrations`. */
  readonly onStep: (migration: Migration, step: string) => void;
}

/** A copying step answers after about half a second. */
const COPY_ANSWER_MS = 5_000;
const ANSWER_MS = 1_000;
/** Between two tries where a shard is silent or not ready for a step. */
const AGAIN_MS = 20;
const SETTLE_AGAIN_MS = 200;

/**
 * Carries one migration to its end, from wherever it stands: `nextMigrationStep` names the step, this takes it, and looks
 * again. Safe to be run by two supervisors at once; the topology's compare-and-set decides.
 */
export async function runMigration(id: number, options: MigrationRunnerOptions): Promise<void> {
  const started = performance.now();
  let sealedAt = 0;
  let source: SourceReport | null = null;
  let target: TargetReport | null = null;
  let first = true;
  let lastStep = '';
  let stored: StoredTopology | null = null;
  while (!options.signal.aborted) {
    stored ??= await options.topology.require();
    const { topology } = stored;
    const migration = topology.migrations.find((entry) => entry.id === id);
    if (!migration) return;
    if (first) {
      [source, target] = await both(topology, migration, { step: 'report' });
      first = false;
    }
    if (source?.sealed && sealedAt === 0) sealedAt = performance.now();
    const now = performance.now();
    const look = {
      topology,
      migration,
      source,
      target,
      copyingMs: now - started,
      sealedMs: sealedAt && now - sealedAt,
    };
    const step = nextMigrationStep(look, options.limits);
    if (step.step !== lastStep) options.onStep(migration, describeStep(step, sealedAt));
    lastStep = step.step;
    // From the seal on clients wait, so nothing is read again: whether it has changed, the commit's own write tells.
    const read: StoredTopology = stored;
    stored = null;
    switch (step.step) {
      case 'copy': {
        target = (await ask(topology, migration, 'target', { step: 'copy' }, COPY_ANSWER_MS)).target;
        source ??= (await ask(topology, migration, 'source', { step: 'report' }, ANSWER_MS)).source;
        if (!target || target.copiedTo === 0) await rest(AGAIN_MS);
        break;
      }
      case 'seal':
        sealedAt = performance.now();
        source = (await ask(topology, migration, 'source', { step: 'seal' }, ANSWER_MS)).source;
        if (!source?.sealed) {
          // It may have been sealed though no answer came: only a report tells.
          source = (await ask(topology, migration, 'source', { step: 'report' }, ANSWER_MS)).source;
          if (source && !source.sealed) sealedAt = 0;
          target = (await ask(topology, migration, 'target', { step: 'copy' }, COPY_ANSWER_MS)).target;
        }
        if (source?.sealed) stored = read;
        break;
      case 'finish': {
        const { sealedSequence, horizon } = step;
        target = (await ask(topology, migration, 'target', { step: 'finish', sealedSequence, horizon }, ANSWER_MS))
          .target;
        stored = read;
        break;
      }
      case 'commit':
        await change((newest) => commitMigration(newest, id, step.sealedSequence), read);
        break;
      case 'abort':
        await change((newest) => abortMigration(newest, id));
        break;
      case 'settle': {
        [source, target] = await both(topology, migration, { step: 'settle' });
        if (!source?.settled || !target?.settled) await rest(SETTLE_AGAIN_MS);
        break;
      }
      case 'remove':
        await change((newest) => removeMigration(newest, id));
        return;
    }
  }

  async function both(
    topology: Topology,
    migration: Migration,
    step: MigrationAsk,
  ): Promise<[SourceReport | null, TargetReport | null]> {
    const [giving, taking] = await Promise.all([
      ask(topology, migration, 'source', step, ANSWER_MS),
      ask(topology, migration, 'target', step, ANSWER_MS),
    ]);
    return [giving.source, taking.target];
  }

  async function ask(
    topology: Topology,
    migration: Migration,
    side: 'source' | 'target',
    step: MigrationAsk,
    timeoutMs: number,
  ): Promise<{ source: SourceReport | null; target: TargetReport | null }> {
    const question = { ask: 'migration', migration: migration.id, epoch: topology.epoch, step } as const;
    const answer = await options.ask(topology, migration[side], question, timeoutMs);
    return answer?.answer === 'migration' ? answer : { source: null, target: null };
  }

  /** Another supervisor may have been quicker: then the next look shows what it did. */
  async function change(next: (topology: Topology) => Topology | null, read?: StoredTopology): Promise<void> {
    try {
      await options.topology.change(next, read);
    } catch (error) {
      if (!(error instanceof TopologyConflictError)) throw error;
    }
  }

  async function rest(ms: number): Promise<void> {
    await delay(ms, undefined, { signal: options.signal }).catch(() => {});
  }
}

function describeStep(step: MigrationStep, sealedAt: number): string {
  switch (step.step) {
    case 'commit':
      return `commit, ${Math.round(performance.now() - sealedAt)} ms after the seal was asked for`;
    case 'abort':
      return `abort: ${step.reason}`;
    default:
      return step.step;
  }
}
