import { storedSum } from './accepted-rows.js';
import { Adoption } from './adoption.js';
import type { Adopted, MigrationOutcome, ShardEvent, SmallState, Stored } from './events.js';
import type { LogRecord } from './record.js';
import { writeRecord } from './record.js';
import type { ShardState } from './state.js';

/** Applies one event of the record that will have (or has) `sequence`. Changes `state` in place and returns it. */
export function evolve(state: ShardState, event: ShardEvent, sequence: number): ShardState {
  switch (event.type) {
    case 'stored':
      return store(state, event, sequence);
    case 'created':
      return takeCheckpoint(state, event.small, sequence);
    case 'checkpoint':
      return takeCheckpoint(state, event.small, sequence);
    case 'opened':
      state.assignment = event.assignment;
      return state;
    case 'rebased':
      state.assignment = event.assignment;
      return takeCheckpoint(state, event.small, sequence);
    case 'forgotten':
      state.small = withForgotten(state.small, event.horizon, event.foldedUpTo);
      return forgetUpTo(state, sequence);
    case 'horizon_set':
      // What was forgotten stays forgotten: the ledger's key is what still knows it.
      state.small = { ...state.small, horizon: event.horizon };
      return state;
    case 'epoch':
      state.small = { ...state.small, epoch: Math.max(state.small.epoch, event.epoch) };
      return state;
    case 'sealed': {
      const { type: _, ...seal } = event;
      const others = state.small.seals.filter((other) => other.migration !== seal.migration);
      state.small = { ...state.small, seals: [...others, { ...seal, sequence }] };
      return state;
    }
    case 'adopted':
      return adopt(state, event, sequence);
    case 'ready': {
      const { migration, slots, horizon, count, digest } = event;
      const mark = { migration, slots, ready: { horizon, count, digest } };
      const others = state.small.adoptions.filter((other) => other.migration !== migration);
      // Below the source's horizon this shard does not know what there was, so it must not store either.
      const raised = Math.max(state.small.horizon, horizon);
      state.small = { ...state.small, horizon: raised, adoptions: [...others, mark] };
      return state;
    }
    case 'settled':
      return settle(state, event.migration, event.outcome, sequence);
    case 'closed':
      state.small = { ...state.small, closed: true };
      return state;
  }
}

/** The record that holds `events`, already applied by `evolve`, after the last record of `state`. */
export function sealRecord(
  state: ShardState,
  events: readonly ShardEvent[],
  assignment: number,
): Uint8Array<ArrayBuffer> {
  return writeRecord({
    logId: state.logId,
    previous: state.hash,
    assignment,
    number: state.number + 1,
    count: state.count,
    sum: state.sum,
    replayFrom: state.replayFrom,
    epoch: state.small.epoch,
    events,
  });
}

/** The record with `sequence` and `hash` is now the last one. Called once its events were applied. */
export function endRecord(state: ShardState, record: { sequence: number; number: number; hash: string }): void {
  state.sequence = record.sequence;
  state.number = record.number;
  state.hash = record.hash;
}

/** Replays a record of the log: events, then header. The caller has checked number, chain and log id. */
export function replayRecord(state: ShardState, record: LogRecord, sequence: number, hash: string): void {
  if (state.sequence === 0) state.known.startAt(sequence);
  for (const event of record.events) evolve(state, event, sequence);
  state.logId = record.logId;
  state.assignment = record.assignment;
  // The sums of what lies before `replayFrom` are known from here only.
  state.count = record.count;
  state.sum = record.sum;
  endRecord(state, { sequence, number: record.number, hash });
}

function store(state: ShardState, event: Stored, sequence: number): ShardState {
  state.known.addRows(event.batch, event.accepted, sequence, event.keys);
  state.count += event.count;
  state.sum += storedSum(event);
  return state;
}

function adopt(state: ShardState, event: Adopted, sequence: number): ShardState {
  const { migration, slots } = event;
  let adoption = state.adoptions.get(migration);
  if (!adoption) {
    adoption = new Adoption(migration, slots, state.idHashKey, state.slotOf);
    state.adoptions.set(migration, adoption);
    const { adoptions } = state.small;
    // The mark may be there already: of a migration that was ready with nothing to adopt.
    if (!adoptions.some((mark) => mark.migration === migration)) {
      state.small = { ...state.small, adoptions: [...adoptions, { migration, slots, ready: null }] };
    }
  }
  adoption.adopt(event, sequence);
  return state;
}

/** How many ended migrations a shard remembers: more than can be under way at once. */
const SETTLED_MAX = 256;

function settle(state: ShardState, migration: number, outcome: MigrationOutcome, sequence: number): ShardState {
  const { small } = state;
  state.small = {
    ...small,
    seals: small.seals.filter((seal) => seal.migration !== migration),
    adoptions: small.adoptions.filter((mark) => mark.migration !== migration),
    settled: [...small.settled.filter((other) => other !== migration), migration].slice(-SETTLED_MAX),
  };
  const adoption = state.adoptions.get(migration);
  if (adoption && outcome === 'committed') adoption.settled = true;
  else state.adoptions.delete(migration);
  return forgetUpTo(state, sequence);
}

function takeCheckpoint(state: ShardState, small: SmallState, sequence: number): ShardState {
  state.small = small;
  state.checkpointAt = sequence;
  return forgetUpTo(state, sequence);
}

/**
 * The small state once what is below `horizon` and folded up to `foldedUpTo` is forgotten. Where an earlier event
 * reached further (its horizon, before a `horizon_set`; its fold, before the data table was set back), that stays
 * forgotten as well, apart: the two together would forget what neither did.
 */
export function withForgotten(small: SmallState, horizon: number, foldedUpTo: number): SmallState {
  const { forgottenBelow, foldedUpTo: foldedBefore, forgottenAlso = [], ...rest } = small;
  const also = [{ below: forgottenBelow, upTo: foldedBefore }, ...forgottenAlso].filter(
    (span) => span.below > horizon || span.upTo > foldedUpTo,
  );
  return {
    ...rest,
    horizon: Math.max(rest.horizon, horizon),
    forgottenBelow: horizon,
    foldedUpTo,
    ...(also.length > 0 ? { forgottenAlso: also } : {}),
  };
}

function forgetUpTo(state: ShardState, sequence: number): ShardState {
  const { forgottenBelow, foldedUpTo, forgottenAlso } = state.small;
  let firstKnown = state.known.forget(forgottenBelow, foldedUpTo, sequence, forgottenAlso);
  for (const [migration, adoption] of state.adoptions) {
    // A checkpoint that comes back from a replay says which outcomes are still open; all others are logged.
    adoption.settled = !state.small.adoptions.some((mark) => mark.migration === migration);
    const first = adoption.forget(state.small, sequence);
    if (adoption.isEmpty) state.adoptions.delete(migration);
    else firstKnown = Math.min(firstKnown, first);
  }
  state.replayFrom = Math.max(1, Math.min(firstKnown, foldedUpTo + 1, state.checkpointAt));
  return state;
}
