/** What scripts can go by. Shown by `spill --help`. */
export const EXIT = {
  ok: 0,
  /** Refused by the cluster, the database or the state of things: the same command fails again. */
  refused: 1,
  /** The command line or the configuration can't be used. */
  usage: 2,
  /** The cluster or the database is not reachable, or can't do it now: the same command may succeed later. */
  unavailable: 3,
  /** `verify`, `doctor` or `repair` found something wrong. */
  found: 4,
} as const;

export const EXIT_CODES_HELP = `
Exit codes:
  0  done
  1  refused: the same command would fail again
  2  the command line, a file's form or the configuration can't be used
  3  cluster or database not reachable, or busy: the same command may succeed later
  4  verify, doctor or repair found something wrong`;
