import { execFileSync } from 'node:child_process';
import type { TestNetwork } from './spill-cluster.js';

function ip(...args: string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}

/** Whether this machine lets the tests make network namespaces. */
export function mayMakeNetworks(): boolean {
  const name = `spill-try-${process.pid}`;
  try {
    ip('netns', 'add', name);
    ip('netns', 'del', name);
    return true;
  } catch {
    return false;
  }
}

/**
 * Hosts of their own on one bridge, as network namespaces. A host is cut off by taking its cable out of the bridge: its
 * link stays up and its packets go nowhere, as with a broken switch.
 */
export function makeNetwork(size: number): TestNetwork {
  const id = process.pid.toString(36);
  const bridge = `spb${id}`;
  const subnet = `10.${100 + Math.floor(Math.random() * 100)}.${Math.floor(Math.random() * 250)}`;
  const gateway = `${subnet}.1`;
  const hosts = Array.from({ length: size }, (_, i) => ({
    address: `${subnet}.${i + 11}`,
    namespace: `sp${id}n${i}`,
    cable: `sp${id}v${i}`,
    within: ['ip', 'netns', 'exec', `sp${id}n${i}`],
  }));
  const dispose = (): void => {
    for (const { namespace } of hosts) remove('netns', 'del', namespace);
    remove('link', 'del', bridge);
  };
  try {
    ip('link', 'add', bridge, 'type', 'bridge');
    ip('addr', 'add', `${gateway}/24`, 'dev', bridge);
    ip('link', 'set', bridge, 'up');
    for (const { namespace, cable, address } of hosts) {
      ip('netns', 'add', namespace);
      ip('link', 'add', cable, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', namespace);
      ip('link', 'set', cable, 'master', bridge, 'up');
      ip('-n', namespace, 'addr', 'add', `${address}/24`, 'dev', 'eth0');
      ip('-n', namespace, 'link', 'set', 'eth0', 'up');
      ip('-n', namespace, 'link', 'set', 'lo', 'up');
    }
  } catch (error) {
    dispose();
    throw error;
  }
  const cableOf = (place: number): string => hosts[place]?.cable ?? '';
  return {
    hosts,
    gateway,
    cutOff: (place) => ip('link', 'set', cableOf(place), 'nomaster'),
    heal: (place) => ip('link', 'set', cableOf(place), 'master', bridge),
    dispose,
  };
}

function remove(...args: string[]): void {
  try {
    ip(...args);
  } catch {
    // It was never made, or went with its namespace.
  }
}
