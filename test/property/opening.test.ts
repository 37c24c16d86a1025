/**
 * The log and its opening over a model of JetStream: successive writers, records in flight that land late or never,
 * answers that are lost, processes and machines that die at any step, and streams that are tampered with.
 *
 * What must hold is in test/support/log-world.ts: an acknowledged transaction is in exactly one record, or its loss is
 * reported where a witness survived; nothing is stored twice; nothing is answered that is not stored; no record of a
 * predecessor lands after a successor's `opened`; a reader finds what was acknowledged; a healthy log is never called
 * damaged. The second half takes out one rule after the other, and shows how the rest then falls.
 */
import {
  firstRecord,
  initialShardState,
  judgeLink,
  judgeOpening,
  type LogRecord,
  linkOf,
  NO_HASH,
  NO_SMALL_STATE,
  readRecord,
  recordHash,
  replayRecord,
  type ShardEvent,
  type SmallState,
  type Witness,
  writeRecord,
} from '@spill/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { comparable } from '../support/comparable-state.js';
import { ALL_RULES, IDENTITY, type LogRules, LogWorld, type State } from '../support/log-world.js';
import { LogWriter } from '../support/log-writer.js';
import { runs } from '../support/property-runs.js';

type Step =
  | { readonly kind: 'start'; readonly node: number }
  | { readonly kind: 'open' | 'go on' | 'time out' | 'kill' | 'heartbeat' | 'read'; readonly writer: number }
  | { readonly kind: 'submit'; readonly writer: number; readonly id: number }
  | { readonly kind: 'deliver'; readonly at: number; readonly again: boolean }
  | { readonly kind: 'reply' | 'drop publish' | 'drop reply'; readonly at: number }
  | {
      readonly kind:
        | 'second'
        | 'power failure'
        | 'keep folder'
        | 'older folder'
        | 'empty stream'
        | 'other log'
        | 'repair';
    }
  | { readonly kind: 'truncate'; readonly count: number };

const writer = fc.nat(3);
const at = fc.nat(3);

/** `quiet`: nobody touches the stream but its writers. */
function steps(quiet: boolean): fc.Arbitrary<Step[]> {
  const usual: fc.WeightedArbitrary<Step>[] = [
    { weight: 4, arbitrary: fc.record({ kind: fc.constant('start' as const), node: fc.nat(1) }) },
    // Straight to serving, as it mostly goes; `go on` is one step of it.
    { weight: 5, arbitrary: fc.record({ kind: fc.constant('open' as const), writer }) },
    { weight: 6, arbitrary: fc.record({ kind: fc.constant('go on' as const), writer }) },
    { weight: 14, arbitrary: fc.record({ kind: fc.constant('submit' as const), writer, id: fc.nat(11) }) },
    { weight: 8, arbitrary: fc.record({ kind: fc.constant('deliver' as const), at, again: fc.boolean() }) },
    { weight: 8, arbitrary: fc.record({ kind: fc.constant('reply' as const), at }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('drop publish' as const, 'drop reply' as const), at }) },
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constantFrom('time out' as const, 'kill' as const, 'heartbeat' as const, 'read' as const),
        writer,
      }),
    },
    { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('second' as const, 'power failure' as const) }) },
  ];
  const tampering: fc.WeightedArbitrary<Step>[] = [
    {
      weight: 2,
      arbitrary: fc.record({ kind: fc.constant('truncate' as const), count: fc.integer({ min: 1, max: 4 }) }),
    },
    {
      weight: 3,
      arbitrary: fc.record({
        kind: fc.constantFrom(
          'keep folder' as const,
          'older folder' as const,
          'empty stream' as const,
          'other log' as const,
          'repair' as const,
        ),
      }),
    },
  ];
  return fc.array(fc.oneof(...usual, ...(quiet ? [] : tampering)), { maxLength: 70, size: 'max' });
}

const created = (logId: string): Uint8Array => firstRecord(1, logId, { ...NO_SMALL_STATE, epoch: 1 });

class Run {
  readonly world: LogWorld;
  private kept: Uint8Array[] = [];

  constructor(rules: LogRules) {
    this.world = new LogWorld(rules);
    this.world.stream.replace([created(this.world.logId)]);
    this.world.stored(created(this.world.logId));
  }

