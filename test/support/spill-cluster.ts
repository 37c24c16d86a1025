import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../packages/node/dist/nats/free-port.js';
import { startNode, type TestNode } from './spill-node.js';

export interface TestCluster {
  readonly databaseUrl: string;
  readonly nodes: readonly TestNode[];
  readonly names: readonly string[];
  /** Of the servers among each other. */
  readonly ports: readonly number[];
  /** Of those nodes that are named by their places, separated by commas; of all where absent. */
  urls(places?: readonly number[]): string;
  dispose(): Promise<void>;
}

export interface StartCluster {
  readonly databaseUrl: string;
  readonly size?: number;
  /** Each in a network of its own; all on 127.0.0.1 where absent. */
  readonly network?: TestNetwork;
  readonly args?: (place: number) => readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** One network namespace a node, all on one bridge. */
export interface TestNetwork {
  readonly hosts: readonly { readonly address: string; readonly within: readonly string[] }[];
  /** From now on nothing reaches this host or comes from it, and nobody is told. */
  cutOff(place: number): void;
  heal(place: number): void;
  /** The machine itself, as the hosts reach it. */
  readonly gateway: string;
  dispose(): void;
}

/** Nodes `n1`, `n2`, … with embedded servers of one cluster, on 127.0.0.1, each with ports and a folder of its own. */
export async function startCluster(options: StartCluster): Promise<TestCluster> {
  const size = options.size ?? 3;
  const folder = mkdtempSync(join(tmpdir(), 'spill-cluster-'));
  const ports = await Promise.all(Array.from({ length: size }, freePort));
  const addressOf = (place: number): string => options.network?.hosts[place]?.address ?? '127.0.0.1';
  const names = ports.map((_, i) => `n${i + 1}`);
  const start = (place: number): Promise<TestNode> =>
    startNode({
      dataDir: join(folder, names[place] as string),
      databaseUrl: options.databaseUrl,
      readyMs: 120_000,
      ...(options.network && { within: options.network.hosts[place]?.within ?? [] }),
      ...(options.env && { env: options.env }),
      args: [
        ...['--apply-schema', '--listen', addressOf(place), '--cluster', 'test', '--node-name', names[place] as string],
        ...['--cluster-port', String(ports[place])],
        ...ports.flatMap((port, i) => (i === place ? [] : ['--join', `${addressOf(i)}:${port}`])),
        ...(options.args?.(place) ?? []),
      ],
    });
  const starts = await Promise.allSettled(ports.map((_, place) => start(place)));
  const nodes = starts.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
  const dispose = async (): Promise<void> => {
    await Promise.all(nodes.map((node) => node.dispose()));
    rmSync(folder, { recursive: true, force: true, maxRetries: 10 });
  };
  const failed = starts.find((outcome) => outcome.status === 'rejected');
  if (failed) {
    await dispose();
    const reasons = starts.flatMap((outcome) => (outcome.status === 'rejected' ? [String(outcome.reason)] : []));
    throw new Error(reasons.map((reason) => `${reason.slice(0, 200)} … ${reason.slice(-1_500)}`).join('\n'));
  }
  return {
    databaseUrl: options.databaseUrl,
    nodes,
    names,
    ports,
    urls: (places) => (places ?? ports.map((_, i) => i)).map((place) => nodes[place]?.natsUrl).join(','),
    dispose,
  };
}
