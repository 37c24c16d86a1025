import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type CsvRow, ImportJournal, type ImportReport, importRows } from '@spill/cli';
import { SpillError, type SubmitResult } from '@spill/core';
import type { SpillClient } from '@spill/node/client';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { runs } from '../support/property-runs.js';

const BATCH_ROWS = 3;
const SHA = 'a'.repeat(64);

let folder: string;
let journalPath: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'spill-import-'));
  journalPath = join(folder, 'rows.csv.spill-import.jsonl');
});
beforeEach(() => rmSync(journalPath, { force: true }));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

type Client = Pick<SpillClient, 'submit' | 'get'>;
type Sent = { account: string; id: string; amount: bigint; timestamp: number };

function rowsOf(count: number, change: (index: number) => Partial<CsvRow> = () => ({})): CsvRow[] {
  return Array.from({ length: count }, (_, index) => {
    const row = { line: index + 2, index, id: `id-${index}`, account: 'x', amount: 5n, timestamp: null, fault: null };
    return { ...row, ...change(index) } as CsvRow;
  });
}

async function* streamOf(rows: readonly CsvRow[]): AsyncGenerator<CsvRow> {
  yield* rows;
}

/** One run of the command; the journal goes when it is through. */
async function run(rows: readonly CsvRow[], client: Client, batchesAtOnce = 1): Promise<ImportReport> {
  const journal = await ImportJournal.open(journalPath, SHA, BATCH_ROWS);
  try {
    const report = await importRows({
      rows: streamOf(rows),
      client,
      journal,
      batchesAtOnce,
      retryMs: 1_000,
      signal: new AbortController().signal,
      onProgress: () => {},
    });
    await journal.remove();
    return report;
  } catch (error) {
    await journal.close();
    throw error;
  }
}

/** A cluster that stores what `refuse` lets through; it knows every (account, id) for ever. */
class FakeCluster {
  readonly stored = new Map<string, Sent>();
  readonly sent: Sent[] = [];
  /** Unknown transactions with a timestamp below this are expired. */
  horizon = 0;
  refuse: (transaction: Sent) => SpillError | null = () => null;

  readonly client = {
    submit: async (transactions: readonly Sent[]): Promise<SubmitResult[]> => transactions.map((tx) => this.take(tx)),
    get: async ({ account, id }: { account: string; id: string }) => {
      const found = this.stored.get(`${account} ${id}`);
      if (!found) throw new SpillError('not_found', 'it is not there');
      return { ...found, shard: 1, sequence: 2, state: 'folded' as const };
    },
  } as unknown as Client;

  private take(transaction: Sent): SubmitResult {
    const { account, id, amount, timestamp } = transaction;
    this.sent.push(transaction);
    const refused = this.refuse(transaction);
    if (refused) return { id, status: 'rejected', error: refused };
    const known = this.stored.get(`${account} ${id}`);
    if (known && known.amount !== amount) {
      return { id, status: 'rejected', error: new SpillError('id_conflict', 'transactions[0]: another amount') };
    }
    if (known) return { id, status: 'duplicate', shard: 1, sequence: 2, timestamp: known.timestamp };
    if (timestamp < this.horizon) return { id, status: 'rejected', error: new SpillError('expired', 'too old') };
    this.stored.set(`${account} ${id}`, transaction);
    return { id, status: 'stored', shard: 1, sequence: 2, timestamp };
  }
}

