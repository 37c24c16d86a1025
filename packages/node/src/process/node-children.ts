/**
 * The processes of one node: a router, and one a shard that the topology assigns to it.
 *
 * ```
 *   topology ──▶ shards assigned here ──▶ ChildSupervisor each ──▶ raise (compare-and-set) ──▶ fork
 *                                             │ heartbeats
 *                                             └──▶ witness in the heartbeat bucket, figures for the supervisor
 * ```
 */
import {
  changeShard,
  markRetiredDamaged,
  needsProcess,
  raiseAssignment,
  type ShardEntry,
  type ShardStatus,
  shardOf,
  type Topology,
  TopologyConflictError,
} from '@spill/core';
import pRetry from 'p-retry';
import type { HeartbeatStore } from '../nats/heartbeat-store.js';
import type { StoredTopology, TopologyStore } from '../nats/topology-store.js';
import type { ChildRecords } from './child-records.js';
import { ChildSupervisor } from './child-supervisor.js';
import { newerWitness, witnessOf } from './heartbeat-witness.js';
import type { HeartbeatWitness, StartRouter, StartShard } from './messages.js';
import type { NodeLog } from './node-log.js';
import type { ChildAction, ChildState } from './restart-policy.js';

export interface NodeChildrenOptions {
  readonly node: string;
  readonly topology: TopologyStore;
  readonly heartbeats: HeartbeatStore;
  readonly records: ChildRecords;
  readonly log: NodeLog;
  readonly shardScript: URL;
  readonly routerScript: URL;
  readonly heartbeatMs: number;
  /** All that `start` carries except what differs from one process to the next. */
  startRouter(): StartRouter;
  /** `shardsHere`: how many share this machine's disk. */
  startShard(shardsHere: number): Omit<StartShard, 'shard' | 'assignment' | 'witness'>;
  natsAway(): boolean;
  /** Some child changed its state. */
  onStateChange(): void;
}

/** One process as an operator sees it. */
export interface ChildSnapshot {
  readonly role: 'router' | 'shard';
  /** null: the router. */
  readonly shard: number | null;
  readonly pid: number | null;
  readonly state: ChildState['name'];
  /** The last heartbeat of the present process; null: none yet. */
  readonly status: ShardStatus | null;
}

interface ShardChild {
  readonly supervisor: ChildSupervisor;
  status: ShardStatus | null;
  /** The newest that this node has heard, of whatever process of the shard. */
  witness: HeartbeatWitness | null;
  writtenSequence: number;
  writing: boolean;
  marks: Promise<void>;
}

type Mark = Extract<ChildAction, { action: `mark_${string}` }>;

export class NodeChildren {
  private readonly shards = new Map<number, ShardChild>();
  private readonly router: ChildSupervisor;
  private readonly timer: NodeJS.Timeout;
  /** Processes of shards that other nodes run now, until they have ended. */
  private readonly leaving = new Set<ChildSupervisor>();
  private draining = false;

  constructor(private readonly options: NodeChildrenOptions) {
    let starts = 0;
    this.router = new ChildSupervisor({
      script: options.routerScript,
      label: 'router',
      records: options.records,
      log: options.log,
      // A router has no assignment to raise: any number of them may run.
      raise: async () => ({ outcome: 'raised', assignment: ++starts, start: options.startRouter() }),
      natsAway: options.natsAway,
      onMessage: () => {},
      onStateChange: options.onStateChange,
      mark: () => {},
    });
    this.timer = setInterval(() => void this.writeWitnesses(), options.heartbeatMs);
  }

  /** Starts the router, and the shards as the topology says. */
  start(topology: Topology): void {
    this.router.want();
    this.apply(topology);
  }

  /** Follows a newer topology. */
  apply(topology: Topology): void {
    if (this.draining) return;
    for (const entry of topology.shards) {
      const here = entry.node === this.options.node && needsProcess(entry);
      const child = this.shards.get(entry.id);
      if (!here && child) this.leave(entry.id, child);
      else if (!here) continue;
      else if (child) {
        child.supervisor.want();
        child.supervisor.topologySays(entry.assignment);
      } else this.add(entry);
    }
  }

  /** Whether transactions can be taken: the router serves, and every shard does or is known not to. */
  get ready(): boolean {
    const settled = (state: ChildState['name']): boolean =>
      state === 'serving' || state === 'damaged' || state === 'failed' || state === 'absent';
    return (
      this.router.state.name === 'serving' &&
      [...this.shards.values()].every((child) => settled(child.supervisor.state.name))
    );
  }

  snapshot(): ChildSnapshot[] {
    const routers: ChildSnapshot = {
      role: 'router',
      shard: null,
      pid: this.router.pid ?? null,
      state: this.router.state.name,
      status: null,
    };
    const shards = [...this.shards].map(([shard, child]): ChildSnapshot => {
      const { supervisor, status } = child;
      return { role: 'shard', shard, pid: supervisor.pid ?? null, state: supervisor.state.name, status };
    });
    return [routers, ...shards];
  }

  /** The router first, so that nothing new comes; then the shards. True where none had to be ended by force. */
  async drain(): Promise<boolean> {
    this.draining = true;
    const router = await this.router.drain();
    const supervisors = [...[...this.shards.values()].map((child) => child.supervisor), ...this.leaving];
    const shards = await Promise.all(supervisors.map((supervisor) => supervisor.drain()));
    clearInterval(this.timer);
    await this.writeWitnesses();
    return router && shards.every(Boolean);
  }

