// The same without the SDK, in JSON over the `nats` package: `node examples/node/plain-nats.mjs [url]`.
import { connect, headers } from 'nats';

const nc = await connect({ servers: process.argv[2] ?? 'nats://127.0.0.1:4222' });

async function ask(subject, body, deadlineMs = 5_000) {
  const extra = headers();
  extra.set('Spill-Deadline-Ms', String(deadlineMs));
  const reply = await nc.request(subject, JSON.stringify(body), { timeout: deadlineMs + 500, headers: extra });
  const value = reply.json();
  if (reply.headers?.get('Nats-Service-Error-Code')) throw new Error(`${value.error.code}: ${value.error.message}`);
  return value;
}

// Amounts as decimal strings: JSON's numbers end at 2^53.
const id = `order-${Date.now()}`;
console.log(await ask('spill.transactions.submit', { id, account: 'carol', amount: '250000' }));
console.log(await ask('spill.balance.get', { account: 'carol' }));
console.log(await ask('spill.route.explain', { account: 'carol', amount: '250000' }));
await nc.close();
