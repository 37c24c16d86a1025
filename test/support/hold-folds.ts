import pg from 'pg';

/**
 * Makes every fold wait while `what` goes on, as another session's lock on spill's table of watermarks would: what is
 * stored stays pending. Reads go on.
 */
export async function withFoldsHeld<T>(databaseUrl: string, what: () => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  try {
    await client.query('BEGIN; LOCK TABLE spill.watermark IN EXCLUSIVE MODE');
    return await what();
  } finally {
    await client.end();
  }
}
