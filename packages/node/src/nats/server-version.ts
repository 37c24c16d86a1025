/** The release of nats-server that spill is built and tested with: the newest 2.14.x. */
export const PINNED_SERVER_VERSION = '2.14.10';

/** Below this, a replicated log is not fsynced before the acknowledgement even with `sync_interval: always`. */
export const MINIMUM_SERVER_VERSION = '2.10.23';

/** From this on, every durability fix that matters to spill is in (see ARCHITECTURE.md). */
export const RECOMMENDED_SERVER_VERSION = '2.14.6';

/** `ok`: use it. `warn`: use it, and say so. `refuse`: an acknowledgement would not mean durable. */
export type ServerVersionVerdict = 'ok' | 'warn' | 'refuse';

interface ParsedVersion {
  readonly numbers: readonly [number, number, number];
  readonly prerelease: boolean;
}

function parseVersion(version: string): ParsedVersion | undefined {
  const match = /^v?(\d+)\.(\d+)\.(\d+)(-[\w.-]+)?(\+[\w.-]+)?$/.exec(version.trim());
  if (!match) return undefined;
  return { numbers: [Number(match[1]), Number(match[2]), Number(match[3])], prerelease: match[4] !== undefined };
}

/**
 * Negative where `a` is older than `b`, 0 where they are the same, positive where it is newer. A pre-release is older
 * than its release. Throws a `TypeError` for what is no version.
 */
export function compareServerVersions(a: string, b: string): number {
  const left = parseVersion(a);
  const right = parseVersion(b);
  if (!left || !right) throw new TypeError(`not a nats-server version: ${JSON.stringify(left ? b : a)}`);
  for (let i = 0; i < 3; i++) {
    const difference = left.numbers[i]! - right.numbers[i]!;
    if (difference !== 0) return difference;
  }
  return Number(right.prerelease) - Number(left.prerelease);
}

/** Whether spill runs with this nats-server. What can't be read as a version is refused. */
export function checkServerVersion(version: string): ServerVersionVerdict {
  if (!parseVersion(version)) return 'refuse';
  if (compareServerVersions(version, MINIMUM_SERVER_VERSION) < 0) return 'refuse';
  return compareServerVersions(version, RECOMMENDED_SERVER_VERSION) < 0 ? 'warn' : 'ok';
}
