import fs from 'node:fs';
import { join } from 'node:path';
import { connect } from 'nats';
import type { Peer } from './peer.js';

const { O_WRONLY, O_CREAT, O_TRUNC, O_DSYNC } = fs.constants;
const BYTES_MAX = 64 * 2 ** 20;

/**
 * Records of the size that a log's have, written one after the other to the same disk, each synced: nothing that is
 * durable is faster with such records. `rows` says how many transactions the log holds.
 */
export function fsyncPeer(natsUrl: string, stream: string, folder: string, rows: () => number): Peer {
  return {
    peer: 'fsync',
    what: "the same bytes in records of the same size, written and synced one after the other, on the log's disk",
    missing: null,
    measure: async () => {
      const { bytes, messages } = await sizeOf(natsUrl, stream);
      return { value: syncedBytesPerSecond(folder, Math.round(bytes / messages)) / (bytes / rows()) };
    },
    close: async () => {},
  };
}

async function sizeOf(natsUrl: string, stream: string): Promise<{ bytes: number; messages: number }> {
  const nc = await connect({ servers: natsUrl });
  try {
    const manager = await nc.jetstreamManager();
    return (await manager.streams.info(stream)).state;
  } finally {
    await nc.close();
  }
}

function syncedBytesPerSecond(folder: string, recordBytes: number): number {
  const path = join(folder, 'bench-fsync');
  const file = fs.openSync(path, O_WRONLY | O_CREAT | O_TRUNC | O_DSYNC);
  const record = Buffer.alloc(recordBytes, 'spill bench body, the same each time. ');
  const started = performance.now();
  let written = 0;
  while (written < BYTES_MAX) written += fs.writeSync(file, record);
  const seconds = (performance.now() - started) / 1_000;
  fs.closeSync(file);
  fs.rmSync(path);
  return written / seconds;
}
