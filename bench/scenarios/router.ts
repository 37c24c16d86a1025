import type { TransactionInput } from '@spill/node/client';
import { bodyOf, type Encoding, RawClient, resultsOf } from '../../test/support/raw-client.js';
import { natsEchoPeer } from '../peers/nats-echo.js';
import { figuresOf } from '../peers/peer.js';
import type { Figure, Run, Scenario, ScenarioResult } from '../scenario.js';
import { type Bed, withBed } from '../support/bed.js';
import { closedLoop } from '../support/closed-loop.js';
import { median } from '../support/machine.js';
import { inRounds, type Measured, type Part, type Rounds } from '../support/rounds.js';
import { Transactions } from '../support/transactions.js';

const ROUNDS = 3;
const BATCH = 1_000;
const BATCHES = 200;
const BATCHES_IN_FLIGHT = 16;
const SINGLES = 20_000;
const SINGLES_IN_FLIGHT = 64;

/** Any NATS client, through the router; and one transaction a request, against a process that only echoes. */
export const router: Scenario = {
  name: 'router',
  seconds: 60,
  run: (run) =>
    withBed({}, async (bed) => {
      const client = await RawClient.open(bed.node.natsUrl);
      const echo = await natsEchoPeer(bed.node.natsUrl);
      try {
        return await on(bed, client, echo, run);
      } finally {
        await client.close();
        await echo.close();
      }
    }),
};

async function on(
  bed: Bed,
  client: RawClient,
  echo: Awaited<ReturnType<typeof natsEchoPeer>>,
  run: Run,
): Promise<ScenarioResult> {
  const transactions = new Transactions('r');
  const raw = (count: number, size: number, inFlight: number, encoding: Encoding) =>
    sendRaw(bed, client, transactions, { count, size, inFlight, encoding });
  const batches = (name: string, encoding: Encoding): Part => ({
    name,
    warmUp: () => raw(BATCHES / 2, BATCH, BATCHES_IN_FLIGHT, encoding),
    measure: () => raw(BATCHES, BATCH, BATCHES_IN_FLIGHT, encoding),
  });
  const measured = await inRounds(run, bed, ROUNDS, [
    batches('router-json', 'json'),
    batches('router-messagepack', 'messagepack'),
    {
      name: 'single-router',
      warmUp: () => raw(SINGLES / 2, 1, SINGLES_IN_FLIGHT, 'messagepack'),
      measure: () => raw(SINGLES, 1, SINGLES_IN_FLIGHT, 'messagepack'),
    },
    {
      name: 'single-sdk',
      warmUp: () => sendSingles(bed, transactions, SINGLES / 2),
      measure: () => sendSingles(bed, transactions, SINGLES),
    },
    { name: echo.peer, warmUp: echo.measure, measure: echo.measure },
  ]);
  run.says('comparing rows, ledger and log');
  const ofEcho = measured.get(echo.peer)!;
  return {
    figures: [
      inTransactions('router-json', measured),
      inTransactions('router-messagepack', measured),
      ofPeer('single-router', measured, ofEcho),
      ofPeer('single-sdk', measured, ofEcho),
    ],
    peers: figuresOf([echo], measured),
    sizes: { rounds: ROUNDS, batches: BATCHES, batch: BATCH, batches_in_flight: BATCHES_IN_FLIGHT, singles: SINGLES },
    checked: [await bed.check()],
  };
}

/** Bodies are packed before the clock starts and replies read after it has stopped: the client must not be the limit. */
async function sendRaw(
  bed: Bed,
  client: RawClient,
  transactions: Transactions,
  { count, size, inFlight, encoding }: { count: number; size: number; inFlight: number; encoding: Encoding },
): Promise<Measured> {
  const batches = transactions.batches(count * size, size);
  const requests = batches.map((batch) => ({ batch, body: bodyOf(batch, encoding) }));
  const replies: { batch: readonly TransactionInput[]; reply: Uint8Array }[] = [];
  const measured = await closedLoop(requests, size, inFlight, async ({ batch, body }) => {
    replies.push({ batch, reply: await client.send(body) });
  });
  for (const { batch, reply } of replies) {
    for (const result of resultsOf(reply, encoding, batch)) {
      if (result.status !== 'stored') throw new Error(`not stored: ${JSON.stringify(result)}`);
    }
  }
  for (const batch of batches) bed.acknowledged.add(batch);
  return measured;
}

async function sendSingles(bed: Bed, transactions: Transactions, count: number): Promise<Measured> {
  const singles = transactions.take(count);
  const measured = await closedLoop(singles, 1, SINGLES_IN_FLIGHT, async (one) => {
    const result = await bed.spill.submit(one);
    if (result.status !== 'stored') throw new Error(`not stored: ${JSON.stringify(result)}`);
  });
  bed.acknowledged.add(singles);
  return measured;
}

function inTransactions(id: string, measured: ReadonlyMap<string, Rounds>): Figure {
  const { median, values } = measured.get(id)!;
  const { value, p50Ms = 0, p99Ms = 0 } = median;
  const detail = `a request takes ${p50Ms.toFixed(1)} ms, 99 % at most ${p99Ms.toFixed(1)} ms`;
  return { id, value, perSecond: value, detail, rounds: values };
}

/** In per cent of what the peer did in the same round. */
function ofPeer(id: string, measured: ReadonlyMap<string, Rounds>, peer: Rounds): Figure {
  const { median: middle, values } = measured.get(id)!;
  const { value: perSecond, p50Ms = 0, p99Ms = 0 } = middle;
  const shares = values.map((value, round) => (value / (peer.values[round] as number)) * 100);
  const value = median(shares);
  const detail = `${Math.round(perSecond).toLocaleString('en-US')}/s, p50 ${p50Ms.toFixed(1)} ms, p99 ${p99Ms.toFixed(1)} ms`;
  return { id, value, perSecond, detail, rounds: shares };
}
