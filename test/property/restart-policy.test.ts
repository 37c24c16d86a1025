import {
  type ChildAction,
  type ChildEvent,
  type ChildEventName,
  type ChildStateName,
  newChild,
  RESTART_LIMITS,
  type SupervisedChild,
  stepChild,
} from '@spill/node';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

const limits = RESTART_LIMITS;

/** One of each event, for the table. */
const EVENTS: Readonly<Record<ChildEventName, ChildEvent>> = {
  want: { event: 'want' },
  unwant: { event: 'unwant' },
  raised: { event: 'raised', assignment: 7 },
  raise_refused: { event: 'raise_refused' },
  raise_unavailable: { event: 'raise_unavailable' },
  heard: { event: 'heard' },
  serving: { event: 'serving' },
  damaged: { event: 'damaged', reason: 'record 5 is missing' },
  exited: { event: 'exited', reason: 'ended with code 1', waiting: false },
  overtaken: { event: 'overtaken' },
  tick: { event: 'tick' },
  drain: { event: 'drain' },
};

const NOW = 1_000_000;

/** A child in each state, at NOW, in which nothing is due. */
const STATES: Readonly<Record<ChildStateName, SupervisedChild['state']>> = {
  absent: { name: 'absent' },
  raising: { name: 'raising', predecessor: false, retryAt: null },
  starting: { name: 'starting', heardAt: NOW },
  serving: { name: 'serving', since: NOW, heardAt: NOW },
  damaged: { name: 'damaged', heardAt: NOW },
  backing_off: { name: 'backing_off', until: NOW + 100 },
  failed: { name: 'failed', until: NOW + 60_000, reason: 'it ended' },
  draining: { name: 'draining', until: NOW + 15_000 },
  stopped: { name: 'stopped' },
};

const at = (state: SupervisedChild['state'], starts: number[] = []): SupervisedChild => ({
  ...newChild(NOW),
  state,
  starts,
});

/** Per state and event: the next state and the actions; what is not listed stays as it is and does nothing. */
const EXPECTED: Readonly<
  Record<ChildStateName, Partial<Record<ChildEventName, [ChildStateName, ...ChildAction['action'][]]>>>
> = {
  absent: { want: ['raising', 'raise'], drain: ['stopped'] },
  raising: {
    unwant: ['absent'],
    raised: ['starting', 'spawn'],
    raise_refused: ['absent'],
    drain: ['stopped'],
  },
  starting: {
    unwant: ['absent', 'end'],
    serving: ['serving'],
    damaged: ['damaged', 'mark_damaged'],
    exited: ['backing_off'],
    overtaken: ['raising', 'raise'],
    drain: ['draining', 'drain'],
  },
  serving: {
    unwant: ['absent', 'end'],
    damaged: ['damaged', 'mark_damaged'],
    exited: ['backing_off'],
    overtaken: ['raising', 'raise'],
    drain: ['draining', 'drain'],
  },
  damaged: {
    unwant: ['absent', 'end'],
    damaged: ['damaged', 'mark_damaged'],
    exited: ['backing_off'],
    overtaken: ['raising', 'raise'],
    drain: ['draining', 'drain'],
  },
  backing_off: { unwant: ['absent'], drain: ['stopped'] },
  failed: { unwant: ['absent'], overtaken: ['raising', 'raise'], drain: ['stopped'] },
  draining: { exited: ['stopped'] },
  stopped: {},
};

describe('the table', () => {
  for (const name of Object.keys(STATES) as ChildStateName[]) {
    for (const event of Object.keys(EVENTS) as ChildEventName[]) {
      const [next, ...actions] = EXPECTED[name][event] ?? [name];
      test(`${name} × ${event} → ${[next, ...actions].join(', ')}`, () => {
        const step = stepChild(at(STATES[name]), EVENTS[event], NOW);
        expect([step.child.state.name, ...step.actions.map(({ action }) => action)]).toEqual([next, ...actions]);
      });
    }
  }
});

/** Feeds events `[milliseconds later, event]`, with ticks in between, and collects the actions. */
function run(from: SupervisedChild, events: readonly (readonly [number, ChildEvent])[], start = NOW) {
  let child = from;
  let now = start;
  const actions: { at: number; action: ChildAction }[] = [];
  const feed = (event: ChildEvent): void => {
    const step = stepChild(child, event, now);
    child = step.child;
    actions.push(...step.actions.map((action) => ({ at: now, action })));
  };
  for (const [later, event] of events) {
    const until = now + later;
    while (now + 250 < until) {
      now += 250;
      feed({ event: 'tick' });
    }
    now = until;
    feed(event);
  }
  return { child, now, actions, names: actions.map(({ action }) => action.action) };
}

