import type { PostgresDataTable, PostgresDataTableOptions } from '@spill/node';
import { freshDataTable, sql, type TestDatabase } from '../../support/data-table-fixture.js';

/** Who and why, where an operator acts. */
export const NOTE = { who: 'ada', why: 'a test' };

export function key(account: string, id: string): { account: string; id: string } {
  return { account, id };
}

/** One database, the data table of the case at hand on it, and looks at it by plain SQL. */
export class Workbench {
  database!: TestDatabase;
  table!: PostgresDataTable;

  /** A fresh `accounts` with these balances. */
  async withAccounts(accounts: Record<string, number>, options: Partial<PostgresDataTableOptions> = {}): Promise<void> {
    this.table = await freshDataTable(this.database, undefined, {}, options);
    for (const [id, balance] of Object.entries(accounts)) {
      await sql(this.database, 'INSERT INTO accounts VALUES ($1, $2)', [id, balance]);
    }
  }

  async balances(): Promise<Record<string, string>> {
    const text = 'SELECT id::text AS id, balance::text AS balance FROM accounts ORDER BY id::text';
    const rows = await sql(this.database, text);
    return Object.fromEntries(rows.map((row) => [row.id, row.balance])) as Record<string, string>;
  }

  /** `account/id` → state, with the reason where it was ever set aside. */
  async states(): Promise<Record<string, string>> {
    const text = 'SELECT account, id, state::text, reason::text FROM spill.ledger ORDER BY account, id';
    const rows = await sql(this.database, text);
    return Object.fromEntries(
      rows.map((row) => [`${row.account}/${row.id}`, row.reason === null ? row.state : `${row.state}: ${row.reason}`]),
    ) as Record<string, string>;
  }

  /** Row + set aside, as a balance read adds them. */
  async counted(account: string): Promise<bigint> {
    const { accounts } = await this.table.readBalances([account], []);
    return (accounts[0]!.row ?? 0n) + accounts[0]!.setAside;
  }
}
