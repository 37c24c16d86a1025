import {
  type CopyChunk,
  decideSeal,
  decideSettled,
  type Migration,
  type MigrationAsk,
  type ShardEvent,
  type ShardState,
  type SourceReport,
  type TargetReport,
} from '@spill/core';
import { MigrationSource } from './migration-source.js';
import { MigrationTarget } from './migration-target.js';

export interface MigrationPorts {
  acknowledged(): { place: number; sequence: number };
  /** The migrations of the newest topology taken up. */
  migrations(): readonly Migration[];
  control(decide: (sequence: number) => readonly ShardEvent[]): Promise<number>;
  /** Asks another shard's present process. */
  askForChunk(migration: Migration, stream: number, chunk: number): Promise<CopyChunk | null>;
}

/** The migrations that this shard is a part of, at work. What its log says of them is in its state. */
export class Migrations {
  private readonly sources = new Map<number, MigrationSource>();
  private readonly targets = new Map<number, MigrationTarget>();
  /** Another process of this shard must not continue a stream of this one. */
  private stream = Math.floor(Math.random() * 2 ** 31);

  constructor(
    private readonly state: ShardState,
    private readonly ports: MigrationPorts,
  ) {}

  /** While something is copied from here, the horizon stands still. */
  get holdHorizon(): boolean {
    for (const source of this.sources.values()) if (source.holdsHorizon) return true;
    return false;
  }

  /** A chunk for a target; null: this shard is not the source of such a migration just now. */
  chunk(id: number, stream: number, chunk: number): CopyChunk | null {
    return this.sourceOf(id)?.copy(stream, chunk) ?? null;
  }

  /** Does one step for the supervisor. */
  async step(id: number, ask: MigrationAsk): Promise<void> {
    switch (ask.step) {
      case 'copy':
        await this.targetOf(id)?.copy();
        break;
      case 'seal':
        await this.seal(id);
        break;
      case 'finish':
        await this.targetOf(id)?.finish(ask.sealedSequence, ask.horizon);
        break;
      case 'settle':
        await this.settle();
        break;
      case 'report':
        break;
    }
  }

  /** Logs the topology's word on every migration of this shard that has an outcome. */
  async settle(): Promise<void> {
    await this.ports.control(() => decideSettled(this.state, this.ports.migrations()));
    for (const [id, source] of this.sources) {
      if (!this.isSettled(id)) continue;
      source.end();
      this.sources.delete(id);
    }
    for (const id of this.targets.keys()) if (this.isSettled(id)) this.targets.delete(id);
  }

  private async seal(id: number): Promise<void> {
    const source = this.sourceOf(id);
    if (!source) return;
    await this.ports.control(() => {
      const certificate = source.certificate();
      return certificate ? decideSeal(this.state, this.find(id), certificate) : [];
    });
  }

  /**
   * Where things stand in memory: to be said once everything decided by now is acknowledged. A successor may fence what is
   * not: a migration would else end on a seal or an outcome that no log holds.
   */
  report(id: number): { source: SourceReport | null; target: TargetReport | null } {
    const migration = this.find(id);
    const { seals, adoptions } = this.state.small;
    const settled = this.isSettled(id);
    const seal = seals.find((other) => other.migration === id);
    const source: SourceReport = {
      sealed: seal ? { horizon: seal.horizon, count: seal.count, digest: seal.digest, sequence: seal.sequence } : null,
      settled,
      sequence: this.ports.acknowledged().sequence,
    };
    const work = this.targets.get(id);
    const target: TargetReport = {
      copiedTo: work?.copiedTo ?? 0,
      tailRows: work?.tailRows ?? 0,
      ready: adoptions.find((mark) => mark.migration === id)?.ready ?? null,
      settled,
    };
    return {
      source: migration?.source === this.state.shard ? source : null,
      target: migration?.target === this.state.shard ? target : null,
    };
  }

  private sourceOf(id: number): MigrationSource | null {
    const migration = this.find(id);
    if (migration?.state !== 'copying' || migration.source !== this.state.shard || this.isSettled(id)) return null;
    let source = this.sources.get(id);
    if (!source || (!source.holdsHorizon && source.horizon !== this.state.small.horizon)) {
      // A source that was given up let the horizon go on: its sums are of a set with another edge.
      source?.end();
      source = new MigrationSource(
        this.state,
        migration,
        () => this.ports.acknowledged(),
        () => ++this.stream,
      );
      this.sources.set(id, source);
    }
    return source;
  }

  private targetOf(id: number): MigrationTarget | null {
    const migration = this.find(id);
    if (migration?.state !== 'copying' || migration.target !== this.state.shard || this.isSettled(id)) return null;
    let target = this.targets.get(id);
    if (!target) {
      target = new MigrationTarget(this.state, {
        ask: (stream, chunk) => this.ports.askForChunk(migration, stream, chunk),
        control: (decide) => this.ports.control(decide),
        current: () => this.find(id),
      });
      this.targets.set(id, target);
    }
    return target;
  }

  private find(id: number): Migration | undefined {
    return this.ports.migrations().find((migration) => migration.id === id);
  }

  private isSettled(id: number): boolean {
    return this.state.small.settled.includes(id);
  }
}