describe('replacing a silent process', () => {
  test('first the new assignment, then the successor, then the old process is ended', () => {
    const { names, child } = run(at(STATES.serving), [
      [limits.silentMs + 250, { event: 'tick' }],
      [50, { event: 'raised', assignment: 8 }],
    ]);
    expect(names).toEqual(['raise', 'spawn', 'end_predecessor']);
    expect(child.state.name).toBe('starting');
  });

  test('silence begins after 3 s, not before', () => {
    const heard = run(at(STATES.serving), [
      [2_900, { event: 'heard' }],
      [2_900, { event: 'heard' }],
      [2_900, { event: 'tick' }],
    ]);
    expect(heard.names).toEqual([]);
    const silent = run(heard.child, [[100, { event: 'tick' }]], heard.now);
    expect(silent.names).toEqual(['raise']);
  });

  test('what it says after it was replaced changes nothing, and its end brings no second successor', () => {
    const { names, child } = run(at({ name: 'raising', predecessor: true, retryAt: null }), [
      [10, { event: 'heard' }],
      [10, { event: 'serving' }],
      [10, { event: 'exited', reason: 'ended with code 1', waiting: false }],
      [10, { event: 'raised', assignment: 9 }],
    ]);
    expect(names).toEqual(['spawn']);
    expect(child.state.name).toBe('starting');
  });

  test('a node that stood still itself replaces nobody', () => {
    const step = stepChild(at(STATES.serving), { event: 'tick' }, NOW + 3_600_000);
    expect(step.actions).toEqual([]);
    expect(run(step.child, [[3_000, { event: 'tick' }]], NOW + 3_600_000).names).toEqual(['raise']);
  });

  test('while it is away from NATS it stays, and the assignment is tried again', () => {
    const { names, child } = run(at(STATES.serving), [
      [3_250, { event: 'tick' }],
      [10, { event: 'raise_unavailable' }],
      [limits.unavailableRetryMs, { event: 'tick' }],
      [10, { event: 'raise_unavailable' }],
      [limits.unavailableRetryMs, { event: 'tick' }],
    ]);
    expect(names).toEqual(['raise', 'raise', 'raise']);
    expect(child.starts).toEqual([]);
  });
});

/** What a process says, if anything, and how long it is silent after that. */
const words = fc.array(
  fc.tuple(fc.integer({ min: 0, max: limits.bootMs - 250 }), fc.constant<ChildEvent>({ event: 'heard' })),
  { maxLength: 8 },
);

describe('a process that starts on a busy machine', () => {
  test('is left alone as long as it says something within its boot time, and serves then', () => {
    fc.assert(
      fc.property(words, fc.integer({ min: 0, max: limits.bootMs - 250 }), (heard, silentMs) => {
        const { names, child } = run(at(STATES.starting), [...heard, [silentMs, { event: 'serving' }]]);
        expect(names).toEqual([]);
        expect(child.state.name).toBe('serving');
      }),
    );
  });

  test('is replaced where it hangs, after its boot time, and after 3 s once it has served', () => {
    fc.assert(
      fc.property(words, fc.boolean(), (heard, served) => {
        const last: ChildEvent = { event: served ? 'serving' : 'heard' };
        const { child, now } = run(at(STATES.starting), [...heard, [0, last]]);
        const boundMs = served ? limits.silentMs : limits.bootMs;
        expect(run(child, [[boundMs - 1, { event: 'tick' }]], now).names).toEqual([]);
        expect(run(child, [[boundMs, { event: 'tick' }]], now).names).toEqual(['raise']);
      }),
    );
  });
});

