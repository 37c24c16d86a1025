/**
 * Names on NATS. `prefix` is configuration, `spill` by default: lower-case letters, digits and `-`.
 * Streams and buckets carry it in upper case, so that two clusters can share a server.
 */
export class Names {
  constructor(readonly prefix: string = 'spill') {
    if (!/^[a-z][a-z0-9-]{0,31}$/.test(prefix)) {
      throw new Error(`prefix ${JSON.stringify(prefix)} must be 1 to 32 of a-z, 0-9 and -, beginning with a letter`);
    }
  }

  private get upper(): string {
    return this.prefix.toUpperCase();
  }

  readonly transactions = (verb: 'submit' | 'get' | 'retrieve'): string => `${this.prefix}.transactions.${verb}`;
  readonly balanceGet = (): string => `${this.prefix}.balance.get`;
  readonly routeExplain = (): string => `${this.prefix}.route.explain`;
  readonly shardsLocate = (): string => `${this.prefix}.shards.locate`;
  readonly supervisor = (verb: string): string => `${this.prefix}.supervisor.${verb}`;

  /** One process's own subject: the assignment is new at each start, so that no other process ever listens on it. */
  readonly shard = (shard: number, assignment: number, verb: 'submit' | 'ask' | '*'): string =>
    `${this.prefix}.shard.${shard}.${assignment}.${verb}`;

  /** What a node answers other nodes' supervisors, and is told by them. */
  readonly node = (node: string, verb: 'performance' | 'alive' | 'look'): string =>
    `${this.prefix}.internal.node.${node}.${verb}`;

  readonly logStream = (shard: number): string => `${this.upper}_${shard}`;
  readonly logSubject = (shard: number): string => `${this.prefix}.internal.log.${shard}`;
  readonly topologyBucket = (): string => `${this.upper}_TOPOLOGY`;
  readonly leaseBucket = (): string => `${this.upper}_LEASE`;
  readonly actionBucket = (): string => `${this.upper}_ACTIONS`;
  readonly heartbeatBucket = (): string => `${this.upper}_HEARTBEAT`;
}
