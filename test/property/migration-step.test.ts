/**
 * Every cell of `nextMigrationStep`: the topology's word on the migration × what the source says × what the target says ×
 * how both shards stand × how long it has taken. The tables below are written out; a cell that is missing does not
 * compile, and one that differs fails by its name.
 */
import {
  type Certificate,
  type Migration,
  type MigrationLook,
  type MigrationState,
  nextMigrationStep,
  type ShardLifecycle,
  type SourceReport,
  type TargetReport,
  type Topology,
} from '@spill/core';
import { describe, expect, it } from 'vitest';
import { topologyOf } from '../support/random-topology.js';

const SOURCE = 1;
const TARGET = 4;
const CERTIFICATE: Certificate = { horizon: 7, count: 3, digest: 'a'.repeat(32) };
const LIMITS = { pauseMsMax: 100, copyMsMax: 60_000, tailRowsMax: 500 };

type Standing = ShardLifecycle | 'missing';
const STANDINGS: readonly Standing[] = ['open', 'closing', 'closed', 'retired', 'damaged', 'failed', 'missing'];

type SourceSays = 'nothing' | 'accepting' | 'sealed';
/** `far`: much is left to copy. `other`: it took over another set than the one that was sealed. */
type TargetSays = 'nothing' | 'not begun' | 'far' | 'near' | 'ready' | 'other set' | 'other count' | 'other horizon';
type Time = 'in time' | 'copied too long' | 'paused too long' | 'both too long';

const SOURCES: Readonly<Record<SourceSays, SourceReport | null>> = {
  nothing: null,
  accepting: { sealed: null, settled: false, sequence: 20 },
  sealed: { sealed: { ...CERTIFICATE, sequence: 21 }, settled: false, sequence: 22 },
};

const TARGETS: Readonly<Record<TargetSays, TargetReport | null>> = {
  nothing: null,
  'not begun': { copiedTo: 0, tailRows: 0, ready: null, settled: false },
  far: { copiedTo: 9, tailRows: 501, ready: null, settled: false },
  near: { copiedTo: 9, tailRows: 500, ready: null, settled: false },
  ready: { copiedTo: 21, tailRows: 0, ready: CERTIFICATE, settled: false },
  'other set': { copiedTo: 21, tailRows: 0, ready: { ...CERTIFICATE, digest: 'b'.repeat(32) }, settled: false },
  'other count': { copiedTo: 21, tailRows: 0, ready: { ...CERTIFICATE, count: 4 }, settled: false },
  'other horizon': { copiedTo: 21, tailRows: 0, ready: { ...CERTIFICATE, horizon: 8 }, settled: false },
};

const TIMES: Readonly<Record<Time, Pick<MigrationLook, 'copyingMs' | 'sealedMs'>>> = {
  'in time': { copyingMs: 60_000, sealedMs: 100 },
  'copied too long': { copyingMs: 60_001, sealedMs: 100 },
  'paused too long': { copyingMs: 60_000, sealedMs: 101 },
  'both too long': { copyingMs: 60_001, sealedMs: 101 },
};

type Step = 'copy' | 'seal' | 'finish' | 'commit' | 'abort';

/** While the topology says `copying` and both shards stand well: by what they say, in the order of `Time`. */
const COPYING: Readonly<Record<SourceSays, Readonly<Record<TargetSays, readonly [Step, Step, Step, Step]>>>> = {
  nothing: {
    nothing: ['copy', 'abort', 'copy', 'abort'],
    'not begun': ['copy', 'abort', 'copy', 'abort'],
    far: ['copy', 'abort', 'copy', 'abort'],
    near: ['copy', 'abort', 'copy', 'abort'],
    ready: ['copy', 'abort', 'copy', 'abort'],
    'other set': ['copy', 'abort', 'copy', 'abort'],
    'other count': ['copy', 'abort', 'copy', 'abort'],
    'other horizon': ['copy', 'abort', 'copy', 'abort'],
  },
  accepting: {
    nothing: ['copy', 'abort', 'copy', 'abort'],
    'not begun': ['copy', 'abort', 'copy', 'abort'],
    far: ['copy', 'abort', 'copy', 'abort'],
    near: ['seal', 'abort', 'seal', 'abort'],
    ready: ['seal', 'abort', 'seal', 'abort'],
    'other set': ['seal', 'abort', 'seal', 'abort'],
    'other count': ['seal', 'abort', 'seal', 'abort'],
    'other horizon': ['seal', 'abort', 'seal', 'abort'],
  },
  sealed: {
    nothing: ['abort', 'abort', 'abort', 'abort'],
    'not begun': ['finish', 'finish', 'abort', 'abort'],
    far: ['finish', 'finish', 'abort', 'abort'],
    near: ['finish', 'finish', 'abort', 'abort'],
    // Nothing is gained by giving up what only waits for its commit, however late.
    ready: ['commit', 'commit', 'commit', 'commit'],
    'other set': ['abort', 'abort', 'abort', 'abort'],
    'other count': ['abort', 'abort', 'abort', 'abort'],
    'other horizon': ['abort', 'abort', 'abort', 'abort'],
  },
};

