import pidusage from 'pidusage';
import type { TestNode } from '../../test/support/spill-node.js';

export interface Watched {
  readonly mibMax: number;
  /** How often another process took its place. */
  readonly replaced: number;
}

const SAMPLE_MS = 500;

/** Samples what a node's child (`router`, `shard-1`) takes, until it is stopped. */
export function watchChild(node: TestNode, name: string): { stop: () => Promise<Watched> } {
  const pids = new Set<number>();
  let bytesMax = 0;
  const look = async (): Promise<void> => {
    const pid = node.childPids()[name];
    // For a moment there is none while it is replaced.
    if (pid === undefined) return;
    pids.add(pid);
    bytesMax = Math.max(bytesMax, await bytesOf(pid));
  };
  let looking = look();
  const timer = setInterval(() => {
    looking = looking.then(look);
  }, SAMPLE_MS);
  return {
    stop: async () => {
      clearInterval(timer);
      await looking;
      return { mibMax: Math.round(bytesMax / 2 ** 20), replaced: pids.size - 1 };
    },
  };
}

async function bytesOf(pid: number): Promise<number> {
  try {
    return (await pidusage(pid)).memory;
  } catch (error) {
    // It has ended since its pid was read.
    if (!/No matching pid found/.test((error as Error).message)) throw error;
    return 0;
  }
}
