import type { Checked } from './support/check.js';

/** One figure of the table, by the id of its target. */
export interface Figure {
  readonly id: string;
  readonly value: number;
  /** Transactions a second, where peers can be held against it. */
  readonly perSecond?: number;
  /** What else was seen, in a line. */
  readonly detail?: string;
  /** The figure of each round, in order. */
  readonly rounds?: readonly number[];
}

/** What a user would take instead, or what bounds everybody. */
export interface PeerFigure {
  /** Head of its column. */
  readonly peer: string;
  readonly what: string;
  /** Transactions a second; null: left out, `why` says why. */
  readonly perSecond: number | null;
  readonly why?: string;
  readonly rounds?: readonly number[];
}

export interface ScenarioResult {
  readonly figures: readonly Figure[];
  readonly peers?: readonly PeerFigure[];
  /** How much of what, and every setting that is not its default. */
  readonly sizes: Readonly<Record<string, string | number>>;
  /** What was compared at the end: without it a figure is none. */
  readonly checked: readonly Checked[];
}

export interface Run {
  /** Says what is being done. */
  readonly says: (text: string) => void;
}

export interface Scenario {
  readonly name: string;
  /** What it takes on two cores, for the progress display. */
  readonly seconds: number;
  readonly run: (run: Run) => Promise<ScenarioResult>;
}