  private alive(n: number): LogWriter | undefined {
    const alive = this.world.writers.filter((writer) => writer.phase !== 'dead');
    return alive[n % alive.length];
  }

  start(node: number): LogWriter | null {
    const { world } = this;
    if (world.damaged) return null;
    world.assignment += 1;
    const writer = new LogWriter(world, node, world.assignment);
    world.writers.push(writer);
    return writer;
  }

  /** Drives one writer until it serves or is dead; its own publishes are delivered at once. */
  open(writer: LogWriter): void {
    const { stream } = this.world;
    for (let i = 0; i < 50 && writer.phase !== 'serving' && writer.phase !== 'dead'; i++) {
      writer.step();
      if (writer.phase !== 'opening') continue;
      const own = stream.publishes.findIndex((publish) => publish.sender === writer);
      if (own >= 0) this.deliver(own, false);
      const reply = stream.replies.findIndex(({ publish }) => publish.sender === writer);
      if (reply < 0) return;
      this.reply(reply);
    }
  }

  private deliver(at: number, again: boolean): void {
    const { stream } = this.world;
    const answer = stream.deliver(at, again);
    if (answer && 'sequence' in answer) this.world.stored(stream.get(answer.sequence) as Uint8Array);
  }

  private reply(at: number): void {
    const reply = this.world.stream.takeReply(at);
    reply?.publish.sender.receive(reply);
  }

  /** Another folder: the server was stopped for it, so every connection is gone. What was sent may still arrive. */
  private putFolder(messages: readonly Uint8Array[]): void {
    for (const writer of this.world.writers) writer.die();
    this.world.stream.replies.length = 0;
    this.world.stream.replace(messages);
    this.world.tampered = true;
  }

  step(step: Step): void {
    const { world } = this;
    const { stream } = world;
    switch (step.kind) {
      case 'start':
        this.start(step.node);
        break;
      case 'open': {
        const writer = this.alive(step.writer);
        if (writer) this.open(writer);
        break;
      }
      case 'go on':
        this.alive(step.writer)?.step();
        break;
      case 'submit':
        this.alive(step.writer)?.submit(`id-${step.id}`);
        break;
      case 'time out':
        this.alive(step.writer)?.timeOut();
        break;
      case 'kill':
        this.alive(step.writer)?.die();
        break;
      case 'heartbeat':
        this.alive(step.writer)?.heartbeat();
        break;
      case 'read': {
        const writer = this.alive(step.writer);
        if (writer) world.read(writer);
        break;
      }
      case 'deliver':
        if (stream.publishes.length > 0) this.deliver(step.at % stream.publishes.length, step.again);
        break;
      case 'reply':
        if (stream.replies.length > 0) this.reply(step.at % stream.replies.length);
        break;
      case 'drop publish':
        stream.dropPublish(step.at);
        break;
      case 'drop reply':
        stream.takeReply(step.at);
        break;
      case 'second':
        world.second();
        break;
      case 'power failure':
        world.powerFailure();
        break;
      case 'keep folder':
        this.kept = stream.read().map(({ bytes }) => bytes);
        break;
      case 'older folder':
        if (this.kept.length > 0) this.putFolder(this.kept);
        break;
      case 'empty stream':
        this.putFolder([]);
        break;
      case 'other log':
        this.putFolder([created('c'.repeat(32))]);
        break;
      case 'truncate':
        stream.truncate(step.count);
        world.tampered = true;
        break;
      case 'repair':
        if (world.damaged) this.repair();
        break;
    }
  }

