import {
  closeSync,
  fdatasync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  write,
} from 'node:fs';
import { join } from 'node:path';
import type { Witness } from '@spill/core';

const LINE_BYTES = 256;

export type WitnessedRecord = Pick<Witness, 'logId' | 'sequence' | 'number' | 'hash'>;

/**
 * The last acknowledged record of a shard, remembered outside its log: one line, written at each acknowledgement and
 * synced once a second. A write may have to wait for the journal of the file system, which the log's own syncs keep
 * busy: nobody waits for it, and what is acknowledged meanwhile is written by the next one. The file's name holds the
 * assignment, so that a process that was only paused can't write over its successor's.
 */
export class WitnessFile {
  private next: WitnessedRecord | null = null;
  private writing = false;
  private whenWritten: (() => void) | null = null;
  private dirty = false;
  private syncing = false;
  private earlierMayBeThere = true;
  private readonly line = Buffer.alloc(LINE_BYTES, ' ');

  private constructor(
    private readonly fd: number,
    private readonly dir: string,
    private readonly shard: number,
    private readonly assignment: number,
    private readonly onError: (error: Error) => void,
  ) {
    this.line[LINE_BYTES - 1] = 0x0a;
  }

  /** `onError`: it can't be written or synced any more, and is no witness. */
  static open(dataDir: string, shard: number, assignment: number, onError: (error: Error) => void): WitnessFile {
    const dir = witnessDir(dataDir);
    mkdirSync(dir, { recursive: true });
    const fd = openSync(join(dir, `${shard}.${assignment}.json`), 'w');
    return new WitnessFile(fd, dir, shard, assignment, onError);
  }

  write(record: WitnessedRecord): void {
    this.next = record;
    if (!this.writing) this.writeNext();
  }

  private writeNext(): void {
    if (!this.next) {
      this.whenWritten?.();
      return;
    }
    const { logId, sequence, number, hash } = this.next;
    this.next = null;
    const text = JSON.stringify({ logId, assignment: this.assignment, sequence, number, hash });
    this.line.fill(' ', 0, LINE_BYTES - 1);
    this.line.write(text, 0, 'ascii');
    this.writing = true;
    write(this.fd, this.line, 0, LINE_BYTES, 0, (error) => {
      this.writing = false;
      this.dirty = true;
      if (error) this.onError(error);
      else this.writeNext();
    });
  }

  /**
   * Called once a second. The earlier assignments' files go only once this one and its name are on disk, so that a power
   * failure leaves at least one.
   */
  sync(): void {
    if (!this.dirty || this.syncing) return;
    this.dirty = false;
    this.syncing = true;
    fdatasync(this.fd, (error) => {
      this.syncing = false;
      if (error) this.onError(error);
      else if (this.earlierMayBeThere) this.removeEarlier();
    });
  }

  /** Resolves once what was given to `write` last is on disk; nothing is written after it. */
  end(): Promise<void> {
    return new Promise((resolve) => {
      this.whenWritten = () => {
        fdatasync(this.fd, (error) => {
          if (error) this.onError(error);
          else resolve();
        });
      };
      if (!this.writing) this.whenWritten();
    });
  }

  private removeEarlier(): void {
    this.earlierMayBeThere = false;
    const folder = openSync(this.dir, 'r');
    fsyncSync(folder);
    closeSync(folder);
    for (const { name, assignment } of witnessFiles(this.dir, this.shard)) {
      if (assignment < this.assignment) rmSync(join(this.dir, name), { force: true });
    }
  }
}

/**
 * Every witness of a shard, the highest assignment first. Also one of an assignment above the present one: then the
 * topology is an older one, which the log's own records may not tell. A torn line is no witness.
 */
export function readWitnessFiles(dataDir: string, shard: number): Witness[] {
  const dir = witnessDir(dataDir);
  return witnessFiles(dir, shard)
    .sort((a, b) => b.assignment - a.assignment)
    .flatMap(({ name }) => parse(readFileSync(join(dir, name), 'ascii'), `the file ${join(dir, name)}`) ?? []);
}

function witnessDir(dataDir: string): string {
  return join(dataDir, 'witness');
}

function witnessFiles(dir: string, shard: number): { name: string; assignment: number }[] {
  let names: string[];
  try {
    names = readdirSync(dir);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  return names.flatMap((name) => {
    const match = /^(\d+)\.(\d+)\.json$/.exec(name);
    return match && Number(match[1]) === shard ? [{ name, assignment: Number(match[2]) }] : [];
  });
}

function parse(text: string, from: string): Witness | null {
  try {
    return { ...(JSON.parse(text) as Omit<Witness, 'from'>), from };
  } catch (error) {
    // Killed between opening the file and its first line, or a torn write: the one before counts.
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}
