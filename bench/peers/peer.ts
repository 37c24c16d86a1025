import type { PeerFigure } from '../scenario.js';
import type { Part, Rounds } from '../support/rounds.js';

/** What a user would take instead of spill, or what bounds everybody: measured in turn with spill. */
export interface Peer {
  /** Head of its column. */
  readonly peer: string;
  readonly what: string;
  /** Why it is left out; null: it is there. */
  readonly missing: string | null;
  readonly measure: Part['measure'];
  readonly close: () => Promise<void>;
}

/** As parts of a run's rounds. */
export const partsOf = (peers: readonly Peer[]): Part[] =>
  peers.filter(({ missing }) => missing === null).map(({ peer, measure }) => ({ name: peer, measure }));

export const figuresOf = (peers: readonly Peer[], rounds: ReadonlyMap<string, Rounds>): PeerFigure[] =>
  peers.map(({ peer, what, missing }) => {
    const measured = rounds.get(peer);
    if (!measured) return { peer, what, perSecond: null, why: missing ?? 'not measured' };
    return { peer, what, perSecond: measured.median.value, rounds: measured.values };
  });

/** One that can't be measured here, and why. */
export function leftOut(names: Pick<Peer, 'peer' | 'what'>, missing: string): Peer {
  const measure = (): never => {
    throw new Error(missing);
  };
  return { ...names, missing, measure, close: async () => {} };
}
