/** The process of one shard. Started by a node with one assignment; ends for good when that is over. */
import { setTimeout as delay } from 'node:timers/promises';
import {
  Names,
  ReplyCode,
  type ShardAnswer,
  type ShardStatus,
  shardOf,
  type Witness,
  writeSubmitRefusal,
} from '@spill/core';
import { openDataTable } from '../data-table/open-data-table.js';
import { connectNats, type NatsConnection } from '../nats/connect.js';
import { JetStreamLog } from '../nats/log.js';
import { logLeadership } from '../nats/log-reachable.js';
import { isNatsAway } from '../nats/nats-away.js';
import { oncePlaced } from '../nats/once-placed.js';
import { serveSubject } from '../nats/serve-subject.js';
import { TopologyStore } from '../nats/topology-store.js';
import { atMost } from '../process/at-most.js';
import { type ChildChannel, openChildChannel } from '../process/child-channel.js';
import type { StartShard } from '../process/messages.js';
import { answerQuestion, packAnswer } from './answer-questions.js';
import { askForChunk } from './ask-for-chunk.js';
import { wallMicros } from './clock.js';
import { letSmallHeapGrow } from './heap-growth.js';
import { LogRefusesError, openShard } from './open-shard.js';
import { RecordMarks } from './record-marks.js';
import { RefoldingMark } from './refolding-mark.js';
import { Shard } from './shard.js';
import { TopologyView } from './topology-view.js';
import { readWitnessFiles, WitnessFile } from './witness-file.js';

/** A connection to a database that does not answer can't be closed, only left. */
const CLOSE_MS = 1_000;
const LEADER_WAIT_MS = 10_000;
const LEADER_POLL_MS = 100;

const channel = await openChildChannel('shard');
run(channel).catch((error: Error) => {
  // Waiting for NATS, for a leader or for space is no failed start.
  if (!(error instanceof LogRefusesError) && !isNatsAway(error)) return fail(channel, error);
  channel.log('warn', `shard ${channel.start.shard} waits: ${error.message}`);
  return channel.finish('waiting');
});

function fail(channel: ChildChannel, error: Error): void {
  channel.log('error', error.stack ?? error.message);
  // Exit code 1: counted as a start that failed.
  setImmediate(() => process.exit(1));
}

