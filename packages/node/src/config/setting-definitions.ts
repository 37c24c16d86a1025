import type * as v from 'valibot';
import {
  amount,
  duration,
  fraction,
  hosts,
  labels,
  oneOf,
  oneOfNumbers,
  poolLabels,
  size,
  text,
  url,
  wholeNumber,
  yesOrNo,
} from './value-schemas.js';

/** Headings of `spill-node start --help`. */
export const SETTING_GROUPS = [
  'Where things are',
  'Fixed at the first start',
  "The user's table",
  'Limits and times',
] as const;

export interface SettingDefinition<T, D> {
  readonly schema: v.GenericSchema<unknown, T>;
  readonly default: D;
  readonly group: (typeof SETTING_GROUPS)[number];
  /** One line for `--help`. */
  readonly help: string;
  /** As it is written after the flag; absent: a flag without a value. */
  readonly example?: string;
  /** The flag takes several values, and may be given several times. */
  readonly several?: true;
  /** Where the flag is not the key with `-` for `_`. */
  readonly flag?: string;
  /** Its value is never shown. */
  readonly secret?: true;
  /** What `--help` says instead of the default's own text. */
  readonly defaultText?: string;
}

function define<T>(definition: SettingDefinition<T, NoInfer<T>>): SettingDefinition<T, T> {
  return definition;
}

/** Where not saying it is a value of its own. */
function optional<T>(definition: Omit<SettingDefinition<T, null>, 'default'>): SettingDefinition<T, null> {
  return { ...definition, default: null };
}

const KIB = 2 ** 10;
const MIB = 2 ** 20;
const GIB = 2 ** 30;
const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const [WHERE, FIRST, TABLE, LIMITS] = SETTING_GROUPS;
const IDENTIFIER = /^[A-Za-z_][A-Za-z0-9_$]{0,62}$/;
const QUALIFIED = /^[A-Za-z_][A-Za-z0-9_$]{0,62}(\.[A-Za-z_][A-Za-z0-9_$]{0,62})?$/;

/**
 * Every setting by its key, as it stands in a configuration file. In the environment it is `SPILL_<KEY>`, as a flag
 * `--<key>` with `-` for `_`.
 */
