import type { NatsConnection } from '../nats/connect.js';

const PROBE_MS = 50;

/**
 * How long a message waits now before this process gets to it: behind what the server holds for it, what lies in the
 * socket, and what is being worked on. Told by the server's answer to a ping, which comes in the same order as all else.
 */
export class InboundLag {
  private lastMs = 0;
  private sentAt: number | null = null;
  private readonly timer: NodeJS.Timeout;

  constructor(private readonly nc: Pick<NatsConnection, 'rtt'>) {
    this.timer = setInterval(() => this.probe(), PROBE_MS);
  }

  /** Milliseconds: of the last ping that was answered, or of the one that is not answered yet where that is more. */
  get ms(): number {
    return this.sentAt === null ? this.lastMs : Math.max(this.lastMs, performance.now() - this.sentAt);
  }

  stop(): void {
    clearInterval(this.timer);
  }

  private probe(): void {
    if (this.sentAt !== null) return;
    this.sentAt = performance.now();
    this.nc.rtt().then(
      (ms) => this.told(ms),
      // The connection is away, and with it what waited.
      () => this.told(0),
    );
  }

  private told(ms: number): void {
    this.lastMs = ms;
    this.sentAt = null;
  }
}
