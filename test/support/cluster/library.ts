/**
 * The modules under test. Loaded from the packages' own `dist`, or, for the mutation tests, from a copy with one line
 * changed: that is why the cluster model gets them handed in and does not import them.
 */

import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

export interface Library {
  readonly core: typeof import('@spill/core');
  readonly openShard: typeof import('../../../packages/node/dist/shard/open-shard.js').openShard;
  readonly Shard: typeof import('../../../packages/node/dist/shard/shard.js').Shard;
  readonly TopologyView: typeof import('../../../packages/node/dist/shard/topology-view.js').TopologyView;
  readonly RecordMarks: typeof import('../../../packages/node/dist/shard/record-marks.js').RecordMarks;
  readonly RefoldingMark: typeof import('../../../packages/node/dist/shard/refolding-mark.js').RefoldingMark;
  readonly answering: typeof import('../../../packages/node/dist/shard/answer-questions.js');
  readonly askForChunk: typeof import('../../../packages/node/dist/shard/ask-for-chunk.js').askForChunk;
  readonly log: typeof import('../../../packages/node/dist/nats/log.js');
  readonly requesterOf: typeof import('../../../packages/node/dist/nats/request.js').requesterOf;
  readonly TopologyStore: typeof import('../../../packages/node/dist/nats/topology-store.js').TopologyStore;
  readonly TopologyKeeper: typeof import('../../../packages/node/dist/supervisor/topology-keeper.js').TopologyKeeper;
  readonly shardAsker: typeof import('../../../packages/node/dist/supervisor/shard-asker.js').shardAsker;
  readonly TopologyCache: typeof import('../../../packages/node/dist/router/topology-cache.js').TopologyCache;
  readonly ShardRequests: typeof import('../../../packages/node/dist/router/shard-requests.js').ShardRequests;
  readonly submitter: typeof import('../../../packages/node/dist/router/submitter.js');
  readonly directPathTo: typeof import('../../../packages/node/dist/router/direct-path.js').directPathTo;
  readonly readBalances: typeof import('../../../packages/node/dist/router/balance-reader.js').readBalances;
}

/** `folder` holds `core/dist` and `node/dist`. */
export async function loadLibrary(folder: string): Promise<Library> {
  const from = (path: string): Promise<object> => import(pathToFileURL(join(folder, path)).href);
  const node = (path: string): Promise<object> => from(`node/dist/${path}.js`);
  const [core, openShard, shard, view, marks, refolding, answering, askForChunk, log, request] = await Promise.all([
    from('core/dist/index.js'),
    node('shard/open-shard'),
    node('shard/shard'),
    node('shard/topology-view'),
    node('shard/record-marks'),
    node('shard/refolding-mark'),
    node('shard/answer-questions'),
    node('shard/ask-for-chunk'),
    node('nats/log'),
    node('nats/request'),
  ]);
  const [store, keeper, asker, cache, requests, submitter, direct, balances] = await Promise.all([
    node('nats/topology-store'),
    node('supervisor/topology-keeper'),
    node('supervisor/shard-asker'),
    node('router/topology-cache'),
    node('router/shard-requests'),
    node('router/submitter'),
    node('router/direct-path'),
    node('router/balance-reader'),
  ]);
  const all = Object.assign(
    {},
    openShard,
    shard,
    view,
    marks,
    refolding,
    askForChunk,
    request,
    store,
    keeper,
    asker,
    cache,
  );
  return {
    ...all,
    ...Object.assign({}, requests, direct, balances),
    core,
    answering,
    log,
    submitter,
  } as unknown as Library;
}