describe('an import', () => {
  test('sends every row once, with stamps in the order of the file, and leaves no journal', async () => {
    const cluster = new FakeCluster();
    const report = await run(rowsOf(8), cluster.client);
    expect(report).toMatchObject({ rows: 8, stored: 8, duplicate: 0, rejected: 0, resumed: 0, rejects: [] });
    expect(cluster.sent.map(({ id }) => id)).toEqual(rowsOf(8).map(({ id }) => id));
    const stamps = cluster.sent.map(({ timestamp }) => timestamp);
    expect(stamps.every((stamp, i) => i === 0 || stamp > (stamps[i - 1] as number))).toBe(true);
    expect(existsSync(journalPath)).toBe(false);
  });

  test('leaves the timestamps of the file as they are', async () => {
    const cluster = new FakeCluster();
    await run(
      rowsOf(2, (index) => ({ timestamp: 1_000 + index })),
      cluster.client,
    );
    expect(cluster.sent.map(({ timestamp }) => timestamp)).toEqual([1_000, 1_001]);
  });

  test('has the stamps of a batch on disk before the batch leaves', async () => {
    const cluster = new FakeCluster();
    const onDisk: string[] = [];
    cluster.refuse = () => {
      onDisk.push(readFileSync(journalPath, 'utf8'));
      return null;
    };
    await run(rowsOf(1), cluster.client);
    const [, sent] = (onDisk[0] as string).trim().split('\n');
    expect(JSON.parse(sent as string)).toEqual({ sent: 0, stamp: cluster.sent[0]?.timestamp });
  });

  test('lists rejects by line: those that can be none, and those that the cluster refuses', async () => {
    const cluster = new FakeCluster();
    const rows = rowsOf(6, (index) => {
      if (index === 4) return { fault: 'amount is "0": must not be 0' };
      return index === 3 ? { id: 'id-1', amount: 6n } : {};
    });
    expect(await run(rows, cluster.client)).toMatchObject({
      stored: 4,
      rejected: 2,
      rejects: [
        { line: 5, id: 'id-1', code: 'id_conflict', message: 'another amount' },
        { line: 6, id: 'id-4', code: 'invalid_transaction', message: 'amount is "0": must not be 0' },
      ],
    });
    expect(cluster.sent.some(({ id }) => id === 'id-4')).toBe(false);
  });

  test('that is not answered in time says so, keeps its journal, and goes on later without what was answered', async () => {
    const cluster = new FakeCluster();
    cluster.refuse = ({ id }) => (id === 'id-4' ? new SpillError('timeout', 'no answer') : null);
    await expect(run(rowsOf(8), cluster.client)).rejects.toMatchObject({
      exitCode: 3,
      message: 'line 6: timeout: no answer; run the same command again: it goes on where it stopped',
    });
    cluster.refuse = () => null;
    const before = cluster.sent.splice(0);
    expect(await run(rowsOf(8), cluster.client)).toMatchObject({ rows: 8, stored: 6, duplicate: 2, resumed: 3 });
    expect(cluster.sent.map(({ id }) => id)).toEqual(['id-3', 'id-4', 'id-5', 'id-6', 'id-7']);
    expect(cluster.sent[0]?.timestamp).toBe(before.find(({ id }) => id === 'id-3')?.timestamp);
  });

  test('that was cut off so long ago that its stamps are too old asks before it stamps again', async () => {
    const cluster = new FakeCluster();
    // The answer to the first batch is lost: row 0 was stored and has been forgotten by its shard since.
    cluster.refuse = ({ id }) => (id === 'id-0' ? null : new SpillError('timeout', 'no answer'));
    await expect(run(rowsOf(3), cluster.client)).rejects.toThrow('timeout');
    const first = cluster.stored.get('x id-0')!.timestamp;
    // All of it may have been within one millisecond, which is as fine as this clock is.
    await expect.poll(() => Date.now() * 1_000).toBeGreaterThan(first);
    cluster.horizon = Date.now() * 1_000;
    cluster.refuse = ({ id, timestamp }) =>
      id === 'id-0' && timestamp < cluster.horizon ? new SpillError('expired', 'too old') : null;
    expect(await run(rowsOf(3), cluster.client)).toMatchObject({ stored: 2, duplicate: 1, rejected: 0 });
    expect(cluster.stored.get('x id-0')?.timestamp).toBe(first);
    expect(cluster.sent.filter(({ id }) => id === 'id-0')).toHaveLength(2);
    expect(cluster.sent.filter(({ id }) => id === 'id-1').map(({ timestamp }) => timestamp >= cluster.horizon)).toEqual(
      [false, false, true],
    );
  });

  test('reports a timestamp of the file that is too old, and never changes it', async () => {
    const cluster = new FakeCluster();
    cluster.horizon = 5_000;
    const report = await run(
      rowsOf(1, () => ({ timestamp: 1_000 })),
      cluster.client,
    );
    expect(report).toMatchObject({ rejected: 1, rejects: [{ line: 2, code: 'expired' }] });
    expect(cluster.sent).toHaveLength(1);
  });
});

