import { ownerOf, POOLS, type ShardEntry, type Topology } from '@spill/core';
import type { DoctorFindings } from './doctor-finding.js';

/** What the document itself says. */
export function checkTopology(findings: DoctorFindings, topology: Topology): void {
  const before = findings.all.length;
  for (const pool of POOLS) checkOwners(findings, topology, pool);
  for (const shard of topology.shards) checkState(findings, shard);
  if (topology.nodes.length > 1) {
    const alone = topology.shards.filter((shard) => shard.replicas === 1 && shard.state !== 'retired');
    if (alone.length > 0) {
      findings.warn(
        'topology',
        `the logs of ${namesOf(alone)} have one replica, on one of ${topology.nodes.length} machines: without that machine ` +
          'they wait for it, and its disk is all there is of them',
      );
    }
  }
  const count = topology.shards.filter((shard) => shard.state !== 'retired').length;
  findings.okUnless(
    'topology',
    before,
    `epoch ${topology.epoch}: ${count} shards, every slot of every pool has its owner`,
  );
}

function checkOwners(findings: DoctorFindings, topology: Topology, pool: (typeof POOLS)[number]): void {
  const ownerless: number[] = [];
  for (let slot = 0; slot < topology.slotCount; slot++) {
    try {
      if (ownerOf(topology, pool, slot).state === 'retired') ownerless.push(slot);
    } catch {
      // ownerOf throws exactly where the document names none.
      ownerless.push(slot);
    }
  }
  if (ownerless.length === 0) return;
  findings.error(
    'topology',
    `${ownerless.length} slots of the pool ${pool} have no owner, such as ${ownerless[0]}: the topology was changed by hand, ` +
      'or is an older one. Restore it from a backup',
  );
}

function checkState(findings: DoctorFindings, shard: ShardEntry): void {
  const check = `shard ${shard.id}`;
  const reason = shard.reason ?? 'no reason given';
  if (shard.state === 'damaged') {
    findings.error(
      check,
      `damaged, it takes and folds nothing: ${reason}. Where a better copy of its log is to be had, stop the node and put ` +
        `that back; else \`spill repair ${shard.id}\` says what would be lost, and --accept-loss brings it back`,
    );
  } else if (shard.state === 'failed') {
    findings.error(
      check,
      `its process does not stay up, it is tried every 60 s: ${reason}. The log of node ${shard.node} says more ` +
        '(node.log in its data folder)',
    );
  } else if (shard.refolding) {
    findings.warn(
      check,
      'the database was set back, or the log repaired: it is folded again from there. Balances are right meanwhile, or not answered',
    );
  }
}

function namesOf(shards: readonly ShardEntry[]): string {
  return shards.length === 1 ? `shard ${shards[0]?.id}` : `shards ${shards.map((shard) => shard.id).join(', ')}`;
}
