/** With no attempt for so long, nothing is known about the time between. */
const UNSEEN_MS_MAX = 1_000;

/** For how long every attempt at a shard's process has met no responders. Times are monotonic, milliseconds. */
export class Reachability {
  private assignment = -1;
  private since = 0;
  private last = 0;

  /** An attempt at the process of an assignment met no responders. A process newly started counts from its start. */
  noResponders(assignment: number, now: number): void {
    if (assignment !== this.assignment || now - this.last > UNSEEN_MS_MAX) this.since = now;
    this.assignment = assignment;
    this.last = now;
  }

  /** Something listens. */
  reachable(): void {
    this.assignment = -1;
  }

  unreachableMs(assignment: number): number {
    return assignment === this.assignment ? this.last - this.since : 0;
  }
}