export const SETTING_DEFINITIONS = {
  data_dir: define({
    schema: text(/./, 'a folder, such as ./.spill'),
    default: './.spill',
    group: WHERE,
    help: "folder of this node's files; one node at a time may use it",
    example: './.spill',
  }),
  nats: optional({
    schema: url(['nats:', 'tls:', 'ws:', 'wss:'], 'nats://127.0.0.1:4222', true),
    group: WHERE,
    help: 'use this NATS server instead of the embedded one; several separated by commas',
    example: 'nats://10.0.0.5:4222',
    defaultText: 'the embedded server',
  }),
  nats_port: define({
    schema: wholeNumber(0, 65_535, 4222),
    default: 4222,
    group: WHERE,
    help: 'port of the embedded server; 0 takes a free one',
    example: '4223',
  }),
  listen: optional({
    schema: text(/^[a-zA-Z0-9.:-]{1,253}$/, 'an address or a name of this machine, such as 10.0.0.5'),
    group: WHERE,
    help: 'address of this machine on which the embedded server listens; whoever reaches it may use it',
    example: '10.0.0.5',
    defaultText: '127.0.0.1, in a cluster 0.0.0.0',
  }),
  cluster: optional({
    schema: text(/^[a-zA-Z0-9][a-zA-Z0-9_-]{0,62}$/, '1 to 63 letters, digits, _ and -, such as bank'),
    group: WHERE,
    help: 'make one cluster of the embedded servers of several machines: its name, the same on each',
    example: 'bank',
    defaultText: 'none, the server stands alone',
  }),
  join: define({
    schema: hosts(),
    default: [],
    group: WHERE,
    help: 'other machines of that cluster, as host or host:port; the first one may have none',
    example: '10.0.0.6 10.0.0.7:6222',
    several: true,
    defaultText: 'none',
  }),
  cluster_port: define({
    schema: wholeNumber(1, 65_535, 6222),
    default: 6222,
    group: WHERE,
    help: 'port on which the embedded servers of a cluster reach this one',
    example: '6223',
  }),
  cluster_secret: optional({
    schema: text(/^[A-Za-z0-9_-]{16,128}$/, '16 to 128 letters, digits, _ and -, such as `openssl rand -hex 16` makes'),
    group: WHERE,
    help: 'what the embedded servers of a cluster show each other, the same on each; best given as SPILL_CLUSTER_SECRET',
    example: 'b1946ac92492d2347c6235b4d2611184',
    defaultText: 'none: any server may join',
    secret: true,
  }),
  nats_monitor: optional({
    schema: url(['http:', 'https:'], 'http://10.0.0.5:8222', true),
    group: WHERE,
    help: 'monitor URLs of the servers named by --nats: show that an acknowledgement means an fsync there',
    example: 'http://10.0.0.5:8222',
    defaultText: 'none',
  }),
  accept_unverified_sync: define({
    schema: yesOrNo(),
    default: false,
    group: WHERE,
    help: 'use an external server though nothing shows sync_interval: always: acknowledged may then be lost',
  }),
  database_url: optional({
    schema: url(['postgres:', 'postgresql:'], 'postgres://user@localhost/bank'),
    group: WHERE,
    help: "the database with the user's table",
    example: 'postgres://user@localhost/bank',
    defaultText: 'embedded PGlite, for trying out',
  }),
  apply_schema: define({
    schema: yesOrNo(),
    default: false,
    group: WHERE,
    help: "create or update spill's own tables in PostgreSQL before starting, as `spill schema apply` does",
  }),
  node_name: optional({
    schema: text(/^[a-zA-Z0-9][a-zA-Z0-9_-]{0,62}$/, '1 to 63 letters, digits, _ and -, such as node-a'),
    group: WHERE,
    help: 'name of this node in the topology; the data folder remembers it',
    example: 'node-a',
    defaultText: "the host's name",
  }),
  prefix: define({
    schema: text(/^[a-z][a-z0-9-]{0,31}$/, '1 to 32 of a-z, 0-9 and -, beginning with a letter, such as spill'),
    default: 'spill',
    group: WHERE,
    help: 'beginning of every subject, stream and bucket: clusters with different ones can share a server',
    example: 'spill-test',
  }),
  labels: define({
    schema: labels(),
    default: {},
    group: WHERE,
    help: 'labels of this node, for placing shards',
    example: 'disk=fast,zone=a',
    defaultText: 'none',
  }),
  pool_labels: define({
    schema: poolLabels(),
    default: {},
    group: WHERE,
    help: 'labels that a node must have to run the shards of a pool; the same on every node',
    example: 'large:disk=fast',
    defaultText: 'none',
  }),
  json_logs: define({
    schema: yesOrNo(),
    default: false,
    group: WHERE,
    help: 'write the log as one JSON object a line',
  }),

  shard_count: optional({
    schema: wholeNumber(3, 1_000, 3),
    group: FIRST,
    flag: 'shards',
    help: 'number of shards, dealt to the pools credit, debit and large in turn',
    example: '6',
    defaultText: '3',
  }),
  large_threshold: optional({
    schema: amount(1n, 2n ** 63n - 1n, 1_000_000n),
    group: FIRST,
    help: 'amounts of this magnitude and above go to the pool "large"; in minor units',
    example: '80000',
    defaultText: '1000000',
  }),
  replication_factor: optional({
    schema: oneOfNumbers([1, 3, 5]),
    group: FIRST,
    flag: 'replicas',
    help: 'copies of each log: 1, 3 or 5',
    example: '3',
    defaultText: '1 alone, 3 in a cluster of servers',
  }),

  table: define({
    schema: text(QUALIFIED, 'a table name, with its schema or without, such as accounts or bank.accounts'),
    default: 'accounts',
    group: TABLE,
    help: 'the table with one row an account',
    example: 'bank.accounts',
  }),
  id_column: define({
    schema: text(IDENTIFIER, 'a column name, such as id'),
    default: 'id',
    group: TABLE,
    help: "column that holds the account's id",
    example: 'account_id',
  }),
  id_type: define({
    schema: oneOf(['text', 'varchar', 'int4', 'int8', 'uuid']),
    default: 'text',
    group: TABLE,
    help: "that column's type: text, varchar, int4, int8 or uuid",
    example: 'uuid',
  }),
  balance_column: define({
    schema: text(IDENTIFIER, 'a column name, such as balance'),
    default: 'balance',
    group: TABLE,
    help: 'column that holds the balance',
    example: 'amount',
  }),
  balance_type: define({
    schema: oneOf(['int8', 'numeric']),
    default: 'int8',
    group: TABLE,
    help: "that column's type: int8 (minor units) or numeric (major units, see minor_units)",
    example: 'numeric',
  }),
  minor_units: define({
    schema: wholeNumber(0, 18, 2),
    default: 0,
    group: TABLE,
    help: 'for numeric: decimal places of a major unit, 2 for cents',
    example: '2',
  }),
  create_accounts: define({
    schema: yesOrNo(),
    default: false,
    group: TABLE,
    help: 'insert unknown accounts with balance 0 instead of setting their transactions aside',
  }),

  dedupe_window: define({
    schema: duration(15 * SECOND, 30 * DAY, 10 * MINUTE),
    default: 10 * MINUTE,
    group: LIMITS,
    help: 'how long ids are kept, and how old a new transaction may be',
    example: '"10 min"',
    defaultText: '10 min',
  }),
  dedupe_window_min: define({
    schema: duration(SECOND, 30 * DAY, 15 * SECOND),
    default: 15 * SECOND,
    group: LIMITS,
    help: 'to what that may shrink where ids_max is reached',
    example: '"15 s"',
    defaultText: '15 s',
  }),
  max_clock_skew: define({
    schema: duration(SECOND, HOUR, MINUTE),
    default: MINUTE,
    group: LIMITS,
    help: 'how far clocks may differ; a timestamp further ahead is refused',
    example: '"60 s"',
    defaultText: '60 s',
  }),
  ids_max: define({
    schema: wholeNumber(1_000, 200_000_000, 20_000_000),
    default: 20_000_000,
    group: LIMITS,
    help: 'ids that a shard keeps at most',
    example: '5000000',
  }),
  pending_bytes_max: define({
    schema: size(MIB, 1024 * GIB, GIB),
    default: GIB,
    group: LIMITS,
    help: 'bytes of a log that may wait for the fold; past that a shard answers "overloaded"',
    example: '"1 GiB"',
    defaultText: '1 GiB',
  }),
  record_bytes_max: define({
    schema: size(4 * KIB, 8 * MIB, 512 * KIB),
    default: 512 * KIB,
    group: LIMITS,
    help: 'bytes of one record of a log; the max_payload of the server must be 1.5 times that',
    example: '"512 KiB"',
    defaultText: '512 KiB',
  }),
  log_retention: define({
    schema: duration(0, 3_650 * DAY, DAY),
    default: DAY,
    group: LIMITS,
    help: 'how long folded records are kept, so that a database restored to an earlier state is folded again',
    example: '"24 h"',
    defaultText: '24 h',
  }),
  log_retention_bytes: optional({
    schema: size(64 * MIB, 1024 * 1024 * GIB, 10 * GIB),
    group: LIMITS,
    help: 'bytes of folded records at most, all shards of this node together',
    example: '"10 GiB"',
    defaultText: 'a tenth of the disk that was free at the first start',
  }),
  fold_age: define({
    schema: duration(1, HOUR, 200),
    default: 200,
    group: LIMITS,
    help: 'fold when the oldest record that waits is this old',
    example: '"200 ms"',
    defaultText: '200 ms',
  }),
  fold_count: define({
    schema: wholeNumber(1, 1_000_000, 10_000),
    default: 10_000,
    group: LIMITS,
    help: 'fold when this many transactions wait',
    example: '10000',
  }),
  direct_after_ms: define({
    schema: duration(0, HOUR, SECOND, true),
    default: SECOND,
    group: LIMITS,
    help: 'how long a shard must be away before its transactions go to the row directly',
    example: '1000',
  }),
  max_pause_ms: define({
    schema: duration(1, MINUTE, 100, true),
    default: 100,
    group: LIMITS,
    help: 'longest pause of a slot that moves, from its seal to the commit; past that the move is given up',
    example: '100',
  }),
  cool_down: define({
    schema: duration(0, DAY, 30 * SECOND),
    default: 30 * SECOND,
    group: LIMITS,
    help: "time since a pool's last action or move before the next; the supervisor looks every 5 s",
    example: '"30 s"',
    defaultText: '30 s',
  }),
  lease_ttl: define({
    schema: duration(SECOND, HOUR, 5 * SECOND),
    default: 5 * SECOND,
    group: LIMITS,
    help: "how long a supervisor's lease lasts",
    example: '"5 s"',
    defaultText: '5 s',
  }),
  node_silence: define({
    schema: duration(2 * SECOND, HOUR, 5 * SECOND),
    default: 5 * SECOND,
    group: LIMITS,
    help: 'how long a node must be silent before its shards are given to others',
    example: '"5 s"',
    defaultText: '5 s',
  }),
  heartbeat: define({
    schema: duration(100, SECOND, SECOND),
    default: SECOND,
    group: LIMITS,
    help: 'time between two heartbeats',
    example: '"1 s"',
    defaultText: '1 s',
  }),
  shard_growth_threshold: define({
    schema: fraction(0.7),
    default: 0.7,
    group: LIMITS,
    help: 'fraction of a core, or of its memory limit, above which a shard is relieved',
    example: '0.7',
  }),
  shard_shrink_threshold: define({
    schema: fraction(0.2),
    default: 0.2,
    group: LIMITS,
    help: 'fraction of both below which a shard is given up',
    example: '0.2',
  }),
} as const;
