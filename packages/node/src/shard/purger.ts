import { statfs } from 'node:fs/promises';
import { type LogMark, mayPurgeBelow, purgeTarget } from '@spill/core';
import type { JetStreamLog } from '../nats/log.js';
import { wallMicros } from './clock.js';

const MARK_EVERY_BYTES = 1024 * 1024;
const MARK_EVERY_MICROS = 60_000_000;
const MARKS_MAX = 65_536;
/** While the server purges, publishes to the stream wait: 50 MB hold them up for some 50 ms. */
const PURGE_BYTES_MAX = 8 * 1024 * 1024;

export interface PurgerSettings {
  readonly retentionMicros: number;
  readonly retentionBytes: number;
  /** Where the log lies, if it is on this machine: its disk is watched. */
  readonly dataDir: string;
}

/** Purges the log from its front as far as `purgeTarget` allows, a little at a time: records come in between. */
export class Purger {
  private readonly marks: LogMark[] = [];
  private bytes = 0;

  constructor(
    private readonly log: JetStreamLog,
    private readonly settings: PurgerSettings,
  ) {}

  /** Every record, replayed or acknowledged, in order. `time`: microseconds. */
  recorded(sequence: number, bytes: number, time: number): void {
    this.bytes += bytes;
    const last = this.marks.at(-1);
    if (last && this.bytes - last.bytes < MARK_EVERY_BYTES && time - last.time < MARK_EVERY_MICROS) return;
    this.marks.push({ sequence, bytes: this.bytes, time });
    // Every other one goes: coarser marks purge a little later, never too much.
    if (this.marks.length > MARKS_MAX) for (let i = 1; i < this.marks.length; i++) this.marks.splice(i, 1);
  }

  /**
   * `replayFrom`: as the last acknowledged record has it. What is decided after it may never be stored, and an opening
   * then needs what the stored one asks for. `watermark` null: not known. Returns a warning where retention had to yield.
   */
  async purge(replayFrom: number, watermark: number | null): Promise<{ purged: number; warning: string | null }> {
    const { settings } = this;
    const info = await this.log.info();
    const view = {
      firstSequence: info.firstSequence,
      lastSequence: info.lastSequence,
      replayFrom,
      watermark,
      marks: this.marks,
      now: wallMicros(),
      retentionMicros: settings.retentionMicros,
      retentionBytes: settings.retentionBytes,
      diskUsed: await diskUsed(settings.dataDir),
    };
    const target = purgeTarget(view);
    if (!target || !mayPurgeBelow(target.below, view)) return { purged: 0, warning: null };
    const { firstSequence, lastSequence, bytes } = info;
    const little = Math.max(1, Math.floor((PURGE_BYTES_MAX * (lastSequence - firstSequence + 1)) / Math.max(1, bytes)));
    let purged = 0;
    for (let below = firstSequence + little; below < target.below && mayPurgeBelow(below, view); below += little) {
      purged += await this.log.purgeBelow(below);
    }
    purged += await this.log.purgeBelow(target.below);
    while (this.marks.length > 0 && (this.marks[0] as LogMark).sequence < target.below) this.marks.shift();
    const warning = target.yielded
      ? `log_retention yielded to log_retention_bytes (${settings.retentionBytes}) or to the disk: purged below ${target.below}`
      : null;
    return { purged, warning };
  }
}

async function diskUsed(path: string): Promise<number> {
  const { blocks, bavail } = await statfs(path);
  return blocks === 0 ? 0 : 1 - bavail / blocks;
}
