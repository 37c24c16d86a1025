/** What each row of the table is held against. */
export interface Target {
  readonly id: string;
  /** As the table shows it. */
  readonly what: string;
  readonly unit: 'tx/s' | '%' | 'times' | 'ms' | 's' | 'bytes';
  readonly better: 'more' | 'less';
  /** What may not be missed. */
  readonly floor: number;
  /** Where spill is to get. */
  readonly goal: number;
}

const rate = { unit: 'tx/s', better: 'more' } as const;
const share = { unit: '%', better: 'more' } as const;
const times = { unit: 'times', better: 'less' } as const;
const millis = { unit: 'ms', better: 'less' } as const;

/** In the order of the table. */
export const TARGETS: readonly Target[] = [
  { id: 'hot-8192', what: 'one hot account, SDK, 8,192 a request', ...rate, floor: 1_000_000, goal: 2_000_000 },
  {
    id: 'hot-1000',
    what: 'one hot account, SDK, 1,000 a request, 16 in flight',
    ...rate,
    floor: 600_000,
    goal: 1_000_000,
  },
  { id: 'router-json', what: 'router, batches of 1,000, JSON', ...rate, floor: 120_000, goal: 200_000 },
  { id: 'router-messagepack', what: 'router, batches of 1,000, MessagePack', ...rate, floor: 150_000, goal: 400_000 },
  {
    id: 'single-router',
    what: 'one a request, 64 in flight, router, of a bare NATS echo',
    ...share,
    floor: 40,
    goal: 60,
  },
  { id: 'single-sdk', what: 'one a request, 64 in flight, SDK, of a bare NATS echo', ...share, floor: 50, goal: 80 },
  { id: 'calls-1024', what: 'one a call, SDK, 1,024 calls at once', ...rate, floor: 150_000, goal: 400_000 },
  { id: 'calls-8192', what: 'one a call, SDK, 8,192 calls at once', ...rate, floor: 400_000, goal: 800_000 },
  { id: 'latency', what: 'one at a time, against a durable JetStream publish', ...times, floor: 2.5, goal: 1.5 },
  { id: 'accounts', what: '1, 1,000, 1,000,000 accounts: dearest against best', ...times, floor: 2, goal: 1.2 },
  { id: 'shards', what: '1, 4, 16 shards: dearest against best', ...times, floor: 2.5, goal: 1.5 },
  { id: 'open-loop-p99', what: 'open loop at 50 % of intake and fold, p99', ...millis, floor: 50, goal: 15 },
  { id: 'open-loop-p99.9', what: 'open loop at 50 % of intake and fold, p99.9', ...millis, floor: 150, goal: 40 },
  { id: 'fold-hot', what: 'fold into PostgreSQL, one hot account', ...rate, floor: 120_000, goal: 250_000 },
  { id: 'fold-many', what: 'fold into PostgreSQL, 100,000 accounts', ...rate, floor: 120_000, goal: 250_000 },
  { id: 'intake-and-fold', what: 'intake and fold together, kept up', ...rate, floor: 60_000, goal: 150_000 },
  { id: 'memory', what: 'memory a pending transaction', unit: 'bytes', better: 'less', floor: 120, goal: 60 },
  { id: 'restart', what: 'kill -9 to the first stored answer', unit: 's', better: 'less', floor: 3, goal: 1 },
  { id: 'replicas', what: 'three replicas, SDK, 8,192 a request', ...rate, floor: 450_000, goal: 900_000 },
  { id: 'overload', what: 'stored at twice what fits, of the best', ...share, floor: 90, goal: 90 },
];

export type Reached = 'goal' | 'floor' | 'no';

/** Whether a figure is as good as the goal, at least as the floor, or neither. */
export function reached({ better, floor, goal }: Target, value: number): Reached {
  const asGoodAs = (mark: number): boolean => (better === 'more' ? value >= mark : value <= mark);
  if (asGoodAs(goal)) return 'goal';
  return asGoodAs(floor) ? 'floor' : 'no';
}
