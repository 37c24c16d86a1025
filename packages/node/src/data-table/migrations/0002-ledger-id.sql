-- The ledger's own id, random: it is in a dump, and a ledger that was made anew has another. A cluster remembers it, so
-- that a table which has lost its ledger is never folded into a second time.

CREATE TABLE spill.ledger_id (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  id uuid NOT NULL DEFAULT gen_random_uuid()
);

INSERT INTO spill.ledger_id DEFAULT VALUES;
