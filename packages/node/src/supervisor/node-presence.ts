/**
 * Which nodes live. Every node asks every other one each second, on NATS and not through JetStream, so that nothing is
 * written for it and each supervisor knows who is silent before it becomes the active one. What follows from the answers
 * is core's to say (supervisor/presence.ts).
 */
import { type Names, Presence, type Topology } from '@spill/core';
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

export class NodePresence {
  private readonly presence: Presence;
  private last: Topology | null = null;
  private timer: NodeJS.Timeout | null = null;
  private served: { drain(): Promise<void> } | null = null;
  private readonly request: Requester;

  constructor(private readonly options: NodePresenceOptions) {
    this.request = requesterOf(options.nc);
    this.presence = new Presence(options.node, options.silenceMs, performance.now());
  }

  start(topology: Topology): void {
    this.last = topology;
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

  /** The nodes that live, this one among them. */
  alive(topology: Topology | null = this.last): Set<string> {
    return this.presence.alive(namesOf(topology), performance.now());
  }

  private async round(): Promise<void> {
    const others = namesOf(this.last).filter((name) => name !== this.options.node);
    this.presence.beginRound(others, performance.now());
    const reading = this.options.topology().then(
      (topology) => {
        this.last = topology;
        return true;
      },
      () => false,
    );
    const answers = await Promise.all(others.map((name) => this.ask(name)));
    const answered = answers.filter(Boolean).length;
    const topologyRead = await reading;
    this.presence.endRound({ asked: others.length, answered, topologyRead }, performance.now());
  }

  private async ask(name: string): Promise<boolean> {
    const outcome = await this.request(this.options.names.node(name, 'alive'), new Uint8Array(), {
      timeoutMs: ANSWER_MS,
    });
    if (outcome.outcome !== 'answer') return false;
    this.presence.heard(name, performance.now());
    return true;
  }
}

function namesOf(topology: Topology | null): string[] {
  return (topology?.nodes ?? []).map(({ name }) => name);
}

/** Whether a node of this name answers: then another process must not take it. */
export async function askPresence(nc: NatsConnection, names: Names, node: string): Promise<PresenceAnswer | null> {
  const outcome = await requesterOf(nc)(names.node(node, 'alive'), new Uint8Array(), { timeoutMs: ANSWER_MS });
  if (outcome.outcome !== 'answer') return null;
  return JSON.parse(Buffer.from(outcome.data).toString()) as PresenceAnswer;
}
