import { readFile } from 'node:fs/promises';
import type { ShardStatus } from '@spill/core';
import pidusage from 'pidusage';

/** A process to be watched, with what it last said of itself. */
export interface WatchedProcess {
  readonly role: 'router' | 'shard';
  /** null: the router. */
  readonly shard: number | null;
  /** null: none runs at the moment. */
  readonly pid: number | null;
  readonly state: string;
  readonly status: ShardStatus | null;
}

/** Bytes that a process has made the disk read and write since it started; null where the system does not tell. */
interface DiskBytes {
  readonly read: number;
  readonly written: number;
}

interface Sample {
  readonly pid: number;
  /** Monotonic, milliseconds. */
  readonly at: number;
  readonly cpuPercent: number;
  readonly memoryBytes: number;
  readonly disk: DiskBytes | null;
  readonly accepted: number | null;
}

const SAMPLE_EVERY_MS = 2_000;

/**
 * Samples CPU, memory and I/O of every process of a node every 2 s, and keeps the last two samples of each: figures a
 * second are the difference of the two.
 */
export class PerformanceMonitor {
  private readonly samples = new Map<string, { last: Sample; before: Sample | null }>();
  private timer: NodeJS.Timeout | undefined;
  private sampling = false;

  constructor(
    private readonly processes: () => readonly WatchedProcess[],
    private readonly onError: (error: Error) => void,
  ) {}

  start(): void {
    this.timer = setInterval(() => void this.sample(), SAMPLE_EVERY_MS);
  }

  stop(): void {
    clearInterval(this.timer);
    pidusage.clear();
  }

  /** In the protocol's names; null where there is nothing to say yet. */
  report(): { processes: Record<string, unknown>[]; shards: Record<string, unknown>[] } {
    const all = this.processes();
    return {
      processes: all.filter((process) => process.role !== 'shard').map((process) => this.usage(process)),
      shards: all
        .filter((process) => process.role === 'shard')
        .map((process) => ({ shard: process.shard, ...this.usage(process), ...figures(process.status) })),
    };
  }

  private usage(process: WatchedProcess): Record<string, unknown> {
    const kept = this.samples.get(keyOf(process));
    const last = kept && kept.last.pid === process.pid ? kept.last : null;
    const before = last && kept?.before?.pid === process.pid ? kept.before : null;
    const seconds = last && before ? (last.at - before.at) / 1_000 : 0;
    const rate = (now: number | null | undefined, then: number | null | undefined): number | null =>
      seconds > 0 && typeof now === 'number' && typeof then === 'number'
        ? round(Math.max(0, now - then) / seconds)
        : null;
    return {
      role: process.role,
      pid: process.pid,
      state: process.state,
      cpu_percent: last ? round(last.cpuPercent) : null,
      memory_bytes: last?.memoryBytes ?? null,
      read_bytes_per_s: rate(last?.disk?.read, before?.disk?.read),
      write_bytes_per_s: rate(last?.disk?.written, before?.disk?.written),
      ...(process.role === 'shard' && { transactions_per_s: rate(last?.accepted, before?.accepted) }),
    };
  }

  private async sample(): Promise<void> {
    if (this.sampling) return;
    this.sampling = true;
    try {
      await Promise.all(this.processes().map((process) => this.sampleOne(process)));
    } finally {
      this.sampling = false;
    }
  }

  private async sampleOne(process: WatchedProcess): Promise<void> {
    const { pid } = process;
    if (pid === null) return;
    try {
      const [usage, disk] = await Promise.all([pidusage(pid), readDiskBytes(pid)]);
      const last: Sample = {
        pid,
        at: performance.now(),
        cpuPercent: usage.cpu,
        memoryBytes: usage.memory,
        disk,
        accepted: process.status?.accepted ?? null,
      };
      this.samples.set(keyOf(process), { last, before: this.samples.get(keyOf(process))?.last ?? null });
    } catch (error) {
      // It may have ended since it was listed; then the list will say so.
      if (this.processes().some((now) => now.pid === pid)) this.onError(error as Error);
    }
  }
}

function keyOf(process: WatchedProcess): string {
  return `${process.role} ${process.shard ?? ''}`;
}

function figures(status: ShardStatus | null): Record<string, unknown> {
  return {
    commit_p50_ms: status?.commitP50Ms ?? null,
    commit_p99_ms: status?.commitP99Ms ?? null,
    queued: status?.queued ?? null,
    pending: status?.pending ?? null,
    pending_bytes: status?.pendingBytes ?? null,
    fold_lag_ms: status?.foldLagMs ?? null,
    fold_error: status?.foldError ?? null,
    known: status?.known ?? null,
    sequence: status?.sequence ?? null,
    watermark: status?.watermark ?? null,
    horizon: status?.horizon ?? null,
    set_aside: status?.setAside ?? null,
    conflicts: status?.conflicts ?? null,
    replay_ms: status?.replayMs ?? null,
    hot_slots: status?.hotSlots ?? null,
    hot_accounts: status?.hotAccounts ?? null,
    reason: status?.reason ?? null,
  };
}

/** From Linux's /proc; elsewhere null. */
async function readDiskBytes(pid: number): Promise<DiskBytes | null> {
  let text: string;
  try {
    text = await readFile(`/proc/${pid}/io`, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'EACCES' || code === 'ESRCH') return null;
    throw error;
  }
  const field = (name: string): number => Number(new RegExp(`^${name}: (\\d+)$`, 'm').exec(text)?.[1] ?? 0);
  return { read: field('read_bytes'), written: field('write_bytes') };
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
