import { ReplyCode, type Topology, writeSubmitReply } from '@spill/core';
import {
  type ShardRequests,
  SUBMITTER_DEFAULTS,
  Submitter,
  type SubmitterSettings,
  type TopologyCache,
} from '@spill/node';

/** A submitter to shards for which `send` answers, under a topology that stays as it is, without a direct path. */
export function submitterTo(
  topology: Topology,
  send: ShardRequests['send'],
  settings: Partial<SubmitterSettings> = {},
): Submitter {
  const still = { current: topology, onChange: () => () => {}, refresh: async () => topology };
  return new Submitter({
    requests: { send } as unknown as ShardRequests,
    topology: still as unknown as TopologyCache,
    direct: null,
    settings: { ...SUBMITTER_DEFAULTS, ...settings },
  });
}

/** A shard's answer to a request, with a status for each row of it. */
export function answerOf(statuses: Uint8Array, horizon = 0): Awaited<ReturnType<ShardRequests['send']>> {
  const data = writeSubmitReply({
    code: ReplyCode.ok,
    message: '',
    retryAfterMs: 0,
    epoch: 1,
    horizon,
    sequence: 2,
    statuses,
    firsts: new Map(),
  });
  return { outcome: 'answer', data, error: null };
}
