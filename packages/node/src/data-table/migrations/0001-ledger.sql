-- spill's own tables, in a schema of their own beside the user's table.
--
-- Public contract: `spill.ledger` may be read, joined, exported and partitioned (its key begins with the account).
-- It is append-only: no row is ever deleted, and account, id, amount, timestamp, shard, log_id, sequence and
-- record_index never change. Only spill changes state, reason, detail, attempts, next_attempt_at, applied_account and
-- settled_at. The other tables may be read; their columns may grow.
--
-- Texts are COLLATE "C": compared by their bytes. Amounts and balances are in minor units.

CREATE SCHEMA IF NOT EXISTS spill;

CREATE TABLE spill.schema_version (
  version integer PRIMARY KEY,
  name text NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT now()
);

-- applied: added to the row of `account`, or of `applied_account` where that is set.
-- set_aside: stored, not yet added to a row; counted in the balance.
-- written_off: an operator decided that it is never added; in no balance.
CREATE TYPE spill.ledger_state AS ENUM ('applied', 'set_aside', 'written_off');

CREATE TYPE spill.set_aside_reason AS ENUM ('row_locked', 'row_missing', 'constraint', 'out_of_range', 'sql_error');

-- One row for every transaction that took effect. The key (account, id) is the last word on what took effect once.
CREATE TABLE spill.ledger (
  account text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  amount bigint NOT NULL,
  -- The client's first try, to the microsecond; not a business date.
  timestamp timestamptz NOT NULL,
  -- Where it was stored: shard, log, the record's sequence there, its place in the record. All null: direct path.
  shard integer,
  log_id uuid,
  sequence bigint,
  record_index integer,
  recorded_at timestamptz NOT NULL DEFAULT now(),
  state spill.ledger_state NOT NULL,
  -- Why it was set aside, and the database's own words; kept as history once it is applied.
  reason spill.set_aside_reason,
  detail text COLLATE "C",
  -- Failed retries (null: none) and when the next one is due (null: at once).
  attempts integer,
  next_attempt_at timestamptz,
  -- The account whose row an operator had it added to, where that is another one.
  applied_account text COLLATE "C",
  -- When a set-aside row was applied, moved or written off.
  settled_at timestamptz,
  PRIMARY KEY (account, id)
);

-- Pages of one account in the order of time.
CREATE INDEX ledger_by_time ON spill.ledger (account, timestamp, id);
-- Few rows: the sum that a balance read adds, and what is due.
CREATE INDEX ledger_set_aside ON spill.ledger (account, next_attempt_at) WHERE state = 'set_aside';
CREATE INDEX ledger_moved ON spill.ledger (applied_account) WHERE applied_account IS NOT NULL;
-- Rows of a range of a log: they lie together, so a summary per range of pages is enough and costs a fold nothing.
CREATE INDEX ledger_by_sequence ON spill.ledger USING brin (sequence) WITH (pages_per_range = 32, autosummarize = on);

-- How far each shard's log is folded. Changed only by the SQL transaction that folds, and by `spill repair`.
-- folded, dropped and conflict count the log's transactions between base_sequence and sequence: inserted into the
-- ledger, there already with the same amount, there already with another amount.
CREATE TABLE spill.watermark (
  shard integer PRIMARY KEY,
  pool text COLLATE "C" NOT NULL,
  log_id uuid NOT NULL,
  sequence bigint NOT NULL,
  number bigint NOT NULL,
  -- The first 16 bytes of SHA-256 of that record.
  hash uuid NOT NULL,
  -- The highest assignment that ever folded: the fence against a stale process.
  assignment bigint NOT NULL,
  base_sequence bigint NOT NULL DEFAULT 0,
  folded_count bigint NOT NULL DEFAULT 0,
  folded_sum numeric NOT NULL DEFAULT 0,
  dropped_count bigint NOT NULL DEFAULT 0,
  dropped_sum numeric NOT NULL DEFAULT 0,
  conflict_count bigint NOT NULL DEFAULT 0,
  conflict_sum numeric NOT NULL DEFAULT 0,
  updated_at timestamptz NOT NULL DEFAULT now()
);

-- Watermarks that `spill repair` replaced, as they stood.
CREATE TABLE spill.watermark_history (
  LIKE spill.watermark INCLUDING DEFAULTS,
  replaced_at timestamptz NOT NULL DEFAULT now()
);

-- The balance of a row just before spill's first change to it.
CREATE TABLE spill.opening (
  account text COLLATE "C" PRIMARY KEY,
  balance numeric NOT NULL,
  noted_at timestamptz NOT NULL DEFAULT now()
);

CREATE TYPE spill.conflict_state AS ENUM ('open', 'resolved');

-- The same (account, id) stored twice with different amounts: the second one, in no balance until somebody decides.
CREATE TABLE spill.conflict (
  log_id uuid NOT NULL,
  sequence bigint NOT NULL,
  record_index integer NOT NULL,
  shard integer NOT NULL,
  account text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  amount bigint NOT NULL,
  timestamp timestamptz NOT NULL,
  -- The amount that took effect. Null: account or id can't be written into a text column; here they are escaped.
  ledger_amount bigint,
  detail text COLLATE "C",
  state spill.conflict_state NOT NULL DEFAULT 'open',
  recorded_at timestamptz NOT NULL DEFAULT now(),
  resolved_at timestamptz,
  PRIMARY KEY (log_id, sequence, record_index)
);

CREATE INDEX conflict_by_account ON spill.conflict (account, id);

-- Written by the direct path while a shard may hold the same transaction: left out of pending until a fold meets it.
CREATE TABLE spill.direct_mark (
  account text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  marked_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (account, id)
);

CREATE TYPE spill.operator_action_kind AS ENUM ('move', 'write_off', 'resolve_conflict', 'reset_watermark');

-- Who did what by hand, when and why. Append-only.
CREATE TABLE spill.operator_action (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT now(),
  who text NOT NULL,
  why text NOT NULL,
  action spill.operator_action_kind NOT NULL,
  subject text NOT NULL
);
