/** A shard's process: what packages/node/src/shard/shard-process.ts puts together, over the model's ports. */
import {
  changeShard,
  type Migration,
  Names,
  ReplyCode,
  raiseAssignment,
  type ShardState,
  shardOf,
  type Witness,
  writeSubmitRefusal,
} from '@spill/core';
import type { Tuning } from '@spill/node';
import type { Shard } from '../../../packages/node/dist/shard/shard.js';
import type { TopologyView } from '../../../packages/node/dist/shard/topology-view.js';
import type { Outside } from './ports.js';
import type { Actor } from './virtual-runtime.js';

export const NODE = 'node-a';
const NAMES = new Names();

export const TUNING: Tuning = {
  recordBytesMax: 512 * 1024,
  pendingBytesMax: 2 ** 30,
  idsMax: 20_000_000,
  dedupeWindowMs: 4_000,
  dedupeWindowMinMs: 1_000,
  maxClockSkewMs: 3_600_000,
  logRetentionMs: 86_400_000,
  logRetentionBytes: null,
  foldAgeMs: 1_500,
  foldCount: 10_000,
  directAfterMs: 500,
  maxPauseMs: 100,
  coolDownMs: 30_000,
  leaseTtlMs: 5_000,
  nodeSilenceMs: 5_000,
  heartbeatMs: 1_000,
  shardGrowthThreshold: 0.7,
  shardShrinkThreshold: 0.2,
};

/** What is left of a process on its machine. */
export interface WitnessModel {
  readonly shard: number;
  witness: Witness;
}

export interface ShardSurroundings {
  readonly outside: Outside;
  readonly witnesses: WitnessModel[];
  /** The process has said that its log is damaged. */
  damaged(shard: ShardActor, reason: string): void;
  /** The process ends by itself, for a reason that is none of the world's doing. */
  broke(shard: ShardActor, error: Error): void;
}

export class ShardActor implements Actor {
  alive = true;
  deaf = false;
  phase: 'opening' | 'serving' | 'fold_only' | 'damaged' | 'dead' = 'opening';
  readonly name: string;
  readonly assignment: number;
  state: ShardState | null = null;
  shard: Shard | null = null;
  view: TopologyView | null = null;
  ending = '';
  /** Its last acknowledged record. */
  acknowledged = 0;

  constructor(
    readonly id: number,
    private readonly around: ShardSurroundings,
  ) {
    const { outside } = around;
    const topology = outside.changeNow((before) => raiseAssignment(before, id, NODE));
    this.assignment = shardOf(topology, id)!.assignment;
    this.name = `shard ${id}.${this.assignment}`;
    this.listen();
    this.run().catch((error: Error) => this.fail(error));
  }

  /** The newest of its shard that there is. */
  get isNewest(): boolean {
    return shardOf(this.around.outside.topology, this.id)?.assignment === this.assignment;
  }

  kill(ending = 'killed'): void {
    if (this.phase !== 'dead') this.ending = ending;
    this.alive = false;
    this.phase = 'dead';
  }

  private fail(error: Error): void {
    if (!this.alive) return;
    this.kill(error.message);
    // Time-outs of NATS and of the log are the world's doing: the process exits and is started again.
    const passes =
      error.name === 'NatsError' || error.name === 'LogRefusesError' || /was not answered/.test(error.message);
    if (!passes) this.around.broke(this, error);
  }

  private listen(): void {
    const { outside } = this.around;
    const { answering } = outside.lib;
    const { id, assignment } = this;
    const whyNot = (): string => this.shard?.whyNot ?? `the shard is ${this.phase}`;
    outside.listeners.set(NAMES.shard(id, assignment, 'submit'), {
      actor: this,
      handle: (body, respond) => {
        if (this.shard?.takesTransactions) this.shard.commit.submit(body, respond);
        else respond(writeSubmitRefusal(ReplyCode.unavailable, whyNot()));
      },
    });
    outside.listeners.set(NAMES.shard(id, assignment, 'ask'), {
      actor: this,
      handle: (body, respond) => {
        if (!this.shard || this.shard.damaged) {
          respond(answering.packAnswer({ answer: 'unavailable', message: whyNot() }));
          return;
        }
        answering.answerQuestion(body, this.shard.questionPorts()).then(respond, (error: Error) => this.fail(error));
      },
    });
  }

