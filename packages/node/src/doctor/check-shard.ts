import {
  type DataTable,
  judgeLedger,
  type Names,
  type ShardAnswer,
  type ShardEntry,
  type ShardQuestion,
  type ShardStatus,
  type Topology,
} from '@spill/core';
import { Packr } from 'msgpackr';
import type { NatsConnection } from '../nats/connect.js';
import { JetStreamLog, LogMissingError } from '../nats/log.js';
import { requesterOf } from '../nats/request.js';
import { TopologyStore } from '../nats/topology-store.js';
import { type Clock, clockBetween } from './check-clocks.js';
import type { DoctorFindings } from './doctor-finding.js';

export interface ShardBounds {
  readonly idsMax: number;
  readonly pendingBytesMax: number;
  readonly maxClockSkewMs: number;
}

type DatabaseLedger = Awaited<ReturnType<DataTable['ledgerOf']>>;

const codec = new Packr({ useRecords: false });
const ASK_MS = 3_000;
const LAG_WARN_MS = 30_000;
const NEAR_BOUND = 0.8;

/**
 * One shard's log and process. `ledger` undefined: the database was not reached. Returns the clock of its machine;
 * null: it was not told.
 */
export async function checkShard(
  findings: DoctorFindings,
  nc: NatsConnection,
  names: Names,
  topology: Topology,
  entry: ShardEntry,
  bounds: ShardBounds,
  ledger: DatabaseLedger | undefined,
): Promise<Clock | null> {
  const check = `shard ${entry.id}`;
  const before = findings.all.length;
  await checkLog(findings, nc, names, entry);
  if (ledger && entry.state !== 'damaged') checkLedger(findings, topology, entry, ledger);
  const asked = Date.now() * 1_000;
  const status = await askStatus(findings, nc, names, entry);
  const answered = Date.now() * 1_000;
  if (status) {
    checkStatus(findings, entry, status, bounds);
    if (status.epoch > topology.epoch) await checkEpoch(findings, nc, names, check, status.epoch);
  }
  findings.okUnless(
    check,
    before,
    `${entry.pool}, ${entry.state} on node ${entry.node}, pid ${status?.pid}: ${status?.pending} transactions not folded yet`,
  );
  return status && clockBetween(`node ${entry.node}`, status.clock, asked, answered);
}

function checkLedger(
  findings: DoctorFindings,
  topology: Topology,
  entry: ShardEntry,
  { ledgerId, watermark }: DatabaseLedger,
): void {
  const check = `shard ${entry.id}`;
  const hasWatermark = watermark !== null;
  const why = judgeLedger(topology, { shard: entry.id, ledgerId, hasWatermark, foldedUpTo: 0 });
  if (why !== null) findings.error(check, why);
  if (watermark === null || watermark.logId === entry.logId) return;
  findings.error(
    check,
    `the data table has folded log ${watermark.logId}, the topology names ${entry.logId}: they do not belong together. ` +
      'Is this the right database?',
  );
}

async function checkLog(findings: DoctorFindings, nc: NatsConnection, names: Names, entry: ShardEntry): Promise<void> {
  const check = `shard ${entry.id}`;
  try {
    const info = await (await JetStreamLog.open(nc, names, entry.id)).info();
    for (const problem of info.problems) {
      findings.error(check, `${problem}. Put it back with the nats CLI, or let \`spill repair ${entry.id}\` do it`);
    }
    if (info.replicas !== entry.replicas) {
      findings.warn(
        check,
        `its log has ${info.replicas} replicas where the topology says ${entry.replicas}: ` +
          `nats stream edit ${names.logStream(entry.id)} --replicas ${entry.replicas}`,
      );
    }
    if (info.replicas > 1 && info.leader === null) {
      findings.error(
        check,
        'its log has no leader: fewer than half of its replicas are there. Start the missing nats-servers',
      );
    }
  } catch (error) {
    if (error instanceof LogMissingError) {
      if (entry.state !== 'damaged') findings.error(check, `${error.message}: its process will find that out, too`);
    } else findings.error(check, `its log does not answer: ${(error as Error).message}`);
  }
}

async function askStatus(
  findings: DoctorFindings,
  nc: NatsConnection,
  names: Names,
  entry: ShardEntry,
): Promise<ShardStatus | null> {
  const check = `shard ${entry.id}`;
  const question: ShardQuestion = { ask: 'status' };
  const subject = names.shard(entry.id, entry.assignment, 'ask');
  const outcome = await requesterOf(nc)(subject, codec.pack(question), { timeoutMs: ASK_MS });
  if (entry.state === 'damaged' || entry.state === 'failed') return null;
  if (outcome.outcome === 'answer') {
    const answer = codec.unpack(outcome.data) as ShardAnswer;
    if (answer.answer === 'status') return answer.status;
    findings.warn(
      check,
      `it serves nothing just now: ${answer.answer === 'unavailable' ? answer.message : answer.answer}`,
    );
    return null;
  }
  const why = outcome.outcome === 'no_responders' ? 'no process serves it' : 'its process does not answer';
  findings.error(
    check,
    `${why}, though node ${entry.node} should run it under assignment ${entry.assignment}: is that node up? Meanwhile its ` +
      'transactions go straight to their rows, or wait',
  );
  return null;
}

function checkStatus(findings: DoctorFindings, entry: ShardEntry, status: ShardStatus, bounds: ShardBounds): void {
  const check = `shard ${entry.id}`;
  if (status.state === 'refusing') {
    findings.error(
      check,
      `its log takes nothing: ${status.reason ?? 'no reason given'}. Is the disk full, a quorum away?`,
    );
  } else if (status.reason) findings.warn(check, status.reason);
  if (status.foldError) {
    findings.error(check, `nothing is folded, the transactions wait in its log: ${status.foldError}`);
  } else if (status.foldLagMs > LAG_WARN_MS) {
    findings.warn(
      check,
      `its oldest transaction has waited ${Math.round(status.foldLagMs / 1_000)} s for its fold: more comes in than the ` +
        'database takes, or it has just come back',
    );
  }
  near(findings, check, status.pendingBytes, bounds.pendingBytesMax, 'pending_bytes_max', 'bytes wait for their fold');
  near(findings, check, status.known, bounds.idsMax, 'ids_max', 'transactions are known');
  const ahead = status.horizon - (Date.now() + bounds.maxClockSkewMs) * 1_000;
  if (ahead > 0) {
    findings.error(
      check,
      `its horizon is ${Math.round(ahead / 1_000_000)} s in the future: a clock was wrong. What is older than that is taken ` +
        'only with a new timestamp, or looked up in the ledger',
    );
  }
}

function near(findings: DoctorFindings, check: string, value: number, bound: number, name: string, what: string): void {
  if (value < bound * NEAR_BOUND) return;
  findings.warn(check, `${value} ${what}, ${name} is ${bound}: past that, transactions are answered overloaded`);
}

/** The topology may have changed between the two questions: it is read once more. */
async function checkEpoch(
  findings: DoctorFindings,
  nc: NatsConnection,
  names: Names,
  check: string,
  epoch: number,
): Promise<void> {
  const store = await TopologyStore.open(nc, names, { create: false });
  const { topology } = await store.require();
  if (epoch <= topology.epoch) return;
  findings.error(
    check,
    `it has acted on epoch ${epoch}, the topology is at ${topology.epoch}: the topology lost something`,
  );
}
