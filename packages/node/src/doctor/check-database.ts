import type { DataTable } from '@spill/core';
import type { DoctorFindings } from './doctor-finding.js';

export type DoctorTable = Pick<DataTable, 'checkSchema' | 'ledgerOf' | 'listSetAside' | 'listConflicts'> & {
  /** The database's clock, microseconds since 1970. */
  clock(): Promise<number>;
};

export interface DatabaseView {
  /** By shard: its watermark, and the ledger that this is in. */
  readonly ledgers: ReadonlyMap<number, Awaited<ReturnType<DataTable['ledgerOf']>>>;
  /** null: not told. */
  readonly clock: number | null;
}

const LISTED_MAX = 10_000;

/** null: it can't be reached, or is not as spill needs it. */
export async function checkDatabase(
  findings: DoctorFindings,
  table: DoctorTable,
  kind: 'postgres' | 'embedded',
  shards: readonly number[],
): Promise<DatabaseView | null> {
  try {
    const problems = await table.checkSchema();
    for (const problem of problems) findings.error('database', problem);
    if (problems.length > 0) return null;
    if (kind === 'embedded') {
      findings.warn(
        'database',
        'the embedded PGlite is for trying out: it does not sync to disk, its balances may go back after a crash and are ' +
          'then folded again. For more than that name a PostgreSQL with --database-url',
      );
    } else findings.ok('database', 'PostgreSQL is there, and prepared');
    const clock = await table.clock();
    const ledgers = new Map<number, Awaited<ReturnType<DataTable['ledgerOf']>>>();
    for (const shard of shards) ledgers.set(shard, await table.ledgerOf(shard));
    await checkSetAside(findings, table);
    await checkConflicts(findings, table);
    return { ledgers, clock };
  } catch (error) {
    findings.error(
      'database',
      `${(error as Error).message}. Transactions are stored all the same; balances are not answered, and nothing is folded until it is back`,
    );
    return null;
  }
}

async function checkSetAside(findings: DoctorFindings, table: DoctorTable): Promise<void> {
  const rows = await table.listSetAside({ limit: LISTED_MAX });
  if (rows.length === 0) return findings.ok('set aside', 'no transaction is set aside');
  const reasons = new Map<string, number>();
  for (const { reason } of rows) reasons.set(reason ?? 'unknown', (reasons.get(reason ?? 'unknown') ?? 0) + 1);
  const counts = [...reasons].map(([reason, count]) => `${reason} ${count}`).join(', ');
  findings.warn(
    'set aside',
    `${atLeast(rows.length)} stored and in no row yet (${counts}): see \`spill set-aside list\`, then retry, move or write off`,
  );
}

async function checkConflicts(findings: DoctorFindings, table: DoctorTable): Promise<void> {
  const open = await table.listConflicts({ state: 'open', limit: LISTED_MAX });
  if (open.length === 0) return findings.ok('conflicts', 'no conflict is open');
  findings.error(
    'conflicts',
    `${atLeast(open.length)} with the id of another one and another amount, in no balance: see ` +
      '`spill conflicts list`',
  );
}

function atLeast(count: number): string {
  if (count === LISTED_MAX) return `${count} or more transactions`;
  return count === 1 ? '1 transaction' : `${count} transactions`;
}
