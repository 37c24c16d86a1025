// A client of spill with the SDK: `node examples/node/client.mjs [nats://127.0.0.1:4222]`, with a node running.
import { connect, SpillError } from '@spill/node/client';

const spill = await connect({ servers: process.argv[2] ?? 'nats://127.0.0.1:4222' });
try {
  // Minor units. Give ids that a retry after a crash of your own program would give again.
  const tx = { account: 'alice', id: `order-${Date.now()}`, amount: -1250n };
  const first = await spill.submit(tx);
  console.log(first.status, 'by shard', first.shard);
  if (first.status === 'rejected') throw first.error;

  // The same once more: recognised, and counted once.
  const again = await spill.submit({ ...tx, timestamp: first.timestamp });
  console.log(again.status);

  // Calls made at the same time travel together.
  const results = await Promise.all(
    Array.from({ length: 1_000 }, (_, n) => spill.submit({ account: 'bob', id: `${tx.id}-${n}`, amount: 1 })),
  );
  console.log(results.filter(({ status }) => status === 'stored').length, 'stored');

  const { balance, row, setAside, pending } = await spill.balance('alice');
  console.log(`alice: ${balance} = row ${row} + set aside ${setAside} + pending ${pending}`);

  const { transactions } = await spill.retrieve({ account: 'alice', limit: 5 });
  for (const { id, amount, state } of transactions) console.log(id, amount, state);

  await spill.submit({ account: 'alice', id: 'nothing', amount: 0 });
} catch (error) {
  if (!(error instanceof SpillError)) throw error;
  console.log(`refused: ${error.code}: ${error.message} (try again: ${error.retryable})`);
} finally {
  await spill.close();
}
