import type { Names, NodeEntry, Topology } from '@spill/core';
import type { NatsConnection } from '../nats/connect.js';
import { askPresence, type PresenceAnswer } from '../supervisor/node-presence.js';
import type { DoctorFindings } from './doctor-finding.js';

/** Twice: what is asked while servers take up or lose a route is answered by nobody. */
const TRIES = 2;

/** Which nodes answer, drain or are gone, and whether one of them is the active supervisor. */
export async function checkNodes(
  findings: DoctorFindings,
  nc: NatsConnection,
  names: Names,
  topology: Topology,
): Promise<void> {
  const answers = await Promise.all(topology.nodes.map(({ name }) => ask(nc, names, name)));
  judgeNodes(findings, topology, answers);
}

/** `answers`: of each node of the topology, in its order; null: it is silent. */
export function judgeNodes(
  findings: DoctorFindings,
  topology: Topology,
  answers: readonly (PresenceAnswer | null)[],
): void {
  for (const [i, node] of topology.nodes.entries()) judge(findings, topology, node, answers[i] ?? null);
  const active = answers.filter((answer) => answer?.active).map((answer) => answer?.node);
  if (active.length === 1) findings.ok('supervisor', `node ${active[0]} is the active one`);
  else if (active.length > 1) {
    findings.warn('supervisor', `${active.join(' and ')} are active: one is taking over from the other; ask again`);
  } else {
    findings.warn('supervisor', 'none is active: moves and failovers wait. After a failure that passes within seconds');
  }
}

function judge(findings: DoctorFindings, topology: Topology, node: NodeEntry, answer: PresenceAnswer | null): void {
  const check = `node ${node.name}`;
  const shards = topology.shards.filter((shard) => shard.node === node.name && shard.state !== 'retired');
  const held = shards.length === 0 ? 'no shard' : `shard ${shards.map(({ id }) => id).join(', ')}`;
  if (!answer && shards.length > 0) {
    findings.error(
      check,
      `silent, and ${held} is assigned to it: that goes to another node within seconds, where one lives and its log has ` +
        'several copies; else start this node again',
    );
  } else if (!answer) {
    findings.warn(check, `silent, without a shard: start it again, or \`spill nodes remove ${node.name}\``);
  } else if (node.draining) {
    const next = shards.length > 0 ? `${held} is still to go` : 'it may be stopped; its next start takes it back';
    findings.warn(check, `drains: ${next}`);
  } else findings.ok(check, `answers, with ${held}`);
}

async function ask(nc: NatsConnection, names: Names, node: string): Promise<PresenceAnswer | null> {
  for (let tries = 0; tries < TRIES; tries++) {
    const answer = await askPresence(nc, names, node);
    if (answer) return answer;
  }
  return null;
}
