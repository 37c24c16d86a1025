/**
 * A shard's process as far as its log is concerned: opening in the order of the design, one I/O a step so that anything
 * may come in between, then group commit. Built on the very functions that the real one is built on.
 */
import {
  decide,
  endRecord,
  evolve,
  initialShardState,
  judgeLink,
  judgeOpening,
  judgeWitness,
  linkOf,
  RowStatus,
  readRecord,
  recordHash,
  replayRecord,
  type ShardEvent,
  sealRecord,
  type Witness,
  writeRecord,
} from '@spill/core';
import { batchOf } from './batch-rows.js';
import type { Publish, Reply } from './jetstream-model.js';
import { IDENTITY, type LogWorld, type NodeModel, type State } from './log-world.js';

interface InFlight {
  readonly publish: Publish<LogWriter>;
  readonly sequence: number;
  readonly number: number;
  readonly hash: string;
  readonly answers: (() => void)[];
}

type Phase = 'witnesses' | 'last' | 'topology' | 'opening' | 'replay' | 'serving' | 'dead';

/** How often a log that a witness is ahead of is read again, before that is called loss. */
const READ_AGAIN_MAX = 2;
const OWNED = new Uint8Array(1024).fill(1);

export class LogWriter {
  phase: Phase = 'witnesses';
  private witnesses: Witness[] = [];
  private last: { sequence: number; bytes: Uint8Array } | null = null;
  private remembered: ReadonlySet<string> = new Set();
  private topologyAssignment = 0;
  private readAgain = 0;
  private opened: InFlight | null = null;
  private state: State = initialShardState(IDENTITY);
  private inFlight: InFlight[] = [];
  private events: ShardEvent[] = [];
  private answers: (() => void)[] = [];
  private acked: Witness | null = null;

  constructor(
    private readonly world: LogWorld,
    readonly node: number,
    readonly assignment: number,
  ) {}

  get where(): NodeModel {
    return this.world.nodes[this.node] as NodeModel;
  }

  die(): void {
    this.phase = 'dead';
  }

  knownIds(): Set<string> {
    return new Set([...this.state.known.entries()].map((entry) => this.state.known.id(entry)));
  }

  stateOf(): State {
    return this.state;
  }

  /** The next thing that the process does by itself. */
  step(): void {
    const { rules, stream } = this.world;
    switch (this.phase) {
      case 'witnesses':
        if (!rules.readsTopologyAfterLast) this.topologyAssignment = this.world.assignment;
        this.remembered = this.world.remembered(this.node, this.assignment);
        this.witnesses = rules.readsWitnesses && rules.readsWitnessesBeforeOpened ? this.readWitnesses() : [];
        this.phase = 'last';
        break;
      case 'last':
        this.last = stream.last();
        // Wrong on purpose: only the first reading counts, whatever landed since.
        if (!rules.readsAfterOpened && this.state.sequence === 0) this.replay();
        if (this.phase === 'last') this.phase = 'topology';
        break;
      case 'topology':
        // A doubled publish: refused as the second, stored as the first.
        if (this.opened && this.last && recordHash(this.last.bytes) === this.opened.hash) {
          this.phase = 'replay';
          break;
        }
        if (rules.readsTopologyAfterLast) this.topologyAssignment = this.world.assignment;
        this.judge();
        break;
      case 'replay':
        this.replayAndServe();
        break;
      default:
        break;
    }
  }

  private readWitnesses(): Witness[] {
    const { files, heartbeat } = this.where;
    const newest = [...files].filter(([assignment]) => assignment < this.assignment).sort(([a], [b]) => b - a)[0];
    const all = [newest?.[1], heartbeat ?? undefined];
    return all.filter((witness) => witness !== undefined);
  }

  /** What `judgeOpening` says, and each witness against the very record that it remembers. */
  private verdict() {
    const { rules, stream, logId } = this.world;
    const last = this.last && { ...this.last, record: readRecord(this.last.bytes), hash: recordHash(this.last.bytes) };
    const witnesses = this.witnesses.map((witness) => {
      if (rules.comparesWitnessHashes || witness.sequence !== last?.sequence) return witness;
      return { ...witness, hash: last.hash };
    });
    if (rules.comparesWitnessHashes) {
      for (const witness of witnesses) {
        const bytes = stream.get(witness.sequence);
        const missing =
          bytes && witness.logId === logId
            ? judgeWitness(witness, { ...readRecord(bytes), sequence: witness.sequence, hash: recordHash(bytes) })
            : null;
        if (missing && this.topologyAssignment === this.assignment) return { verdict: 'damaged' as const, missing };
      }
    }
    return judgeOpening({
      logId,
      assignment: this.assignment,
      topologyAssignment: this.topologyAssignment,
      last: last && { ...last.record, sequence: last.sequence, hash: last.hash, closed: false },
      witnesses,
    });
  }

  private judge(): void {
    const verdict = this.verdict();
    switch (verdict.verdict) {
      case 'append':
        this.appendOpened();
        break;
      case 'behind':
        this.readAgain += 1;
        if (this.readAgain <= READ_AGAIN_MAX) this.phase = 'witnesses';
        else this.damaged(verdict.missing);
        break;
      case 'damaged':
        this.damaged(verdict.missing);
        break;
      default:
        this.die();
    }
  }

  private damaged(missing: string): void {
    this.world.report(missing, this.assignment);
    this.die();
  }