/** Whether a migration goes on with a source, and with a target, that stands so. */
const GOES_ON: Readonly<Record<Standing, readonly [source: boolean, target: boolean]>> = {
  open: [true, true],
  closing: [true, false],
  closed: [false, false],
  retired: [false, false],
  damaged: [false, false],
  failed: [false, false],
  missing: [false, false],
};

type Word = 'silent' | 'not logged' | 'logged';
type Settle = 'remove' | 'ask both' | 'ask source' | 'ask target';

/** Once the topology says how it ended: by whose log holds that. A retired shard's log has ended. */
const ENDED: Readonly<Record<Word | 'retired', Readonly<Record<Word | 'retired', Settle>>>> = {
  silent: { silent: 'ask both', 'not logged': 'ask both', logged: 'ask source', retired: 'ask source' },
  'not logged': { silent: 'ask both', 'not logged': 'ask both', logged: 'ask source', retired: 'ask source' },
  logged: { silent: 'ask target', 'not logged': 'ask target', logged: 'remove', retired: 'remove' },
  retired: { silent: 'ask target', 'not logged': 'ask target', logged: 'remove', retired: 'remove' },
};

function look(
  state: MigrationState,
  [from, to]: readonly [Standing, Standing],
  source: SourceReport | null,
  target: TargetReport | null,
  time: Time,
): MigrationLook {
  const migration: Migration = {
    id: 5,
    pool: 'credit',
    slots: [{ from: 0, to: 9 }],
    source: SOURCE,
    target: TARGET,
    state,
  };
  const plain = topologyOf(6, 100n);
  const standing: Readonly<Record<number, Standing>> = { [SOURCE]: from, [TARGET]: to };
  const shards = plain.shards.flatMap((shard) => {
    const state = standing[shard.id] ?? shard.state;
    return state === 'missing' ? [] : [{ ...shard, state }];
  });
  const topology: Topology = { ...plain, shards, migrations: [migration] };
  return { topology, migration, source, target, ...TIMES[time] };
}

function keys<K extends string>(of: Readonly<Record<K, unknown>>): readonly K[] {
  return Object.keys(of) as K[];
}

describe('the next step of a migration', () => {
  it('is the one in the table, while it copies', () => {
    let cells = 0;
    for (const from of STANDINGS) {
      for (const to of STANDINGS) {
        for (const says of keys(SOURCES)) {
          for (const hears of keys(TARGETS)) {
            keys(TIMES).forEach((time, at) => {
              const step = nextMigrationStep(look('copying', [from, to], SOURCES[says], TARGETS[hears], time), LIMITS);
              const goesOn = GOES_ON[from][0] && GOES_ON[to][1];
              const cell = `source ${from}, says ${says}; target ${to}, says ${hears}; ${time}`;
              expect(`${cell}: ${step.step}`).toBe(`${cell}: ${goesOn ? COPYING[says][hears][at] : 'abort'}`);
              if (step.step === 'commit') expect(step.sealedSequence).toBe(21);
              if (step.step === 'finish') expect([step.sealedSequence, step.horizon]).toEqual([21, 7]);
              if (step.step === 'abort') expect(step.reason).toMatch(/\w+ \w+/);
              cells += 1;
            });
          }
        }
      }
    }
    expect(cells).toBe(7 * 7 * 3 * 8 * 4);
  });

  it('is the one in the table, once it has ended, whatever else is said and however long it took', () => {
    const words: readonly Word[] = ['silent', 'not logged', 'logged'];
    for (const state of ['committed', 'aborted'] as const) {
      for (const from of STANDINGS) {
        for (const to of STANDINGS) {
          for (const time of keys(TIMES)) {
            for (const given of words) {
              for (const taken of words) {
                for (const says of ['accepting', 'sealed'] as const) {
                  for (const hears of keys(TARGETS)) {
                    const source = given === 'silent' ? null : { ...SOURCES[says]!, settled: given === 'logged' };
                    const report = TARGETS[hears] ?? TARGETS.far!;
                    const target = taken === 'silent' ? null : { ...report, settled: taken === 'logged' };
                    const step = nextMigrationStep(look(state, [from, to], source, target, time), LIMITS);
                    const expected =
                      ENDED[from === 'retired' ? 'retired' : given][to === 'retired' ? 'retired' : taken];
                    const cell = `${state}; source ${from}, ${given}; target ${to}, ${taken}`;
                    expect(`${cell}: ${named(step)}`).toBe(`${cell}: ${expected}`);
                  }
                }
              }
            }
          }
        }
      }
    }
  });
});

function named(step: ReturnType<typeof nextMigrationStep>): string {
  if (step.step !== 'settle') return step.step;
  if (step.source && step.target) return 'ask both';
  return step.source ? 'ask source' : step.target ? 'ask target' : 'ask nobody';
}