  /** Ends all at once. */
  async end(): Promise<void> {
    this.draining = true;
    clearInterval(this.timer);
    const shards = [...this.shards.values()].map((child) => child.supervisor);
    await Promise.all([this.router, ...shards, ...this.leaving].map((supervisor) => supervisor.end()));
  }

  /**
   * Another node runs it now. What is in flight is answered; the process ends by itself at the latest when its successor
   * opens the log.
   */
  private leave(shard: number, child: ShardChild): void {
    this.shards.delete(shard);
    this.leaving.add(child.supervisor);
    child.supervisor
      .drain()
      .then(() => this.writeWitness(shard, child))
      .finally(() => this.leaving.delete(child.supervisor));
  }

  private add(entry: ShardEntry): void {
    const { options } = this;
    const shard = entry.id;
    const child: ShardChild = {
      supervisor: new ChildSupervisor({
        script: options.shardScript,
        label: `shard ${shard}`,
        records: options.records,
        log: options.log,
        marked: entry.state === 'failed',
        raise: () => this.raise(shard),
        natsAway: options.natsAway,
        onMessage: (message) => {
          if (message.type !== 'heartbeat' || !message.status) return;
          child.status = message.status;
          child.witness = newerWitness(witnessOf(message.status, new Date()), child.witness);
        },
        onStateChange: () => {
          // What the process before said is not what this one is.
          if (child.supervisor.state.name === 'starting') child.status = null;
          options.onStateChange();
        },
        mark: (mark) => {
          child.marks = child.marks.then(() => this.mark(shard, child, mark));
        },
      }),
      status: null,
      witness: null,
      writtenSequence: 0,
      writing: false,
      marks: Promise.resolve(),
    };
    this.shards.set(shard, child);
    child.supervisor.want();
  }

  private async raise(shard: number): ReturnType<ConstructorParameters<typeof ChildSupervisor>[0]['raise']> {
    const { options } = this;
    // What is sent while the connection is away is dropped, and would only be waited for.
    if (options.natsAway()) return { outcome: 'unavailable', detail: 'the connection is away' };
    let stored: StoredTopology;
    let witness: HeartbeatWitness | null;
    try {
      stored = await options.topology.change((topology) => raiseAssignment(topology, shard, options.node));
      // Before the process reads its log: a witness read after it could look newer and cry damage falsely.
      witness = newerWitness(await options.heartbeats.read(shard), this.shards.get(shard)?.witness ?? null);
    } catch (error) {
      if (error instanceof TopologyConflictError) return { outcome: 'refused' };
      return { outcome: 'unavailable', detail: (error as Error).message };
    }
    const { assignment } = shardOf(stored.topology, shard) as ShardEntry;
    return {
      outcome: 'raised',
      assignment,
      start: { ...options.startShard(this.shards.size), shard, assignment, witness },
    };
  }

  /** Puts into the topology what a shard has come to, as long as nobody has raised its assignment meanwhile. */
  private async mark(shard: number, child: ShardChild, mark: Mark): Promise<void> {
    const { assignment } = child.supervisor;
    const change = (topology: Topology): Topology | null => {
      const entry = shardOf(topology, shard);
      if (!entry || entry.node !== this.options.node || entry.assignment !== assignment) return null;
      switch (mark.action) {
        case 'mark_failed':
          return entry.state === 'open' ? changeShard(topology, shard, { state: 'failed', reason: mark.reason }) : null;
        case 'mark_recovered':
          return entry.state === 'failed' ? changeShard(topology, shard, { state: 'open' }) : null;
        case 'mark_damaged':
          if (entry.state === 'retired') return markRetiredDamaged(topology, shard, mark.reason);
          if (entry.state === 'damaged' && entry.reason === mark.reason) return null;
          return changeShard(topology, shard, { state: 'damaged', reason: mark.reason });
      }
    };
    try {
      await pRetry(() => this.options.topology.change(change), {
        retries: Number.POSITIVE_INFINITY,
        minTimeout: 250,
        maxTimeout: 5_000,
        shouldRetry: () => !this.draining && child.supervisor.assignment === assignment,
      });
    } catch (error) {
      this.options.log.warn(`shard ${shard}: the topology could not be told (${(error as Error).message})`);
    }
  }

  private async writeWitnesses(): Promise<void> {
    await Promise.all([...this.shards].map(([shard, child]) => this.writeWitness(shard, child)));
  }

  private async writeWitness(shard: number, child: ShardChild): Promise<void> {
    const { witness } = child;
    // One write at a time, or an older witness could be the last to arrive.
    if (!witness || child.writing || witness.sequence === child.writtenSequence) return;
    child.writing = true;
    try {
      await this.options.heartbeats.write(shard, witness);
      child.writtenSequence = witness.sequence;
    } catch (error) {
      // Written again with the next heartbeat; meanwhile the shard's own file is the witness.
      this.options.log.debug(`shard ${shard}: its witness could not be stored (${(error as Error).message})`);
    } finally {
      child.writing = false;
    }
  }
}
