/** Clocks that are apart: a router's or a client's, and that of the machine on which a shard runs. */
import { RowStatus, readSubmitRequest } from '@spill/core';
import type { ShardRequests } from '@spill/node';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { rowsOf } from '../support/fake-shard.ts';
import { runs } from '../support/property-runs.js';
import { topologyOf } from '../support/random-topology.js';
import { answerOf, submitterTo } from '../support/submitter-to.js';

const MINUTE_US = 60_000_000;
const SKEW_US = MINUTE_US;

/** A shard whose clock says `now`, microseconds. It knows no id, so that everything is judged by its time. */
function shardAt(now: number): ShardRequests['send'] {
  const horizon = now - 10 * MINUTE_US;
  return async (_target, _verb, payload) => {
    const statuses = rowsOf(readSubmitRequest(payload)!.batch).map(({ timestamp, stamped }) => {
      if (timestamp > now + SKEW_US) return RowStatus.ahead;
      if (timestamp >= horizon) return RowStatus.stored;
      return stamped ? RowStatus.restamp : RowStatus.expired;
    });
    return answerOf(Uint8Array.from(statuses), horizon);
  };
}

/** Relative to the clock of the process that submits, microseconds; away from the edges, since that clock goes on. */
const apart = fc.integer({ min: -120, max: 120 }).map((minutes) => minutes * MINUTE_US + MINUTE_US / 2);

it('spill stamps anew what it stamped by another clock; a user is told whose clocks differ', async () => {
  await fc.assert(
    fc.asyncProperty(apart, apart, fc.boolean(), fc.boolean(), async (shard, client, stamped, isRouter) => {
      const now = Date.now() * 1_000;
      const shardNow = now + shard;
      const timestamp = now + client;
      const submitter = submitterTo(topologyOf(3, 1_000n), shardAt(shardNow), {
        maxClockSkewMicros: isRouter ? SKEW_US : null,
      });
      const [result] = await submitter.submit([{ account: 'a', id: 'x', amount: 5n, timestamp, stamped }], 1_000);
      const ahead = timestamp > shardNow + SKEW_US;
      const old = timestamp < shardNow - 10 * MINUTE_US;
      if (!ahead && !old) expect(result).toMatchObject({ status: 'stored', timestamp });
      else if (stamped) expect(result).toMatchObject({ status: 'stored' });
      else if (old) expect(result).toMatchObject({ error: { code: 'expired' } });
      else if (isRouter && client <= SKEW_US) {
        // By the router's clock it is right: then the shard's is wrong, or both are, and it is not for the client to change.
        const message = expect.stringMatching(/clock of shard 1.*differ/);
        expect(result).toMatchObject({ error: { code: 'unavailable', retryable: true, message } });
      } else {
        const message = expect.stringMatching(/^timestamp is .*ahead of the cluster's clock.*clock here says 20\d\d-/);
        expect(result).toMatchObject({ error: { code: 'invalid_transaction', message } });
      }
    }),
    runs(300),
  );
});