  private async run(): Promise<void> {
    const { outside, witnesses } = this.around;
    const { lib } = outside;
    const log = outside.log(this, this.id);
    const marks = new lib.RecordMarks();
    const topologies = outside.store(this);
    const opened = await lib.openShard({
      log,
      topologies,
      shard: this.id,
      assignment: this.assignment,
      witnesses: () => witnesses.filter(({ shard }) => shard === this.id).map(({ witness }) => witness),
      onReplayed: (message, record, hash) => {
        const rows = record.events.reduce((sum, event) => sum + (event.type === 'stored' ? event.count : 0), 0);
        const { sequence, bytes } = message;
        marks.add({ sequence, number: record.number, hash, rows, bytes: bytes.byteLength, now: performance.now() });
      },
      report: () => {},
    });
    if (!this.alive) return;
    if (opened.outcome === 'superseded') return this.kill('superseded');
    if (opened.outcome === 'damaged') return this.damage(opened.missing);
    const view = new lib.TopologyView(opened.topology, topologies, this.id, (entry) => {
      if (entry.assignment > this.assignment) this.kill('superseded');
      else this.shard?.topologyChanged();
    });
    this.view = view;
    this.state = opened.state;
    const nc = outside.connection(this);
    const refolding = new lib.RefoldingMark(topologies, this.id, this.assignment, (newest) => view.take(newest));
    this.shard = new lib.Shard(
      {
        state: opened.state,
        foldOnly: opened.outcome === 'fold_only',
        assignment: this.assignment,
        lastRecordTime: opened.lastRecordTime,
        rebasedAt: opened.rebasedAt,
        log,
        marks,
        view,
        topologies,
        table: outside.dataTable(this),
        embedded: true,
        witness: this.witness() as never,
        tuning: TUNING,
        dataDir: '',
        replayMs: 0,
        askForChunk: (migration: Migration, stream: number, chunk: number) =>
          lib.askForChunk(nc, NAMES, view, migration, stream, chunk),
      },
      {
        damaged: (reason) => this.damage(reason),
        superseded: (detail) => this.kill(`superseded: ${detail}`),
        failed: (error) => this.fail(error),
        refolding: (said) => {
          refolding.say(said).catch((error: Error) => this.fail(error));
        },
        warn: () => {},
      },
    );
    this.phase = opened.outcome;
    this.shard.start();
    for (const other of witnesses.splice(0)) {
      if (other.shard !== this.id || other.witness.assignment >= this.assignment) witnesses.push(other);
    }
    await topologies.watch(
      ({ topology }) => view.take(topology),
      () => {},
    );
  }

  private witness() {
    const { witnesses } = this.around;
    const entry: WitnessModel = {
      shard: this.id,
      witness: { from: 'a file', logId: '', assignment: this.assignment, sequence: 0, number: 0, hash: '' },
    };
    return {
      write: (record: { logId: string; sequence: number; number: number; hash: string }) => {
        if (!this.alive) return;
        this.acknowledged = record.sequence;
        entry.witness = { from: 'a file', assignment: this.assignment, ...record };
        if (!witnesses.includes(entry)) witnesses.push(entry);
      },
      sync: () => {},
    };
  }

  private damage(reason: string): void {
    if (!this.alive) return;
    this.phase = 'damaged';
    const { outside } = this.around;
    outside.changeNow((topology) =>
      shardOf(topology, this.id)?.assignment === this.assignment
        ? changeShard(topology, this.id, { state: 'damaged', reason })
        : null,
    );
    this.around.damaged(this, reason);
  }
}
