/** The statement succeeded without changing every row: money would be counted as applied and be nowhere. */
export class NotEveryRowError extends Error {
  constructor(expected: number, changed: number) {
    super(
      `the update changed ${changed} of ${expected} rows: the balance is NULL, NaN or infinite, or a trigger or a policy kept the row as it was`,
    );
  }
}
