import { PURGE_KEEP_BYTES } from '@spill/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { JetStreamLog } from '../../packages/node/dist/nats/log.js';
import { Purger } from '../../packages/node/dist/shard/purger.js';
import { runs } from '../support/property-runs.js';

const MIB = 1024 * 1024;
/** Of one purge, as long as records are about alike. */
const PURGE_MAX = 16 * MIB;

describe('a purger', () => {
  it('takes little at once, however much has come together, and all of it', async () => {
    const work = fc.record({
      recordBytes: fc.integer({ min: 1_024, max: 512 * 1_024 }),
      mib: fc.array(fc.integer({ min: 1, max: 600 }), { minLength: 1, maxLength: 4 }),
      /** A process started anew knows only the newest records. */
      startsAt: fc.double({ min: 0, max: 1, noNaN: true }),
    });
    await fc.assert(
      fc.asyncProperty(work, async ({ recordBytes, mib, startsAt }) => {
        let first = 1;
        let last = 0;
        let known = 0;
        const purges: number[] = [];
        const log = {
          info: async () => ({ firstSequence: first, lastSequence: last, bytes: (last - first + 1) * recordBytes }),
          purgeBelow: async (sequence: number) => {
            const purged = sequence - first;
            purges.push(purged * recordBytes);
            first = sequence;
            return purged;
          },
        } as unknown as JetStreamLog;
        const settings = { retentionMicros: 0, retentionBytes: 0, dataDir: '.' };
        const purger = new Purger(log, settings);
        const toSkip = Math.floor((startsAt * (mib[0] as number) * MIB) / recordBytes);
        for (const [i, bytes] of mib.entries()) {
          const records = Math.ceil((bytes * MIB) / recordBytes);
          for (let record = 0; record < records; record++) {
            last += 1;
            if (i === 0 && record < toSkip) continue;
            purger.recorded(last, recordBytes, last);
            known += recordBytes;
          }
          purges.length = 0;
          await purger.purge(last, last);
          for (const purged of purges) expect(purged).toBeLessThanOrEqual(PURGE_MAX);
          // What must stay, and the distance between two marks.
          const stays = PURGE_KEEP_BYTES + 2 * MIB + 3 * recordBytes;
          if (known > stays) expect((last - first + 1) * recordBytes).toBeLessThanOrEqual(stays);
        }
      }),
      runs(60),
    );
  });
});
