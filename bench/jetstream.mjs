// What the machine, NATS and JetStream can do by themselves, before any of spill: the figures that its design rests on.
// Run after a build: node bench/jetstream.mjs [--seconds 2.5] [--folder F] [--no-write]
// Prints a table and writes bench/results/jetstream.json. The folder must lie on the disk that is to be measured.
import { fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import { join } from 'node:path';
import { createHistogram } from 'node:perf_hooks';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { connect } from 'nats';
import { freePort } from '../packages/node/dist/nats/free-port.js';
import { provideNatsServer } from '../packages/node/dist/nats/provide-nats-server.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const RESULT = join(ROOT, 'bench/results/jetstream.json');
const ECHO_SUBJECT = 'bench.echo';
const TRANSACTION_BYTES = 60;
const WARM_UP_SECONDS = 0.3;
const CLUSTER_WAIT_MS = 60_000;

/**
 * @typedef {object} Row
 * @property {string} what
 * @property {number} perSecond operations a second
 * @property {number} [mbPerSecond] 10^6 bytes a second
 * @property {number} [p50Ms]
 * @property {number} [p99Ms]
 * @property {boolean} [syncAlways] of the JetStream servers; absent where there is none in the row
 */

/** @param {number} bytes */
const body = (bytes) => Buffer.alloc(bytes, 'spill bench body, the same each time. ');

/**
 * Keeps `depth` calls of `operation` in flight for a while after a warm-up, and tells rate and latency. `operation` is
 * called in order; the next one starts when any has ended.
 * @param {string} what
 * @param {{ seconds: number, depth: number, bytes?: number, syncAlways?: boolean }} options
 * @param {() => Promise<unknown>} operation
 * @returns {Promise<Row>}
 */
async function measure(what, { seconds, depth, bytes, syncAlways }, operation) {
  const latency = createHistogram();
  const warmUpEnd = performance.now() + WARM_UP_SECONDS * 1000;
  const end = warmUpEnd + seconds * 1000;
  let count = 0;
  const worker = async () => {
    for (;;) {
      const from = performance.now();
      if (from >= end) return;
      await operation();
      const to = performance.now();
      if (from < warmUpEnd || to > end) continue;
      count++;
      latency.record(Math.max(1, Math.round((to - from) * 1e6)));
    }
  };
  await Promise.all(Array.from({ length: depth }, worker));
  return row(what, count / seconds, { bytes, syncAlways, latency });
}

/**
 * @param {string} what
 * @param {number} perSecond
 * @param {{ bytes?: number, syncAlways?: boolean, latency?: import('node:perf_hooks').RecordableHistogram }} [more]
 * @returns {Row}
 */
function row(what, perSecond, { bytes, syncAlways, latency } = {}) {
  return {
    what,
    perSecond: Math.round(perSecond),
    ...(bytes && { mbPerSecond: Number(((perSecond * bytes) / 1e6).toFixed(1)) }),
    ...(latency && {
      p50Ms: Number((latency.percentile(50) / 1e6).toFixed(2)),
      p99Ms: Number((latency.percentile(99) / 1e6).toFixed(2)),
    }),
    ...(syncAlways !== undefined && { syncAlways }),
  };
}

/**
 * @param {number} seconds
 * @param {() => void} operation
 */
function perSecondSync(seconds, operation) {
  for (let end = performance.now() + WARM_UP_SECONDS * 1000; performance.now() < end; ) operation();
  const from = performance.now();
  let count = 0;
  for (; performance.now() < from + seconds * 1000; count++) operation();
  return (count * 1000) / (performance.now() - from);
}

/** @returns {Row[]} */
function measureDisk(folder, seconds) {
  const rows = [];
  const path = join(folder, 'disk');
  const plain = fs.openSync(path, 'w');
  const page = body(4096);
  const synced = perSecondSync(seconds, () => {
    fs.writeSync(plain, page);
    fs.fdatasyncSync(plain);
  });
  fs.closeSync(plain);
  rows.push(row('disk: append 4 KiB, then fdatasync', synced));
  for (const kib of [64, 256, 1024]) {
    const { O_WRONLY, O_CREAT, O_TRUNC, O_DSYNC } = fs.constants;
    const file = fs.openSync(path, O_WRONLY | O_CREAT | O_TRUNC | O_DSYNC);
    const block = body(kib * 1024);
    const rate = perSecondSync(seconds, () => fs.writeSync(file, block));
    fs.closeSync(file);
    rows.push(row(`disk: append ${kib} KiB with O_DSYNC`, rate, { bytes: kib * 1024 }));
  }
  fs.rmSync(path);
  return rows;
}

/**
 * A nats-server with JetStream; `syncAlways` false leaves the default, a flush every two minutes.
 * @param {{ binary: string, folder: string, port: number, monitor: number, syncAlways: boolean, cluster?: string }} options
 */
async function startServer({ binary, folder, port, monitor, syncAlways, cluster = '' }) {
  await mkdir(folder, { recursive: true });
  const config = join(folder, 'server.conf');
  const sync = syncAlways ? 'sync_interval: always' : '';
  await writeFile(
    config,
    `server_name: "s${port}"
host: 127.0.0.1
port: ${port}
http: "127.0.0.1:${monitor}"
max_payload: 8MB
jetstream { store_dir: ${JSON.stringify(join(folder, 'store'))}
  ${sync}
}
${cluster}
`,
  );
  const child = spawn(binary, ['--config', config], { stdio: ['ignore', 'ignore', 'pipe'] });
  const exit = once(child, 'exit');
  const lines = createInterface({ input: child.stderr });
  await new Promise((resolve, reject) => {
    lines.on('line', (line) => line.includes('Server is ready') && resolve(undefined));
    child.once('exit', () => reject(new Error(`the nats-server of ${config} ended at its start`)));
  });
  const stop = async () => {
    child.kill('SIGKILL');
    await exit;
  };
  return { url: `nats://127.0.0.1:${port}`, monitorUrl: `http://127.0.0.1:${monitor}`, stop };
}

/** The log as spill makes it. */
async function makeStream(connection, replicas) {
  const manager = await connection.jetstreamManager({ timeout: 20_000 });
  const config = { name: 'LOG', subjects: ['log'], storage: 'file', discard: 'new', deny_delete: true };
  await manager.streams.add({ ...config, num_replicas: replicas });
  return { remove: () => manager.streams.delete('LOG') };
}

/** One publisher of records that each expect to land right after the one before. */
function fencedPublisher(connection, bytes) {
  const jetstream = connection.jetstream({ timeout: 20_000 });
  const record = body(bytes);
  let last = 0;
  return async () => {
    const lastSequence = last++;
    const ack = await jetstream.publish('log', record, { expect: { lastSequence, streamName: 'LOG' } });
    if (ack.seq !== lastSequence + 1 || ack.duplicate) throw new Error(`stored at ${ack.seq}, not ${lastSequence + 1}`);
  };
}

async function measureFenced(connection, what, options, replicas) {
  const stream = await makeStream(connection, replicas);
  const name = `${what}, fenced ${options.bytes / 1024} KiB records, ${options.depth} in flight`;
  const result = await measure(name, options, fencedPublisher(connection, options.bytes));
  await stream.remove();
  return result;
}

async function measureSmall(connection, { seconds, depth, syncAlways }) {
  const stream = await makeStream(connection, 1);
  const jetstream = connection.jetstream();
  const small = body(TRANSACTION_BYTES);
  const sync = syncAlways ? '' : ', without the sync';
  const name = `JetStream, one ${TRANSACTION_BYTES}-byte message a transaction, ${depth} in flight${sync}`;
  const result = await measure(name, { seconds, depth, syncAlways }, () => jetstream.publish('log', small));
  await stream.remove();
  return result;
}

async function measureOneServer(binary, folder, seconds) {
  const rows = [];
  for (const syncAlways of [true, false]) {
    const ports = { port: await freePort(), monitor: await freePort() };
    const server = await startServer({ binary, folder: join(folder, `one-${syncAlways}`), ...ports, syncAlways });
    const connection = await connect({ servers: server.url, reconnect: false });
    rows.push(await measureSmall(connection, { seconds, depth: 64, syncAlways }));
    if (syncAlways) {
      rows.push(await measureSmall(connection, { seconds, depth: 1, syncAlways }));
      for (const [kib, depth] of [
        [64, 4],
        [64, 1],
        [256, 1],
        [512, 4],
        [512, 1],
      ]) {
        const options = { seconds, depth, bytes: kib * 1024, syncAlways };
        rows.push(await measureFenced(connection, 'JetStream', options, 1));
      }
      rows.push(...(await measureBare(server.url, seconds)));
    }
    await connection.close();
    await server.stop();
  }
  return rows;
}

/** Until every server of the cluster says that it is well. */
async function untilHealthy(servers) {
  const end = performance.now() + CLUSTER_WAIT_MS;
  for (const { monitorUrl } of servers) {
    while (!(await fetch(`${monitorUrl}/healthz`)).ok) {
      if (performance.now() > end) throw new Error('the cluster of three did not get ready');
      await delay(100);
    }
  }
}

async function measureThreeServers(binary, folder, seconds) {
  const routes = [await freePort(), await freePort(), await freePort()];
  const list = routes.map((port) => `"nats://127.0.0.1:${port}"`).join(', ');
  const servers = await Promise.all(
    routes.map(async (route, i) => {
      const cluster = `cluster { name: bench, host: 127.0.0.1, port: ${route}, routes: [${list}] }`;
      const ports = { port: await freePort(), monitor: await freePort() };
      return startServer({ binary, folder: join(folder, `three-${i}`), ...ports, syncAlways: true, cluster });
    }),
  );
  await untilHealthy(servers);
  const connection = await connect({ servers: servers[0].url, reconnect: false });
  const rows = [];
  for (const [kib, depth] of [
    [64, 4],
    [64, 1],
    [256, 4],
    [256, 1],
  ]) {
    const options = { seconds, depth, bytes: kib * 1024, syncAlways: true };
    rows.push(await measureFenced(connection, 'three replicas on three servers here', options, 3));
  }
  await connection.close();
  for (const server of servers) await server.stop();
  return rows;
}

/** NATS without JetStream: what a request costs at least. */
async function measureBare(url, seconds) {
  const echo = fork(fileURLToPath(import.meta.url), ['--echo', url]);
  await once(echo, 'message');
  const connection = await connect({ servers: url, reconnect: false });
  const rows = [];
  const payload = body(TRANSACTION_BYTES);
  for (const depth of [64, 1024]) {
    const name = `NATS request and reply, a Node echo, ${depth} in flight`;
    rows.push(await measure(name, { seconds, depth }, () => connection.request(ECHO_SUBJECT, payload)));
  }
  echo.kill();
  await once(echo, 'exit');
  // One operation is 1,000 messages and the server's word that it has read them.
  const burst = async () => {
    for (let i = 0; i < 1000; i++) connection.publish('bench.nobody', payload);
    await connection.flush();
  };
  const published = await measure('', { seconds, depth: 2 }, burst);
  rows.push(
    row(`NATS publish, one direction, ${TRANSACTION_BYTES} bytes, nobody listening`, published.perSecond * 1000),
  );
  await connection.close();
  return rows;
}

async function echo(url) {
  const connection = await connect({ servers: url, reconnect: false });
  connection.subscribe(ECHO_SUBJECT, { callback: (_, message) => message.respond(message.data) });
  await connection.flush();
  process.send('ready');
}

/** @param {Row[]} rows */
function table(rows) {
  const figure = (value) => (value === undefined ? '' : value.toLocaleString('en-US'));
  const lines = rows.map((r) => {
    const times = r.p50Ms === undefined ? '' : `${figure(r.p50Ms)} / ${figure(r.p99Ms)}`;
    return `| ${r.what} | ${figure(r.perSecond)} | ${figure(r.mbPerSecond)} | ${times} |`;
  });
  return ['| what | a second | MB/s | p50 / p99 ms |', '| --- | ---: | ---: | ---: |', ...lines].join('\n');
}

async function main() {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '2.5' },
      folder: { type: 'string', default: join(ROOT, '.cache') },
      write: { type: 'boolean', default: true },
      echo: { type: 'string' },
    },
    allowNegative: true,
  });
  if (values.echo) return echo(values.echo);
  const seconds = Number(values.seconds);
  if (!(seconds > 0)) throw new Error(`--seconds ${values.seconds}: a number above 0`);
  const server = await provideNatsServer({ log: (line) => console.error(line) });
  if (server.warning) console.error(server.warning);
  await mkdir(values.folder, { recursive: true });
  const folder = await mkdtemp(join(values.folder, 'bench-jetstream-'));
  const rows = [];
  const loadBefore = os.loadavg()[0];
  try {
    rows.push(...measureDisk(folder, seconds));
    rows.push(...(await measureOneServer(server.path, folder, seconds)));
    rows.push(...(await measureThreeServers(server.path, folder, seconds)));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  console.log(table(rows));
  if (!values.write) return;
  const client = JSON.parse(await readFile(join(ROOT, 'node_modules/nats/package.json'), 'utf8'));
  const result = {
    bench: 'jetstream',
    date: new Date().toISOString().slice(0, 10),
    machine: {
      cpu: os.cpus()[0]?.model,
      cores: os.cpus().length,
      memoryGiB: Math.round(os.totalmem() / 2 ** 30),
      system: `${os.type()} ${os.release()} ${os.arch()}`,
      loadAverageBefore: Number(loadBefore.toFixed(2)),
    },
    versions: { node: process.versions.node, natsServer: server.version, natsClient: client.version },
    seconds,
    rows,
  };
  await mkdir(join(ROOT, 'bench/results'), { recursive: true });
  await writeFile(RESULT, `${JSON.stringify(result, undefined, 2)}\n`);
}

await main();