async function run(channel: ChildChannel<StartShard>): Promise<void> {
  const { start } = channel;
  const names = new Names(start.prefix);
  const { nc, logNc } = await connectBoth(start);
  let shard: Shard | null = null;
  let opening: ShardStatus = openingStatus(start, 'opening', null);
  let draining = false;

  const heartbeat = (): void => {
    channel.send({ type: 'heartbeat', status: shard?.status() ?? opening });
    letSmallHeapGrow();
  };
  // A log is lost at such ends if ever, and the witness's file may still lack the record that was acknowledged last.
  const failed = (error: Error): void => {
    heartbeat();
    fail(channel, error);
  };
  // The log's connection never reconnects: what is in doubt is settled by opening again.
  logNc.closed().then(() => {
    if (draining) return;
    heartbeat();
    channel.finish('waiting');
  });

  const whyNot = (): string => shard?.whyNot ?? opening.reason ?? 'the shard is opening';
  const submits = serveSubject(nc, names.shard(start.shard, start.assignment, 'submit'), (body, respond) => {
    if (shard?.takesTransactions && !draining) shard.commit.submit(body, respond);
    else respond(writeSubmitRefusal(ReplyCode.unavailable, draining ? 'the shard is being stopped' : whyNot()));
  });
  const asks = serveSubject(nc, names.shard(start.shard, start.assignment, 'ask'), (body, respond) => {
    const answered = shard && !shard.damaged ? answerQuestion(body, shard.questionPorts()) : null;
    if (!answered) {
      const answer: ShardAnswer = { answer: 'unavailable', message: whyNot() };
      return respond(packAnswer(answer));
    }
    answered.then(respond, (error: Error) => {
      // The topology that the question names could not be read just now: that ends nobody's reading, nor this process.
      if (isNatsAway(error)) respond(packAnswer({ answer: 'again' }));
      else fail(channel, error);
    });
  });
  await nc.flush();

  heartbeat();
  const heartbeats = setInterval(heartbeat, start.tuning.heartbeatMs);

  const topologies = await TopologyStore.open(nc, names, { create: false });
  const log = await JetStreamLog.open(logNc, names, start.shard);
  await leaderOf(logNc, names, start.shard);
  const marks = new RecordMarks();
  const replayed: { sequence: number; bytes: number; time: number }[] = [];
  const openedAt = performance.now();
  const opened = await openShard({
    log,
    topologies,
    shard: start.shard,
    assignment: start.assignment,
    witnesses: () => witnesses(start),
    onReplayed: (message, record, hash) => {
      const rows = record.events.reduce((sum, event) => sum + (event.type === 'stored' ? event.count : 0), 0);
      const { sequence, bytes, time } = message;
      marks.add({ sequence, number: record.number, hash, rows, bytes: bytes.byteLength, now: performance.now() });
      replayed.push({ sequence, bytes: bytes.byteLength, time });
    },
    report: (message) => channel.log('info', `shard ${start.shard}: ${message}`),
  });

  const superseded = (detail: string): void => {
    channel.log('info', `shard ${start.shard}, assignment ${start.assignment}: superseded (${detail})`);
    channel.finish('superseded');
  };
  if (opened.outcome === 'superseded') return superseded(opened.detail);

  const watch = async (take: (stored: { topology: Parameters<TopologyView['take']>[0] }) => void): Promise<void> => {
    // A watch has one server, which may be the one that was just lost: no reason to end what takes transactions.
    await oncePlaced(() =>
      topologies.watch(take, (error) => channel.log('warn', `watching the topology: ${error.message}`)),
    );
  };
  if (opened.outcome === 'damaged') {
    opening = openingStatus(start, 'damaged', `damaged: ${opened.missing}`);
    channel.send({ type: 'damaged', reason: opened.missing });
    channel.onDrain(() => channel.finish('drained'));
    // Only an operator leads out of this, by a new assignment.
    await watch(({ topology }) => {
      const entry = shardOf(topology, start.shard);
      if (entry && entry.assignment > start.assignment) superseded('repaired');
    });
    return;
  }

  const witness = WitnessFile.open(start.dataDir, start.shard, start.assignment, failed);
  const view = new TopologyView(opened.topology, topologies, start.shard, (entry) => {
    if (entry.assignment > start.assignment) superseded(`the topology has assignment ${entry.assignment}`);
    else shard?.topologyChanged();
  });
  const table = openDataTable(start.database, (error) =>
    channel.log('debug', `a connection to the database broke: ${error.message}`),
  );
  const refolding = new RefoldingMark(topologies, start.shard, start.assignment, (newest) => view.take(newest));
  shard = new Shard(
    {
      state: opened.state,
      foldOnly: opened.outcome === 'fold_only',
      assignment: start.assignment,
      lastRecordTime: opened.lastRecordTime,
      rebasedAt: opened.rebasedAt,
      log,
      marks,
      view,
      topologies,
      table,
      embedded: start.database.kind === 'embedded',
      witness,
      tuning: start.tuning,
      dataDir: start.dataDir,
      replayMs: performance.now() - openedAt,
      askForChunk: (migration, stream, chunk) => askForChunk(nc, names, view, migration, stream, chunk),
    },
    {
      damaged: (reason) => channel.send({ type: 'damaged', reason }),
      superseded,
      failed,
      refolding: (said) => {
        refolding.say(said).catch((error: Error) => fail(channel, error));
      },
      warn: (message) => channel.log('warn', `shard ${start.shard}: ${message}`),
    },
  );
  shard.replayed(replayed);
  shard.start();
  channel.send({ type: 'serving' });
  heartbeat();

  channel.onDrain(() => {
    (async () => {
      await submits.drain();
      await shard?.drain();
      draining = true;
      await asks.drain();
      heartbeat();
      clearInterval(heartbeats);
      await atMost(CLOSE_MS, table.close());
      await nc.drain();
      await channel.finish('drained');
    })().catch((error: Error) => fail(channel, error));
  });
  await watch(({ topology }) => view.take(topology));
}

/** Where a server was lost, its logs elect new leaders within seconds: waited for here, not in a next process. */
async function leaderOf(nc: NatsConnection, names: Names, shard: number): Promise<void> {
  const end = performance.now() + LEADER_WAIT_MS;
  while (performance.now() < end && !nc.isClosed()) {
    if ((await logLeadership(nc, names, shard)) !== 'leaderless') return;
    await delay(LEADER_POLL_MS);
  }
}

async function connectBoth(start: StartShard): Promise<{ nc: NatsConnection; logNc: NatsConnection }> {
  const servers = start.natsUrl.split(',');
  const name = `spill shard ${start.shard}.${start.assignment}`;
  const [nc, logNc] = await Promise.all([
    connectNats({ servers, name, reconnect: true, inOrder: true }),
    connectNats({ servers, name: `${name} log`, reconnect: false, inOrder: true }),
  ]);
  return { nc, logNc };
}

function witnesses(start: StartShard): Witness[] {
  const files = readWitnessFiles(start.dataDir, start.shard);
  return start.witness ? [...files, { ...start.witness, from: 'the heartbeat of its node' }] : files;
}

function openingStatus(start: StartShard, state: ShardStatus['state'], reason: string | null): ShardStatus {
  return {
    shard: start.shard,
    assignment: start.assignment,
    logId: '',
    pid: process.pid,
    clock: wallMicros(),
    state,
    reason,
    epoch: 0,
    sequence: 0,
    number: 0,
    hash: '',
    watermark: null,
    horizon: 0,
    known: 0,
    pending: 0,
    pendingBytes: 0,
    accepted: 0,
    queued: 0,
    commitP50Ms: 0,
    commitP99Ms: 0,
    foldLagMs: 0,
    foldError: null,
    setAside: 0,
    conflicts: 0,
    replayMs: 0,
    hotSlots: [],
    hotAccounts: [],
  };
}
