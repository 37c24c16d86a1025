/** A shard's log over the model of JetStream, with the times that JetStream stamps, and what everybody ever stored. */
import { readRecord } from '@spill/core';
import { JetStreamModel } from '../jetstream-model.js';
import type { Actor } from './virtual-runtime.js';

export interface StoredMessage {
  readonly sequence: number;
  /** Microseconds. */
  readonly time: number;
  readonly bytes: Uint8Array;
}

export class LogModel {
  readonly stream = new JetStreamModel<Actor>();
  /** A full disk: records are refused, certainly. */
  full = false;
  private readonly times = new Map<number, number>();

  constructor(
    readonly shard: number,
    private readonly onStored: (message: StoredMessage) => void,
  ) {}

  store(sender: Actor, bytes: Uint8Array, expectedLast: number, time: number): { sequence: number } | { last: number } {
    this.stream.publish({ sender, bytes, expectedLast });
    const answer = this.stream.deliver(this.stream.publishes.length - 1);
    this.stream.replies.length = 0;
    if (!answer || 'wrongLast' in answer) return { last: answer?.wrongLast ?? 0 };
    this.times.set(answer.sequence, time);
    this.onStored({ sequence: answer.sequence, time, bytes });
    return answer;
  }

  last(): StoredMessage | null {
    const last = this.stream.last();
    return last && this.message(last);
  }

  get(sequence: number): StoredMessage | null {
    const bytes = this.stream.get(sequence);
    return bytes ? this.message({ sequence, bytes }) : null;
  }

  range(from: number, to: number): StoredMessage[] {
    return this.stream
      .read()
      .filter(({ sequence }) => sequence >= from && sequence <= to)
      .map((entry) => this.message(entry));
  }

  private message({ sequence, bytes }: { sequence: number; bytes: Uint8Array }): StoredMessage {
    return { sequence, bytes, time: this.times.get(sequence) ?? 0 };
  }
}

/** Whether a record stores transactions. */
export function hasRows(bytes: Uint8Array): boolean {
  return readRecord(bytes).events.some(({ type }) => type === 'stored');
}
