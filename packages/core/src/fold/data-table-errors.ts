/** The database can't be reached or the connection broke: the outcome of a write is then unknown. Repeat. */
export class DataTableUnavailableError extends Error {
  readonly retryable = true;

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'DataTableUnavailableError';
  }
}

/** 40001, 40P01 or 55P03: the SQL transaction was rolled back because of another one. Repeat, with half the batch. */
export class TransientDataTableError extends Error {
  readonly retryable = true;

  constructor(
    message: string,
    /** The SQLSTATE. */
    readonly code: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.name = 'TransientDataTableError';
  }
}

/** The schema or the mapping is not as spill needs it. `problems` are sentences that name the way out. */
export class DataTableSchemaError extends Error {
  readonly retryable = false;

  constructor(
    readonly problems: readonly string[],
    options?: ErrorOptions,
  ) {
    super(problems.join('\n'), options);
    this.name = 'DataTableSchemaError';
  }
}

/** An operator's action that the state of things does not allow. Nothing was written. */
export class OperatorActionError extends Error {
  readonly retryable = false;

  constructor(
    /** `not_found`: no such row. `conflict`: the row is not in the state that the action needs, or the table refused it. */
    readonly code: 'not_found' | 'conflict',
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.name = 'OperatorActionError';
  }
}

/** What the database or its schema is to blame for, and not spill: to be waited out, whatever was asked. */
export function isDataTableFailure(
  error: unknown,
): error is DataTableUnavailableError | TransientDataTableError | DataTableSchemaError {
  return (
    error instanceof DataTableUnavailableError ||
    error instanceof TransientDataTableError ||
    error instanceof DataTableSchemaError
  );
}
