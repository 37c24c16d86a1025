import { Names, type OperatorNote } from '@spill/core';
import { connectNats } from '../nats/connect.js';
import { HeartbeatStore } from '../nats/heartbeat-store.js';
import { TopologyStore } from '../nats/topology-store.js';
import { type RepairReport, type RepairShard, repairShard } from './repair-shard.js';

export interface RepairOverNats {
  /** URLs separated by commas. */
  readonly servers: string;
  readonly prefix: string;
  readonly table: RepairShard['table'];
  readonly shard: number;
  readonly acceptLoss: boolean;
  readonly acceptNewLedger: boolean;
  readonly note: OperatorNote;
  readonly dataDir: string | null;
}

/** `repairShard` with connections of its own. @throws what `repairShard` throws, and NatsError where no server answers. */
export async function repairOverNats(repair: RepairOverNats): Promise<RepairReport> {
  const { servers, prefix, ...what } = repair;
  const names = new Names(prefix);
  const nc = await connectNats({ servers: servers.split(','), name: 'spill repair', reconnect: true });
  try {
    const topology = await TopologyStore.open(nc, names, { create: false });
    const replicas = (await topology.require()).topology.shards[0]?.replicas ?? 1;
    const heartbeats = await HeartbeatStore.open(nc, names, replicas);
    const now = (): number => Date.now() * 1_000;
    return await repairShard({ ...what, nc, names, topology, heartbeats, now });
  } finally {
    await nc.close();
  }
}