describe('a journal', () => {
  test('of another state of the file is refused', async () => {
    const journal = await ImportJournal.open(journalPath, SHA, BATCH_ROWS);
    await journal.close();
    await expect(ImportJournal.open(journalPath, 'b'.repeat(64), BATCH_ROWS)).rejects.toThrow(
      'the file was changed since',
    );
  });

  test('cut off in a line goes on before it, at every byte', async () => {
    const journal = await ImportJournal.open(journalPath, SHA, BATCH_ROWS);
    await journal.sending(0, 1_000);
    await journal.sendingAgain(0, [2], 9_000);
    await journal.answered(0, { stored: 3, duplicate: 0, applied: 0, rejected: [] });
    await journal.sending(1, 2_000);
    await journal.close();
    const whole = readFileSync(journalPath);
    for (let bytes = 0; bytes <= whole.length; bytes++) {
      writeFileSync(journalPath, whole.subarray(0, bytes));
      const again = await ImportJournal.open(journalPath, SHA, BATCH_ROWS);
      const lines = whole.subarray(0, bytes).toString().split('\n').length - 1;
      expect([again.wasSent(0), again.outcomeOf(0) !== undefined, again.wasSent(1)]).toEqual([
        lines > 1,
        lines > 3,
        lines > 4,
      ]);
      if (lines > 1) expect([again.stampOf(0, 0), again.stampOf(0, 2)]).toEqual([1_000, lines > 2 ? 9_000 : 1_002]);
      // What is written now begins on a line of its own.
      await again.sending(7, 7_000);
      await again.close();
      const last = await ImportJournal.open(journalPath, SHA, BATCH_ROWS);
      expect(last.stampOf(7, 1)).toBe(7_001);
      await last.close();
    }
  });

  test('that spill did not write is told', async () => {
    writeFileSync(journalPath, 'something else\n');
    await expect(ImportJournal.open(journalPath, SHA, BATCH_ROWS)).rejects.toThrow('is not as spill wrote it');
  });

  test('that has no place says which and how to name another', async () => {
    const nowhere = join(folder, 'none', 'journal');
    await expect(ImportJournal.open(nowhere, SHA, BATCH_ROWS)).rejects.toThrow(/name another place with --journal/);
  });
});

/**
 * Whatever an import is cut off by, and however often: each row is sent with one and the same timestamp, and the final
 * report counts each row once.
 */
test('cut off anywhere and repeated: one timestamp a row', async () => {
  const cut = fc.record({
    // Sent so many, then the process dies: before or after the cluster stored the last one.
    afterRows: fc.nat(25),
    stored: fc.boolean(),
    // As much of the journal's last line as a power cut leaves.
    torn: fc.nat(40),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 20 }),
      fc.array(cut, { maxLength: 4 }),
      fc.integer({ min: 1, max: 4 }),
      async (count, cuts, atOnce) => {
        rmSync(journalPath, { force: true });
        const cluster = new FakeCluster();
        const rows = rowsOf(count);
        let finished = false;
        for (const { afterRows, stored, torn } of cuts) {
          let left = afterRows;
          const died = new Error('died');
          const dying = {
            ...cluster.client,
            submit: async (transactions: readonly Sent[]) => {
              left -= transactions.length;
              if (left >= 0) return cluster.client.submit(transactions);
              if (stored) await cluster.client.submit(transactions);
              else cluster.sent.push(...transactions);
              throw died;
            },
          } as unknown as Client;
          try {
            await run(rows, dying, atOnce);
            finished = true;
            break;
          } catch (error) {
            expect(error).toBe(died);
            tear(torn);
          }
        }
        if (!finished) {
          const report = await run(rows, cluster.client, atOnce);
          expect(report.rows).toBe(count);
          expect(report.stored + report.duplicate).toBe(count);
        }
        expect(cluster.stored.size).toBe(count);
        const stamps = new Map<string, Set<number>>();
        for (const { id, timestamp } of cluster.sent) stamps.set(id, (stamps.get(id) ?? new Set()).add(timestamp));
        expect([...stamps.values()].every((set) => set.size === 1)).toBe(true);
      },
    ),
    runs(150),
  );
});

/** Only what was not on disk yet can be lost: an answer. */
function tear(bytes: number): void {
  const text = readFileSync(journalPath, 'utf8');
  const lines = text.trimEnd().split('\n');
  const last = lines.at(-1) as string;
  if (last.startsWith('{"answered"'))
    writeFileSync(journalPath, text.slice(0, text.length - Math.min(bytes, last.length)));
}
