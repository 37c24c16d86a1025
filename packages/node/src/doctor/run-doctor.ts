/** What `spill doctor` looks at, from the outside in: server, topology, nodes, shards, clocks, database. Changes nothing. */
import { Names, type Topology } from '@spill/core';
import { connectNats, type NatsConnection } from '../nats/connect.js';
import { requesterOf } from '../nats/request.js';
import { readServerTime } from '../nats/server-time.js';
import { TopologyStore } from '../nats/topology-store.js';
import { withoutLogin } from '../process/without-login.js';
import { type Clock, checkClocks, clockBetween } from './check-clocks.js';
import { checkDatabase, type DoctorTable } from './check-database.js';
import { checkNodes } from './check-nodes.js';
import { checkDisk, checkSync, checkVersion } from './check-server.js';
import { checkShard, type ShardBounds } from './check-shard.js';
import { checkTopology } from './check-topology.js';
import { type DoctorFinding, DoctorFindings } from './doctor-finding.js';

export interface RunDoctor extends ShardBounds {
  /** URLs separated by commas. */
  readonly servers: string;
  readonly prefix: string;
  /** `http://host:8222`; null: that of the embedded server in `dataDir`, where there is one. */
  readonly monitorUrl: string | null;
  /** A node's data folder on this machine, or null. */
  readonly dataDir: string | null;
  readonly database: { readonly kind: 'postgres' | 'embedded'; readonly table: DoctorTable };
}

const ASK_MS = 3_000;

/** Findings in the order in which they were looked at. Never rejects because something is away: that is a finding. */
export async function runDoctor(doctor: RunDoctor): Promise<DoctorFinding[]> {
  const findings = new DoctorFindings();
  const { database, servers } = doctor;
  let nc: NatsConnection;
  try {
    nc = await connectNats({ servers: servers.split(','), name: 'spill doctor', reconnect: false });
  } catch (error) {
    findings.error(
      'nats',
      `no NATS server answers at ${withoutLogin(servers)} (${(error as Error).message}): start a node with \`spill-node start\`, or name ` +
        'the cluster with --nats',
    );
    await checkDatabase(findings, database.table, database.kind, []);
    return findings.all;
  }
  try {
    await checkCluster(findings, doctor, nc);
  } finally {
    await nc.close();
  }
  return findings.all;
}

async function checkCluster(findings: DoctorFindings, doctor: RunDoctor, nc: NatsConnection): Promise<void> {
  const { database, maxClockSkewMs } = doctor;
  const names = new Names(doctor.prefix);
  checkVersion(findings, nc.info?.version ?? '');
  const topology = await readTopology(findings, nc, names);
  const server = await checkSync(findings, doctor, topology);
  await checkDisk(findings, doctor.dataDir, server);
  const shards = topology?.shards.filter(({ state }) => state !== 'retired') ?? [];
  const ids = shards.map(({ id }) => id);
  const view = await checkDatabase(findings, database.table, database.kind, ids);
  const nodeClocks = new Map<string, Clock>();
  if (topology) {
    checkTopology(findings, topology);
    await checkNodes(findings, nc, names, topology);
    await checkRouter(findings, nc, names);
    for (const entry of shards) {
      const clock = await checkShard(findings, nc, names, topology, entry, doctor, view?.ledgers.get(entry.id));
      if (clock) nodeClocks.set(clock.name, clock);
    }
  }
  const clocks = await readClocks(findings, doctor, nc, names);
  checkClocks(findings, [...clocks, ...nodeClocks.values()], maxClockSkewMs);
}

async function readTopology(findings: DoctorFindings, nc: NatsConnection, names: Names): Promise<Topology | null> {
  try {
    return (await (await TopologyStore.open(nc, names, { create: false })).require()).topology;
  } catch (error) {
    findings.error(
      'topology',
      `it cannot be read (${(error as Error).message}): is this spill's NATS server, and ${names.prefix} the right prefix?`,
    );
    return null;
  }
}

async function checkRouter(findings: DoctorFindings, nc: NatsConnection, names: Names): Promise<void> {
  const body = new TextEncoder().encode('{"account":"doctor","amount":1}');
  const outcome = await requesterOf(nc)(names.routeExplain(), body, { timeoutMs: ASK_MS });
  if (outcome.outcome === 'answer') return findings.ok('router', 'a router answers');
  const why = outcome.outcome === 'no_responders' ? 'no router is there' : 'no router answers';
  findings.error('router', `${why}: is any node up? Each runs one`);
}

async function readClocks(
  findings: DoctorFindings,
  doctor: RunDoctor,
  nc: NatsConnection,
  names: Names,
): Promise<Clock[]> {
  const sources: [string, () => Promise<number>][] = [
    ['nats-server', () => readServerTime(nc, names)],
    ['the database', () => doctor.database.table.clock()],
  ];
  const clocks: Clock[] = [];
  for (const [name, read] of sources) {
    const asked = Date.now() * 1_000;
    try {
      const told = await read();
      clocks.push(clockBetween(name, told, asked, Date.now() * 1_000));
    } catch (error) {
      findings.warn('clocks', `the clock of ${name} cannot be read: ${(error as Error).message}`);
    }
  }
  return clocks;
}
