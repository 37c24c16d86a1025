import { setImmediate as turn } from 'node:timers/promises';
import {
  decideReady,
  decideSeal,
  idHashKey,
  initialShardState,
  type Migration,
  type ShardAnswer,
  type ShardEvent,
  type ShardState,
  slotOf,
} from '@spill/core';
import { Packr } from 'msgpackr';
import { describe, expect, test } from 'vitest';
import { answerQuestion, type QuestionPorts } from '../../packages/node/src/shard/answer-questions.js';
import { GroupCommit } from '../../packages/node/src/shard/group-commit.js';
import { Migrations } from '../../packages/node/src/shard/migrations.js';

/**
 * What a shard says of a migration rests on its log alone: a supervisor commits on the word `ready`, and takes the
 * migration out of the topology on the word `settled`.
 */
const codec = new Packr({ useRecords: false });
const CERTIFICATE = { horizon: 0, count: 0, digest: '0'.repeat(32) };
const COPYING: Migration = {
  id: 7,
  pool: 'credit',
  slots: [{ from: 0, to: 9 }],
  source: 1,
  target: 2,
  state: 'copying',
};

type Stored = { outcome: 'stored' | 'refused'; detail?: string };

/** A shard of which only the intake is at work, with a log that answers when it is told to. */
class Intake {
  readonly state: ShardState;
  readonly commit: GroupCommit;
  readonly appended: ((outcome: Stored) => void)[] = [];
  private readonly ports: QuestionPorts;

  constructor(shard: number) {
    const key = idHashKey('0123456789abcdef'.repeat(4));
    this.state = initialShardState({ shard, pool: 'credit', largeThreshold: 1_000n, idHashKey: key, slotOf });
    this.state.logId = 'a'.repeat(32);
    const max = Number.MAX_SAFE_INTEGER;
    this.commit = new GroupCommit(
      this.state,
      1,
      { recordBytesMax: max, waitingBytesMax: max, pendingBytesMax: max, idsMax: max, maxClockSkewMicros: max },
      {
        append: () => new Promise((resolve) => this.appended.push(resolve)),
        housekeeping: () => [],
        ownedSlots: () => new Uint8Array(1024),
        pendingBytes: () => 0,
        onAcknowledged: () => {},
        askLedger: async () => [],
        onFatal: (_, detail) => {
          throw new Error(detail);
        },
        onRefusing: () => {},
      },
    );
    const acknowledged = (): number => this.state.sequence - (this.appended.length > 0 ? 1 : 0);
    this.ports = {
      state: this.state,
      migrations: new Migrations(this.state, {
        acknowledged: () => ({ place: 0, sequence: acknowledged() }),
        migrations: () => [COPYING],
        control: (decide) => this.commit.control(decide),
        askForChunk: async () => null,
      }),
      acknowledged,
      atEpoch: async (epoch: number) => epoch,
      whenAcknowledged: (callback: (acknowledged: boolean) => void) => this.commit.whenAcknowledged(callback),
    } as Partial<QuestionPorts> as QuestionPorts;
  }

  /** Decides an event, and leaves its record on the way to the log. */
  async decide(event: () => readonly ShardEvent[]): Promise<void> {
    void this.commit.control(event);
    await turn();
    await turn();
    expect(this.appended).toHaveLength(1);
  }

  async ask(question: object): Promise<ShardAnswer> {
    return codec.unpack(await answerQuestion(codec.pack({ epoch: 1, ...question }), this.ports)) as ShardAnswer;
  }
}

const REPORT = { ask: 'migration', migration: COPYING.id, step: { step: 'report' } };

const CASES = [
  {
    word: 'sealed',
    shard: COPYING.source,
    question: REPORT,
    event: (state: ShardState) => decideSeal(state, COPYING, CERTIFICATE),
    said: { answer: 'migration', source: { sealed: { ...CERTIFICATE, sequence: 1 } } },
  },
  {
    word: 'ready',
    shard: COPYING.target,
    question: REPORT,
    event: (state: ShardState) => decideReady(state, COPYING, CERTIFICATE),
    said: { answer: 'migration', target: { ready: CERTIFICATE } },
  },
  {
    word: 'settled',
    shard: COPYING.target,
    question: REPORT,
    event: (): ShardEvent[] => [{ type: 'settled', migration: COPYING.id, outcome: 'committed' }],
    said: { answer: 'migration', target: { settled: true } },
  },
] as const;

describe('a word that a supervisor acts on', () => {
  test.each(CASES)('$word is said once it is acknowledged', async ({ shard, question, event, said }) => {
    const intake = new Intake(shard);
    await intake.decide(() => event(intake.state));
    let answer: ShardAnswer | null = null;
    const answered = intake.ask(question).then((given) => {
      answer = given;
    });
    for (let i = 0; i < 5; i++) await turn();
    expect(answer).toBeNull();
    intake.appended.shift()?.({ outcome: 'stored' });
    await answered;
    expect(answer).toMatchObject(said);
  });

  test.each(CASES)('$word is not said while the log refuses it', async ({ shard, question, event }) => {
    const intake = new Intake(shard);
    await intake.decide(() => event(intake.state));
    const answered = intake.ask(question);
    intake.appended.shift()?.({ outcome: 'refused', detail: 'full' });
    expect(await answered).toMatchObject({ answer: 'unavailable' });
    intake.commit.stop();
  });
});
