/**
 * What a JetStream stream does, as far as spill's log rests on it: seen on real servers by
 * test/integration/jetstream-promises.test.ts, and here free to do it in any order.
 *
 * A publish is under way until it is delivered or dropped, whatever its sender has given up on meanwhile: a paused
 * server stores it later, a broken connection never. Its answer is under way after that, and may be lost as well.
 */
export interface Publish<Sender> {
  readonly sender: Sender;
  readonly bytes: Uint8Array;
  /** null: without `Nats-Expected-Last-Sequence`. */
  readonly expectedLast: number | null;
}

export type PublishAnswer = { readonly sequence: number } | { readonly wrongLast: number };

export interface Reply<Sender> {
  readonly publish: Publish<Sender>;
  readonly answer: PublishAnswer;
}

export class JetStreamModel<Sender> {
  private messages: Uint8Array[] = [];
  firstSequence = 1;
  readonly publishes: Publish<Sender>[] = [];
  readonly replies: Reply<Sender>[] = [];

  get lastSequence(): number {
    return this.firstSequence + this.messages.length - 1;
  }

  get(sequence: number): Uint8Array | undefined {
    return this.messages[sequence - this.firstSequence];
  }

  last(): { readonly sequence: number; readonly bytes: Uint8Array } | null {
    const bytes = this.messages.at(-1);
    return bytes ? { sequence: this.lastSequence, bytes } : null;
  }

  /** All that is stored, in order. */
  read(): { readonly sequence: number; readonly bytes: Uint8Array }[] {
    return this.messages.map((bytes, i) => ({ sequence: this.firstSequence + i, bytes }));
  }

  publish(publish: Publish<Sender>): void {
    this.publishes.push(publish);
  }

  /** The publish reaches the server, which stores it or refuses it. `again`: and will reach it once more. */
  deliver(at: number, again = false): PublishAnswer | null {
    const publish = this.publishes[at];
    if (!publish) return null;
    if (!again) this.publishes.splice(at, 1);
    const answer = this.store(publish);
    this.replies.push({ publish, answer });
    return answer;
  }

  dropPublish(at: number): void {
    this.publishes.splice(at, 1);
  }

  takeReply(at: number): Reply<Sender> | undefined {
    return this.replies.splice(at, 1)[0];
  }

  /** JetStream's own words: everything below `sequence` goes; 0 and 1 empty it; above the last it empties and jumps. */
  purge(sequence: number): void {
    const last = this.lastSequence;
    if (sequence <= 1 || sequence > last) {
      this.messages = [];
      this.firstSequence = Math.max(sequence, last + 1);
      return;
    }
    if (sequence <= this.firstSequence) return;
    this.messages.splice(0, sequence - this.firstSequence);
    this.firstSequence = sequence;
  }

  /** The newest `count` messages are gone: a replica with a shorter log was made leader. */
  truncate(count: number): void {
    this.messages.splice(Math.max(0, this.messages.length - count));
  }

  /** Another folder under the same name: an older one, another stream's, an empty one. */
  replace(messages: readonly Uint8Array[]): void {
    this.messages = [...messages];
    this.firstSequence = 1;
  }

  private store(publish: Publish<Sender>): PublishAnswer {
    if (publish.expectedLast !== null && publish.expectedLast !== this.lastSequence) {
      return { wrongLast: this.lastSequence };
    }
    this.messages.push(publish.bytes);
    return { sequence: this.lastSequence };
  }
}
