/**
 * `lost`: a log holds it, the database does not. `duplicated`: the database counts what no log holds at that place.
 * `mismatched`: both hold it, and differ. `damaged`: a log that is not as it was written. `conflicts`: open ones.
 * `drift`: accounts whose row is not opening + applied.
 */
export const FINDING_KINDS = ['lost', 'duplicated', 'mismatched', 'damaged', 'conflicts', 'drift'] as const;
export type FindingKind = (typeof FINDING_KINDS)[number];

export const EXAMPLES_MAX = 100;

/** One finding; `message` is a sentence that says what is wrong and where. */
export interface Finding {
  readonly message: string;
  readonly shard?: number;
  readonly log_id?: string;
  readonly sequence?: number;
  readonly index?: number;
  readonly account?: string;
  readonly id?: string;
  /** Decimal strings, minor units. */
  readonly amount?: string;
  readonly expected?: string;
}

/** Counts of every kind, and the first 100 examples of each. */
export class Findings {
  readonly counts: Record<FindingKind, number> = {
    lost: 0,
    duplicated: 0,
    mismatched: 0,
    damaged: 0,
    conflicts: 0,
    drift: 0,
  };
  readonly examples: Record<FindingKind, Finding[]> = {
    lost: [],
    duplicated: [],
    mismatched: [],
    damaged: [],
    conflicts: [],
    drift: [],
  };

  /** `count`: how many this one example stands for. */
  add(kind: FindingKind, finding: Finding, count = 1): void {
    this.counts[kind] += count;
    const examples = this.examples[kind];
    if (examples.length < EXAMPLES_MAX) examples.push(finding);
  }
}
