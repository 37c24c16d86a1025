/**
 * Which nodes count as alive, from what one of them hears of the others. Pure: times are handed in, in milliseconds of a
 * monotonic clock.
 *
 * ```
 *  heard of ──▶ alive ──silent for `silenceMs`──▶ dead
 *                 ▲                                │
 *                 └── heard of again, or forgiven ◀┘
 * ```
 *
 * A node that can't tell others' silence from its own deafness lets nobody die: where it stood still itself, or neither
 * heard a majority nor could read the topology, everyone's time begins anew.
 */

/** A round that begins this much later than the one before shows that this process stood still. */
export const STALL_MS = 2_500;

export interface PresenceRound {
  /** Nodes asked in this round, this one not among them, and how many of them answered. */
  readonly asked: number;
  readonly answered: number;
  readonly topologyRead: boolean;
}

export class Presence {
  private readonly heardAt = new Map<string, number>();
  private isolated = false;

  constructor(
    private readonly self: string,
    private readonly silenceMs: number,
    private roundAt: number,
  ) {}

  /** A round of questions to these nodes begins. */
  beginRound(nodes: readonly string[], now: number): void {
    this.forgiveStandstill(now);
    this.roundAt = now;
    this.meet(nodes, now);
  }

  heard(node: string, now: number): void {
    this.heardAt.set(node, now);
  }

  endRound({ asked, answered, topologyRead }: PresenceRound, now: number): void {
    const majority = (1 + answered) * 2 > 1 + asked;
    if (!topologyRead && !majority) this.isolated = true;
    else if (topologyRead && this.isolated) {
      this.isolated = false;
      this.forgive(now);
    }
  }

  /**
   * This node, and those of `nodes` that were heard of within `silenceMs`. One that is named for the first time has as
   * long to be heard of: nobody is dead because nobody has asked yet.
   */
  alive(nodes: readonly string[], now: number): Set<string> {
    // The round that would forgive may not have come yet: after a standstill, or just healed.
    this.forgiveStandstill(now);
    if (this.isolated) this.forgive(now);
    this.meet(nodes, now);
    const heard = nodes.filter((name) => now - (this.heardAt.get(name) as number) < this.silenceMs);
    return new Set([this.self, ...heard]);
  }

  private meet(nodes: readonly string[], now: number): void {
    for (const name of nodes) if (!this.heardAt.has(name)) this.heardAt.set(name, now);
  }

  private forgiveStandstill(now: number): void {
    if (now - this.roundAt <= STALL_MS) return;
    this.roundAt = now;
    this.forgive(now);
  }

  private forgive(now: number): void {
    for (const name of this.heardAt.keys()) this.heardAt.set(name, now);
  }
}
