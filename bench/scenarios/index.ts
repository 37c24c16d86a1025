import type { Scenario } from '../scenario.js';
import { accounts } from './accounts.js';
import { fold } from './fold.js';
import { hotAccount } from './hot-account.js';
import { latency } from './latency.js';
import { memory } from './memory.js';
import { overload } from './overload.js';
import { replicas } from './replicas.js';
import { restart } from './restart.js';
import { router } from './router.js';
import { sdkCalls } from './sdk-calls.js';
import { shards } from './shards.js';
import { sustained } from './sustained.js';

/** In the order in which they run. */
export const SCENARIOS: readonly Scenario[] = [
  hotAccount,
  router,
  sdkCalls,
  latency,
  accounts,
  shards,
  fold,
  sustained,
  overload,
  memory,
  restart,
  replicas,
];