describe('back-off and failure', () => {
  /** A process that ends without having served, as often as it is started, for so many milliseconds. */
  function crashLoop(from: SupervisedChild, start: number, durationMs: number, waiting = false) {
    let child = from;
    const spawns: number[] = [];
    const marks: string[] = [];
    for (let now = start; now < start + durationMs; now += 25) {
      let queue: ChildEvent[] = [{ event: 'tick' }];
      while (queue.length > 0) {
        const step = stepChild(child, queue.shift()!, now);
        child = step.child;
        for (const action of step.actions) {
          if (action.action === 'raise') queue.push({ event: 'raised', assignment: spawns.length + 1 });
          if (action.action === 'spawn') {
            spawns.push(now);
            queue.push({ event: 'exited', reason: 'ended with code 1', waiting });
          }
          if (action.action.startsWith('mark_')) marks.push(action.action);
        }
        queue = [...queue];
      }
    }
    return { child, spawns, marks };
  }

  test('five starts within 60 s without serving: failed, and tried again every 60 s, once', () => {
    const wanted = stepChild(newChild(NOW), { event: 'want' }, NOW).child;
    const first = stepChild(wanted, { event: 'raised', assignment: 1 }, NOW).child;
    const crashed = stepChild(first, { event: 'exited', reason: 'ended with code 1', waiting: false }, NOW).child;
    const { spawns, marks, child } = crashLoop(crashed, NOW + 25, 200_000);
    expect(child.state.name).toBe('failed');
    const gaps = spawns.slice(4).map((time, i) => time - (spawns[i + 3] as number));
    expect(spawns.length).toBe(4 + 3);
    for (const gap of gaps) expect(gap).toBeGreaterThanOrEqual(limits.failedRetryMs);
    expect(marks).toEqual(['mark_failed', 'mark_failed', 'mark_failed', 'mark_failed']);
  });

  test('back-off doubles', () => {
    const backingOff = at({ name: 'backing_off', until: NOW });
    const { spawns } = crashLoop({ ...backingOff, attempt: 1 }, NOW, 3_000);
    const gaps = spawns.slice(1).map((time, i) => time - (spawns[i] as number));
    expect(gaps).toEqual([100, 200, 400, 800]);
  });

  test('waiting for NATS or a quorum is no start', () => {
    const { spawns, marks, child } = crashLoop(at({ name: 'backing_off', until: NOW }), NOW, 120_000, true);
    expect(spawns.length).toBeGreaterThan(100);
    expect(marks).toEqual([]);
    expect(child.starts).toEqual([]);
  });

  test('serving ends a failure and is told', () => {
    const failed: SupervisedChild = { ...at({ name: 'starting', heardAt: NOW }), marked: true };
    const step = stepChild(failed, { event: 'serving' }, NOW + 10);
    expect(step.actions).toEqual([{ action: 'mark_recovered' }]);
    expect(step.child.marked).toBe(false);
  });

  test('one that serves each time is never failed', () => {
    let child = at(STATES.serving);
    let now = NOW;
    for (let i = 0; i < 100; i++) {
      child = stepChild(child, EVENTS.exited, now).child;
      while (child.state.name === 'backing_off') {
        now += 25;
        child = stepChild(child, { event: 'tick' }, now).child;
      }
      child = stepChild(child, EVENTS.raised, now).child;
      child = stepChild(child, { event: 'serving' }, now).child;
      expect(child.state.name).toBe('serving');
    }
  });

  test('a start that falls silent counts as one', () => {
    const starts = [NOW - 4, NOW - 3, NOW - 2, NOW - 1, NOW];
    const { names, child } = run(at({ name: 'starting', heardAt: NOW }, starts), [
      [limits.bootMs + 250, { event: 'tick' }],
    ]);
    expect(names).toEqual(['end', 'mark_failed']);
    expect(child.state.name).toBe('failed');
  });
});

describe('draining', () => {
  test('is bounded: after 15 s the process is ended', () => {
    const { names } = run(at(STATES.serving), [
      [10, { event: 'drain' }],
      [15_250, { event: 'tick' }],
      [10, { event: 'exited', reason: 'was ended by SIGKILL', waiting: false }],
    ]);
    expect(names).toEqual(['drain', 'end']);
  });
});

const eventArbitrary: fc.Arbitrary<readonly [number, ChildEvent]> = fc.tuple(
  fc.integer({ min: 0, max: 5_000 }),
  fc.oneof(
    fc.constantFrom<ChildEvent>(
      ...(Object.keys(EVENTS) as ChildEventName[]).filter((name) => name !== 'drain').map((name) => EVENTS[name]),
    ),
    fc.constant<ChildEvent>({ event: 'exited', reason: 'ended with code 75', waiting: true }),
    fc.constant<ChildEvent>({ event: 'tick' }),
  ),
);

test('over any history: a spawn answers a raise, the predecessor goes after it, nothing is spawned when stopped', () => {
  fc.assert(
    fc.property(fc.array(eventArbitrary, { maxLength: 80 }), (events) => {
      const { actions, child, now } = run(newChild(NOW), events);
      let raises = 0;
      let spawns = 0;
      actions.forEach(({ action }, i) => {
        if (action.action === 'raise') raises++;
        if (action.action === 'spawn') spawns++;
        if (action.action === 'end_predecessor') expect(actions[i - 1]?.action.action).toBe('spawn');
        expect(spawns).toBeLessThanOrEqual(raises);
      });
      const stopped = run(
        child,
        [
          [1, { event: 'drain' }],
          [1, EVENTS.exited],
          [1, EVENTS.exited],
        ],
        now,
      ).child;
      expect(stopped.state.name).toBe('stopped');
      const after = run(stopped, events, now).actions;
      expect(after).toEqual([]);
    }),
    { numRuns: 2_000 },
  );
});
