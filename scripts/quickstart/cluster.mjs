import { connect, headers } from 'nats';

const DEADLINE_MS = 120_000;

/** Operators' requests as any NATS client can make them: JSON, with the deadline in a header. */
export class Cluster {
  static async connect(url) {
    return new Cluster(await connect({ servers: url, name: 'spill-quickstart' }));
  }

  constructor(connection) {
    this.connection = connection;
  }

  topology() {
    return this.request('spill.supervisor.topology', {});
  }

  locate(shard) {
    return this.request('spill.shards.locate', { shard });
  }

  fold() {
    return this.request('spill.supervisor.fold', {});
  }

  verify() {
    return this.request('spill.supervisor.verify', {});
  }

  /** @throws Error with the cluster's own words where it answers with an error */
  async request(subject, body) {
    const extra = headers();
    extra.set('Spill-Deadline-Ms', String(DEADLINE_MS));
    const reply = await this.connection.request(subject, JSON.stringify(body), {
      timeout: DEADLINE_MS,
      headers: extra,
    });
    const value = reply.json();
    if (reply.headers?.get('Nats-Service-Error-Code')) throw new Error(`${subject}: ${value.error.message}`);
    return value;
  }

  close() {
    return this.connection.close();
  }
}
