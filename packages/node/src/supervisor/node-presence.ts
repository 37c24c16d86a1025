/**
 * Which nodes live. Every node asks every other one each second, on NATS and not through JetStream, so that nothing is
 * written for it and each supervisor knows who is silent before it becomes the active one.
 *
 * A node that cannot tell others' silence from its own deafness lets nobody die: where it stood still itself, or neither
 * heard a majority nor could read the topology, everyone's time begins anew.
 */
import type { Names, Topology } from '@spill/core';
import type { NatsConnection } from '../nats/connect.js';
import { type Requester, requesterOf } from '../nats/request.js';
import { serveSubject } from '../nats/serve-subject.js';

export interface NodePresenceOptions {
  readonly nc: NatsConnection;
  readonly names: Names;
  readonly node: string;
  readonly session: string;
  readonly silenceMs: number;
  topology(): Promise<Topology>;
  /** Whether this node's supervisor is the active one. */
  active(): boolean;
}

export interface PresenceAnswer {
  readonly node: string;
  readonly session: string;
  readonly active: boolean;
}

const ROUND_MS = 1_000;
const ANSWER_MS = 900;
/** A round that begins this much later than it should shows that this process stood still. */
const STALL_MS = 2_500;

export class NodePresence {
  private readonly heardAt = new Map<string, number>();
  private last: Topology | null = null;
  private isolated = false;
  private roundAt = performance.now();
  private timer: NodeJS.Timeout | null = null;
  private served: { drain(): Promise<void> } | null = null;
  private readonly request: Requester;

  constructor(private readonly options: NodePresenceOptions) {
    this.request = requesterOf(options.nc);
  }

  start(topology: Topology): void {
    this.last = topology;
    this.forgive();
    const { nc, names, node, session } = this.options;
    this.served = serveSubject(nc, names.node(node, 'alive'), (_, respond) => {
      const answer: PresenceAnswer = { node, session, active: this.options.active() };
      respond(Buffer.from(JSON.stringify(answer)));
    });
    this.timer = setInterval(() => void this.round(), ROUND_MS);
  }

  async stop(): Promise<void> {
    if (this.timer) clearInterval(this.timer);
    await this.served?.drain();
  }

  /**
   * The nodes that were heard of within `silenceMs`, this one among them. One that is seen in a topology for the first
   * time has as long to be heard of: nobody is dead because nobody has asked yet.
   */
  alive(topology: Topology | null = this.last): Set<string> {
    const { node, silenceMs } = this.options;
    const now = performance.now();
    // Right after a standstill the round that forgives it may not have come yet.
    if (now - this.roundAt > STALL_MS) this.forgive();
    for (const { name } of topology?.nodes ?? []) if (!this.heardAt.has(name)) this.heardAt.set(name, now);
    const heard = [...this.heardAt].filter(([, at]) => now - at < silenceMs).map(([name]) => name);
    return new Set([node, ...heard]);
  }

  private async round(): Promise<void> {
    const now = performance.now();
    if (now - this.roundAt > STALL_MS) this.forgive();
    this.roundAt = now;
    const reading = this.options.topology().then(
      (topology) => {
        this.last = topology;
        return true;
      },
      () => false,
    );
    const others = (this.last?.nodes ?? []).filter(({ name }) => name !== this.options.node);
    for (const { name } of others) if (!this.heardAt.has(name)) this.heardAt.set(name, now);
    const answered = await Promise.all(others.map(({ name }) => this.ask(name)));
    const together = 1 + answered.filter(Boolean).length;
    const majority = together * 2 > others.length + 1;
    const read = await reading;
    if (!read && !majority) this.isolated = true;
    else if (read && this.isolated) {
      this.isolated = false;
      this.forgive();
    }
  }

  private async ask(name: string): Promise<boolean> {
    const outcome = await this.request(this.options.names.node(name, 'alive'), new Uint8Array(), {
      timeoutMs: ANSWER_MS,
    });
    if (outcome.outcome !== 'answer') return false;
    this.heardAt.set(name, performance.now());
    return true;
  }

  private forgive(): void {
    const now = performance.now();
    this.roundAt = now;
    for (const name of this.heardAt.keys()) this.heardAt.set(name, now);
  }
}

/** Whether a node of this name answers: then another process must not take it. */
export async function askPresence(nc: NatsConnection, names: Names, node: string): Promise<PresenceAnswer | null> {
  const outcome = await requesterOf(nc)(names.node(node, 'alive'), new Uint8Array(), { timeoutMs: ANSWER_MS });
  if (outcome.outcome !== 'answer') return null;
  return JSON.parse(Buffer.from(outcome.data).toString()) as PresenceAnswer;
}
