import { startProgress } from './progress.mjs';

const BATCH = 128;
const AT_ONCE = 4;

/**
 * Submits all transactions, four batches at a time, and calls `halfWay` once when half of them are answered: the
 * others go on meanwhile.
 *
 * @returns {Promise<object[]>} a result each, in order
 * @throws Error naming the first that was refused
 */
export async function importOrders(client, orders, { halfWay, signal }) {
  const results = new Array(orders.length);
  const progress = startProgress(orders.length, 'import');
  let next = 0;
  let done = 0;
  let half = null;

  async function work() {
    while (next < orders.length) {
      signal.throwIfAborted();
      const from = next;
      next += BATCH;
      const batch = await client.submit(orders.slice(from, from + BATCH));
      for (const [i, result] of batch.entries()) results[from + i] = result;
      done += batch.length;
      progress.update(done);
      if (half === null && done >= orders.length / 2) half = halfWay();
    }
  }
  try {
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    await half;
  } finally {
    progress.stop();
  }
  const refused = results.findIndex(({ status }) => status === 'rejected');
  if (refused >= 0) throw new Error(`line ${refused + 2} was refused: ${results[refused].error.message}`);
  return results;
}