  /** The operator's way: everything stopped, a `rebased` after what is left, under a new log id. */
  repair(): void {
    const { world } = this;
    const { stream } = world;
    for (const writer of world.writers) writer.die();
    stream.publishes.length = 0;
    stream.replies.length = 0;
    const state = this.replayAll();
    world.assignment += 1;
    if (world.rules.repairsUnderNewLogId) world.logId = `${world.assignment}`.padStart(32, 'd');
    const small: SmallState = state.small;
    const note = { lost: world.damaged ?? '', who: 'operator', why: 'a drill' };
    const rebased = writeRecord({
      logId: world.logId,
      previous: state.hash,
      assignment: world.assignment,
      number: state.number + 1,
      count: state.count,
      sum: state.sum,
      replayFrom: Math.max(1, Math.min(state.replayFrom, stream.lastSequence)),
      epoch: small.epoch,
      events: [{ type: 'rebased', formerLogId: state.logId, assignment: world.assignment, ...note, small }],
    });
    const last = stream.lastSequence;
    stream.publish({ sender: new LogWriter(world, 0, world.assignment), bytes: rebased, expectedLast: last });
    this.deliver(0, false);
    stream.replies.length = 0;
    world.acceptLoss();
    // Folders kept before belong to the log that was given up.
    this.kept = [];
  }

  private replayAll(): State {
    const state = initialShardState(IDENTITY);
    for (const { sequence, bytes } of this.world.stream.read()) {
      replayRecord(state, readRecord(bytes), sequence, recordHash(bytes));
    }
    return state;
  }

  /** Everything under way lands or gets lost; a last writer opens the log, and what is left lands as well. */
  finish(node: number, late: number): void {
    const { world } = this;
    const { stream } = world;
    for (let bits = late; stream.publishes.length > 0 && bits > 0; bits >>= 1) {
      if (bits & 1) this.deliver(0, false);
      else stream.dropPublish(0);
    }
    const left = stream.publishes.length;
    const last = this.start(node);
    if (last) this.open(last);
    for (let i = 0; i < left; i++) this.deliver(0, false);
    if (last?.phase === 'serving') {
      // One more record, so that a stale one that landed after `opened` is met by its fence.
      last.submit('id-last');
      if (stream.publishes.length > 0) this.deliver(0, false);
      while (stream.replies.length > 0) this.reply(0);
    }
    const next = last ? this.start(node) : null;
    if (next) this.open(next);
    if (world.damaged) return;
    expect(next?.phase).toBe('serving');
    world.read(next as LogWriter);
    world.check();
    expect(comparable((next as LogWriter).stateOf())).toEqual(comparable(this.replayChecked()));
  }

  private replayChecked(): State {
    const state = initialShardState(IDENTITY);
    // What a repair accepted as lost lies before its `rebased`.
    let missing: string | null = null;
    for (const { sequence, bytes } of this.world.stream.read()) {
      const record = readRecord(bytes);
      if (record.events[0]?.type === 'rebased') missing = null;
      if (sequence > 1) missing ??= judgeLink(linkOf(state), record, sequence);
      replayRecord(state, record, sequence, recordHash(bytes));
    }
    expect(missing).toBeNull();
    return state;
  }
}

function play(rules: LogRules, steps: readonly Step[], node: number, late: number): void {
  const run = new Run(rules);
  for (const step of steps) run.step(step);
  run.finish(node, late);
}

function holds(quiet: boolean): fc.IProperty<[Step[], number, number]> {
  return fc.property(steps(quiet), fc.nat(1), fc.nat(255), (steps, node, late) => play(ALL_RULES, steps, node, late));
}

describe('a log and its writers', () => {
  it('lose nothing and store nothing twice, whatever lands late and whoever dies', () => {
    fc.assert(holds(true), runs(500));
  });

  it('report every loss that a witness remembers, on a stream that is tampered with', () => {
    fc.assert(holds(false), runs(800));
  });
});

const start = (node = 0): Step => ({ kind: 'start', node });
const open = (writer = 0): Step => ({ kind: 'open', writer });
const goOn = (writer: number): Step => ({ kind: 'go on', writer });
const submit = (writer: number, id: number): Step => ({ kind: 'submit', writer, id });
const read = (writer: number): Step => ({ kind: 'read', writer });
const deliver: Step = { kind: 'deliver', at: 0, again: false };
const reply = (at = 0): Step => ({ kind: 'reply', at });
const truncate = (count: number): Step => ({ kind: 'truncate', count });
/** A record is stored and its answer still under way. */
const stored = (writer: number, id: number): Step[] => [submit(writer, id), deliver];

interface Fall {
  readonly rule: string;
  readonly without: Partial<LogRules>;
  /** Found by running the property without the rule, and shrunk. */
  readonly steps: readonly Step[];
  /** Which of the publishes that are left land before the last opening, a bit each. */
  readonly late?: number;
  readonly fails: RegExp;
}

