import { Names } from '@spill/core';
import { openDataTable } from '../data-table/open-data-table.js';
import { connectNats } from '../nats/connect.js';
import { TopologyStore } from '../nats/topology-store.js';
import { startRouter } from '../router/router.js';
import { atMost } from './at-most.js';
import { openChildChannel } from './child-channel.js';

/** The router's process: started by the node, which tells it all it needs. */
const channel = await openChildChannel('router');
const { start } = channel;
const names = new Names(start.prefix);

const nc = await connectNats({
  servers: start.natsUrl.split(','),
  name: `spill-router ${start.node}`,
  reconnect: true,
  inOrder: true,
})
  // Where NATS is away, that is no failure of this process.
  .catch(() => channel.finish('waiting'));
const topology = await TopologyStore.open(nc, names, { create: false }).catch(() => channel.finish('waiting'));
const dataTable = openDataTable(start.database, (error) =>
  channel.log('debug', `a connection to the database broke: ${error.message}`),
);
const router = await startRouter({
  nc,
  names,
  topology,
  dataTable,
  times: {
    dedupeWindowMicros: start.tuning.dedupeWindowMs * 1_000,
    maxClockSkewMicros: start.tuning.maxClockSkewMs * 1_000,
  },
  settings: {
    recordBytesMax: start.tuning.recordBytesMax,
    directAfterMs: start.tuning.directAfterMs,
  },
  log: channel.log,
}).catch((error: Error) => {
  channel.log('error', error.message);
  return channel.finish('waiting');
});

channel.send({ type: 'serving' });
const heartbeat = setInterval(() => channel.send({ type: 'heartbeat', status: null }), start.tuning.heartbeatMs);

/** Reads of a database that does not answer are not waited for, nor its connections. */
const ANSWERED_MS = 10_000;
const CLOSE_MS = 1_000;

channel.onDrain(async () => {
  await atMost(ANSWERED_MS, router.stop());
  clearInterval(heartbeat);
  await atMost(CLOSE_MS, dataTable.close());
  await nc.close();
  await channel.finish('drained');
});

void router.stopped.then((error) => {
  if (!error) return;
  channel.log('error', `the router's service ended: ${error.message}`);
  process.exit(1);
});
