import { findEmbeddedDatabase } from '@spill/node';
import pg from 'pg';

/** Every row of the data table, straight from the database: account → balance in minor units. */
export async function readBalances(folder) {
  const client = new pg.Client(findEmbeddedDatabase(folder));
  await client.connect();
  try {
    const { rows } = await client.query('SELECT id, balance FROM accounts');
    return new Map(rows.map(({ id, balance }) => [id, BigInt(balance)]));
  } finally {
    await client.end();
  }
}