const falls: readonly Fall[] = [
  {
    rule: 'one record is in flight (hazard 1)',
    without: { recordsInFlight: 3 },
    steps: [start(), open(), start(), start(), submit(0, 0), open(2), submit(0, 1)],
    late: 6,
    fails: /is not chained to record|landed after/,
  },
  {
    rule: 'a record names the sequence before it (hazard 1)',
    without: { fencesRecords: false },
    steps: [start(), open(), submit(0, 0)],
    fails: /is not the one that|has number|landed after/,
  },
  {
    rule: 'an answer that rests on a record waits for its acknowledgement (hazard 10)',
    without: { answersAfterAck: false },
    steps: [start(), open(), submit(0, 0), submit(0, 0)],
    fails: /answered duplicate by assignment 1 and is stored nowhere/,
  },
  {
    rule: 'a writer appends `opened` before it serves (hazard 2)',
    without: { writesOpened: false },
    steps: [start(), open(), start(), goOn(1), goOn(1), ...stored(0, 0), reply(), open(1), read(1)],
    fails: /is acknowledged, and assignment 2 does not know it/,
  },
  {
    rule: 'the log is read up to `opened` (hazard 1)',
    without: { readsAfterOpened: false },
    steps: [start(), open(), start(), goOn(1), goOn(1), ...stored(0, 0), open(1), reply(), read(1)],
    fails: /is acknowledged, and assignment 2 does not know it/,
  },
  {
    rule: 'a process that has a successor is not heard (hazard 20)',
    without: { readsTopologyAfterLast: false, reportsAsNewestOnly: false },
    steps: [start(), goOn(0), start(), open(1), open()],
    fails: /a healthy log was called damaged by assignment 1/,
  },
  {
    rule: 'witnesses are read (hazards 13 and 15)',
    without: { readsWitnesses: false },
    steps: [start(), open(), ...stored(0, 0), reply(), truncate(1)],
    fails: /id-0 is lost, node 0 remembers it, and nobody was told/,
  },
  {
    rule: 'witnesses are read before `opened` is appended (hazard 31)',
    without: { readsWitnessesBeforeOpened: false, comparesWitnessHashes: false },
    steps: [start(), open(), ...stored(0, 0), reply(), truncate(1)],
    fails: /id-0 is lost, node 0 remembers it, and nobody was told/,
  },
  {
    rule: 'a witness is compared with its own record, not only with the length of the log (hazard 30)',
    without: { comparesWitnessHashes: false },
    // The log loses its tail, grows again on the other node, and comes back to the one that remembers.
    steps: [start(0), open(), ...stored(0, 0), reply(), truncate(1), start(1), open(1), ...stored(1, 1), reply()],
    fails: /id-0 is lost, node 0 remembers it, and nobody was told/,
  },
  {
    rule: 'witnesses are named by assignment (hazard 47)',
    without: { namesWitnessesByAssignment: false },
    // The first writer is paused with an answer under way, and hears it after its successor's.
    steps: [start(), open(), ...stored(0, 0), start(), open(1), ...stored(1, 1), reply(1), reply(0), truncate(1)],
    fails: /id-1 is lost, node 0 remembers it, and nobody was told/,
  },
  {
    rule: 'earlier witnesses go only once the present one is synced (hazard 13)',
    without: { keepsEarlierWitnessesUntilSynced: false },
    // The machine fails within the second: the new file is empty, the old one was removed.
    steps: [
      ...[start(), open(), ...stored(0, 0), reply(), { kind: 'second' } as const],
      ...[start(), open(1), { kind: 'power failure' } as const, truncate(2)],
    ],
    fails: /id-0 is lost, node 0 remembers it, and nobody was told/,
  },
  {
    rule: 'a repaired log has a new log id (hazard 45)',
    without: { repairsUnderNewLogId: false },
    steps: [start(), open(), truncate(1), start(), open(1), { kind: 'repair' }],
    fails: /a healthy log was called damaged/,
  },
];