  private appendOpened(): void {
    const last = this.last as { sequence: number; bytes: Uint8Array };
    if (!this.world.rules.writesOpened) {
      this.phase = 'replay';
      return;
    }
    const record = readRecord(last.bytes);
    const bytes = writeRecord({
      ...record,
      previous: recordHash(last.bytes),
      assignment: this.assignment,
      number: record.number + 1,
      events: [{ type: 'opened', assignment: this.assignment }],
    });
    this.opened = this.publish(bytes, last.sequence, record.number + 1, []);
    this.phase = 'opening';
  }

  private publish(bytes: Uint8Array, expectedLast: number, number: number, answers: (() => void)[]): InFlight {
    const fenced = this.world.rules.fencesRecords;
    const publish = { sender: this, bytes, expectedLast: fenced ? expectedLast : null };
    this.world.stream.publish(publish);
    return { publish, sequence: expectedLast + 1, number, hash: recordHash(bytes), answers };
  }

  private replay(): void {
    const last = this.last;
    if (!last) return;
    const { replayFrom } = readRecord(last.bytes);
    let missing: string | null = null;
    for (const { sequence, bytes } of this.world.stream.read()) {
      if (sequence < replayFrom || sequence > last.sequence) continue;
      const record = readRecord(bytes);
      if (record.events[0]?.type === 'rebased') missing = null;
      if (this.state.sequence > 0) missing ??= judgeLink(linkOf(this.state), record, sequence);
      replayRecord(this.state, record, sequence, recordHash(bytes));
    }
    if (missing) this.damaged(missing);
    else if (this.state.sequence !== last.sequence) this.damaged(`record ${last.sequence} is gone again`);
  }

  private replayAndServe(): void {
    const { rules, stream } = this.world;
    if (this.opened)
      this.last = stream.get(this.opened.sequence) ? { ...this.opened, bytes: this.opened.publish.bytes } : null;
    if (!this.last) {
      this.damaged('opened is gone again');
      return;
    }
    if (rules.readsAfterOpened) this.replay();
    else replayRecord(this.state, readRecord(this.last.bytes), this.last.sequence, recordHash(this.last.bytes));
    if (this.phase === 'dead') return;
    if (rules.readsWitnesses && !rules.readsWitnessesBeforeOpened && !this.checkLate()) return;
    this.world.serves(this.node, this.remembered);
    this.remember(this.state);
    this.phase = 'serving';
  }

  /** Wrong on purpose: the witnesses are looked at only now, when `opened` has taken the place of what may be lost. */
  private checkLate(): boolean {
    const ahead = this.readWitnesses().find(
      (witness) => witness.logId === this.world.logId && witness.sequence > this.state.sequence,
    );
    if (ahead) this.damaged(`${ahead.sequence} is missing`);
    return !ahead;
  }

  submit(id: string): void {
    if (this.phase !== 'serving') return;
    const { state } = this;
    const batch = batchOf([{ account: 'hot', id, amount: 1n, timestamp: 1, stamped: false }]);
    const sequence = state.sequence + 1;
    const decision = decide(state, { batch, now: 1, maxClockSkewMicros: 0, ownedSlots: OWNED, sequence });
    const status = decision.statuses[0] === RowStatus.duplicate ? 'duplicate' : 'stored';
    const answer = (): void => this.world.answer(id, status, this.assignment);
    if (decision.event) {
      this.events.push(decision.event);
      evolve(state, decision.event, sequence);
      this.answers.push(answer);
      this.flush();
      return;
    }
    // A duplicate rests on a record that may still be in flight.
    const restsOn = this.events.length > 0 ? this.answers : this.inFlight.at(-1)?.answers;
    if (restsOn && this.world.rules.answersAfterAck) restsOn.push(answer);
    else answer();
  }

  private flush(): void {
    if (this.events.length === 0 || this.inFlight.length >= this.world.rules.recordsInFlight) return;
    const { state } = this;
    const bytes = sealRecord(state, this.events, this.assignment);
    const record = this.publish(bytes, state.sequence, state.number + 1, this.answers);
    endRecord(state, record);
    this.inFlight.push(record);
    this.events = [];
    this.answers = [];
  }

  receive({ publish, answer }: Reply<LogWriter>): void {
    if (this.phase === 'dead') return;
    if (this.phase === 'opening' && publish === this.opened?.publish) {
      if ('wrongLast' in answer) this.phase = 'witnesses';
      else this.phase = 'replay';
      return;
    }
    const at = this.inFlight.findIndex((record) => record.publish === publish);
    if (at < 0) return;
    if ('wrongLast' in answer) {
      this.die();
      return;
    }
    const [record] = this.inFlight.splice(at, 1);
    if (!record) return;
    // The witness first, then the answers.
    this.remember(record);
    for (const answer of record.answers) answer();
    this.flush();
  }

  /** A publish was not answered in time: it can't be told whether it is stored. */
  timeOut(): void {
    if (this.phase === 'opening' || this.inFlight.length > 0) this.die();
  }

  heartbeat(): void {
    if (!this.acked) return;
    const before = this.where.heartbeat;
    if (!before || before.assignment <= this.assignment) this.where.heartbeat = this.acked;
  }

  private remember({ sequence, number, hash }: { sequence: number; number: number; hash: string }): void {
    const { assignment, world } = this;
    const from = `the file of node ${this.node}`;
    const witness = { from, logId: this.state.logId, assignment, sequence, number, hash };
    this.acked = witness;
    this.where.remembers.set(assignment, witness);
    this.where.files.set(world.rules.namesWitnessesByAssignment ? assignment : 0, witness);
  }
}
