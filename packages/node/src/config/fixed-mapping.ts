import type { TableMapping, Topology } from '@spill/core';
import type { SettingKey } from './read-settings.js';
import { SettingsError } from './settings-error.js';

type FixedMapping = NonNullable<Topology['dataTable']>;

/** Where amounts go and what a unit is, by the settings' names. */
export const FIXED_MAPPING_SETTINGS: Readonly<Record<keyof FixedMapping, SettingKey>> = {
  table: 'table',
  idColumn: 'id_column',
  balanceColumn: 'balance_column',
  balanceType: 'balance_type',
  minorUnits: 'minor_units',
};

/** What the first start of a cluster fixes of it. */
export function fixedMapping(mapping: TableMapping): FixedMapping {
  const { table, idColumn, balanceColumn, balanceType, minorUnits } = mapping;
  return { table, idColumn, balanceColumn, balanceType, minorUnits };
}

/**
 * The mapping that the cluster's nodes fold with, for whoever else adds to its rows: another one would add wrong
 * amounts. `given` are the settings that were said; all others come from the cluster.
 *
 * @throws SettingsError where a setting that was said is another than the cluster's.
 */
export function clusterMapping(
  topology: Topology,
  mapping: TableMapping,
  given: ReadonlySet<SettingKey>,
): TableMapping {
  const problems: string[] = [];
  const settings = { ...FIXED_MAPPING_SETTINGS, idType: 'id_type' } as const;
  const cluster = { ...topology.dataTable, idType: topology.accountType };
  for (const [key, name] of Object.entries(settings) as [keyof typeof settings, SettingKey][]) {
    const fixed = cluster[key];
    if (fixed === undefined && !given.has(name)) {
      problems.push(`${name} is not said: this cluster is from before it was kept; give what its nodes have`);
    }
    if (fixed === undefined || !given.has(name) || fixed === mapping[key]) continue;
    problems.push(
      `${name} is ${mapping[key]}: this cluster has ${fixed}, fixed at its first start; leave it out or give that`,
    );
  }
  if (problems.length > 0) throw new SettingsError(problems);
  return { ...mapping, ...cluster };
}