describe('each rule is needed', () => {
  it.each(falls)('$rule', ({ without, steps, late = 0, fails }) => {
    expect(() => play(ALL_RULES, steps, 0, late)).not.toThrow();
    expect(() => play({ ...ALL_RULES, ...without }, steps, 0, late)).toThrow(fails);
  });
});

describe('a link', () => {
  const before = { logId: 'a'.repeat(32), number: 4, hash: 'b'.repeat(32), sequence: 9 };
  const record: LogRecord = {
    logId: before.logId,
    previous: before.hash,
    assignment: 1,
    number: 5,
    count: 0,
    sum: 0n,
    replayFrom: 1,
    epoch: 0,
    events: [],
  };
  const rebased: ShardEvent = {
    type: 'rebased',
    formerLogId: before.logId,
    assignment: 2,
    lost: '',
    who: 'operator',
    why: 'a drill',
    small: NO_SMALL_STATE,
  };

  it('is same log, next sequence, next number, chained; or says what is wrong', () => {
    expect(judgeLink(before, record, 10)).toBeNull();
    expect(judgeLink(before, record, 12)).toBe('records 10 to 11 are missing');
    expect(judgeLink(before, { ...record, logId: 'c'.repeat(32) }, 10)).toMatch(/belongs to log c{32}, not to a{32}/);
    for (const number of [4, 6]) {
      expect(judgeLink(before, { ...record, number }, 10)).toBe(`record 10 has number ${number} where 5 must follow`);
    }
    expect(judgeLink(before, { ...record, previous: NO_HASH }, 10)).toBe('record 10 is not chained to record 9');
    // After an accepted loss the log begins anew.
    expect(
      judgeLink(before, { ...record, logId: 'd'.repeat(32), previous: NO_HASH, events: [rebased] }, 15),
    ).toBeNull();
  });
});

describe('an opening', () => {
  const logId = 'a'.repeat(32);
  const last = {
    logId,
    previous: NO_HASH,
    assignment: 3,
    number: 9,
    count: 0,
    sum: 0n,
    replayFrom: 1,
    epoch: 0,
    sequence: 9,
    hash: 'f'.repeat(32),
    closed: false,
  };
  const witness: Witness = { from: 'a file', logId, assignment: 3, sequence: 9, number: 9, hash: last.hash };
  const opening = { logId, assignment: 4, topologyAssignment: 4, last, witnesses: [witness] };

  const verdicts: [string, Partial<Parameters<typeof judgeOpening>[0]>, ReturnType<typeof judgeOpening>['verdict']][] =
    [
      ['a log that ends as its witness says', {}, 'append'],
      ['no witness at all', { witnesses: [] }, 'append'],
      ['a witness of an earlier record', { witnesses: [{ ...witness, sequence: 5, hash: NO_HASH }] }, 'append'],
      ['a witness of a later record', { witnesses: [{ ...witness, sequence: 10 }] }, 'behind'],
      ['a second witness of a later record', { witnesses: [witness, { ...witness, sequence: 10 }] }, 'behind'],
      ['a witness of another record at the end', { witnesses: [{ ...witness, hash: NO_HASH }] }, 'damaged'],
      ['a witness of a log that was given up', { witnesses: [{ ...witness, logId: NO_HASH, sequence: 99 }] }, 'append'],
      ['an empty log', { last: null }, 'damaged'],
      ['another log', { last: { ...last, logId: NO_HASH } }, 'damaged'],
      ['a closed log', { last: { ...last, closed: true } }, 'fold_only'],
      [
        'a closed log that lost its end',
        { last: { ...last, closed: true }, witnesses: [{ ...witness, sequence: 10 }] },
        'behind',
      ],
      ['a record of the same assignment', { last: { ...last, assignment: 4 } }, 'damaged'],
      ['a record of a higher assignment', { last: { ...last, assignment: 5 } }, 'damaged'],
      ['a successor in the topology', { topologyAssignment: 5 }, 'superseded'],
      ['a successor that has written', { topologyAssignment: 5, last: { ...last, assignment: 5 } }, 'superseded'],
      ['a successor, and a log that looks damaged', { topologyAssignment: 5, last: null }, 'superseded'],
    ];
  it.each(verdicts)('at %s', (_, change, verdict) => {
    expect(judgeOpening({ ...opening, ...change }).verdict).toBe(verdict);
  });
});
