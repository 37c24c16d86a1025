import { drainNode, registerNode, type Topology } from '@spill/core';
import { describe, expect, test } from 'vitest';
import { judgeNodes } from '../../packages/node/src/doctor/check-nodes.js';
import { DoctorFindings } from '../../packages/node/src/doctor/doctor-finding.js';
import { topologyOf } from '../support/random-topology.js';

const SINCE = '2026-01-02T00:00:00.000Z';

/** Nodes `node-a`, which has shards 1 to 3, `node-b` and `node-c`. */
function topology(): Topology {
  let made = topologyOf(3, 1_000_000n);
  for (const name of ['node-b', 'node-c']) made = registerNode(made, { name, labels: {}, since: SINCE });
  return made;
}

/** `answers`: names of nodes that answer, the active ones with a `*`. */
function said(of: Topology, answers: readonly string[]): Record<string, string> {
  const findings = new DoctorFindings();
  const told = of.nodes.map(({ name }) => {
    const active = answers.includes(`${name}*`);
    return active || answers.includes(name) ? { node: name, session: 's', active } : null;
  });
  judgeNodes(findings, of, told);
  return Object.fromEntries(findings.all.map(({ check, severity, message }) => [check, `${severity}: ${message}`]));
}

describe('doctor on nodes', () => {
  test('all are well', () => {
    expect(said(topology(), ['node-a*', 'node-b', 'node-c'])).toEqual({
      'node node-a': 'ok: answers, with shard 1, 2, 3',
      'node node-b': 'ok: answers, with no shard',
      'node node-c': 'ok: answers, with no shard',
      supervisor: 'ok: node node-a is the active one',
    });
  });

  test('a dead one with shards is an error, one without is to be removed', () => {
    const findings = said(topology(), ['node-b*']);
    expect(findings['node node-a']).toMatch(/^error: silent, and shard 1, 2, 3 is assigned to it/);
    expect(findings['node node-c']).toMatch(/^warn: silent, without a shard: .*`spill nodes remove node-c`/);
  });

  test('one that drains says what is left to go', () => {
    const draining = drainNode(topology(), 'node-a') as Topology;
    expect(said(draining, ['node-a', 'node-b*', 'node-c'])['node node-a']).toBe(
      'warn: drains: shard 1, 2, 3 is still to go',
    );
    const gone = { ...draining, shards: draining.shards.map((shard) => ({ ...shard, node: 'node-b' })) };
    expect(said(gone, ['node-a', 'node-b*', 'node-c'])['node node-a']).toMatch(/^warn: drains: it may be stopped/);
  });

  test('none or two active supervisors', () => {
    expect(said(topology(), ['node-a', 'node-b', 'node-c']).supervisor).toMatch(/^warn: none is active/);
    expect(said(topology(), ['node-a*', 'node-b*', 'node-c']).supervisor).toMatch(
      /^warn: node-a and node-b are active/,
    );
  });
});
