import {
  DataTableSchemaError,
  DataTableUnavailableError,
  OperatorActionError,
  type SetAsideReason,
  TransientDataTableError,
} from '@spill/core';
import pg from 'pg';
import { BlockedError } from './blocked-error.js';
import { NotEveryRowError } from './not-every-row-error.js';

/** What an error of `pg` means for the SQL transaction that met it. */
export type ErrorKind =
  /** Another transaction was in the way: roll back, repeat. */
  | 'transient'
  /** The server or the way to it: nothing that an account has to do with. Outcome unknown if it met COMMIT. */
  | 'unavailable'
  /** A table, a column or a privilege is missing. */
  | 'schema'
  /** What the statement asked for was refused: it belongs to some account. */
  | 'statement';

const TRANSIENT = new Set(['40001', '40P01', '55P03']);
const PERMISSION_DENIED = '42501';
/** A standby, or a read-only database after a fail-over. */
const READ_ONLY = '25006';

export function sqlState(error: unknown): string | undefined {
  return error instanceof pg.DatabaseError ? error.code : undefined;
}

export function classifyError(error: unknown): ErrorKind {
  const code = sqlState(error);
  if (code === undefined) return isOurOwn(error) ? 'statement' : 'unavailable';
  if (TRANSIENT.has(code)) return 'transient';
  // 08: connection. 53: out of disk, memory, connections. 57P: shut down, crashed, starting. 25P03, 25P04: it ended a session
  // that was silent, or a transaction that was open, for too long. Not 57014 (cancelled),
  // nor 58 and XX: those may come from one account's trigger or one broken page.
  if (code === READ_ONLY || /^(08|53|57P|28|3D|25P03|25P04)/.test(code)) return 'unavailable';
  if (code.startsWith('42') || code === '3F000') return 'schema';
  return 'statement';
}

/** Why the rows of an account that a statement refused are set aside. */
export function setAsideReason(error: unknown): SetAsideReason {
  const code = sqlState(error) ?? '';
  if (code === '22003') return 'out_of_range';
  // 23: constraints. P0001: a trigger's RAISE. 44: a view's check option.
  if (code.startsWith('23') || code === 'P0001' || code.startsWith('44')) return 'constraint';
  return 'sql_error';
}

/** One line for a person: SQLSTATE, message, detail. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (!(error instanceof pg.DatabaseError)) return error.message;
  const text = `${error.code ?? ''} ${error.message}${error.detail ? ` (${error.detail})` : ''}`.trim();
  return text.length > 500 ? `${text.slice(0, 500)}…` : text;
}

/**
 * The error that the port promises. A statement that was refused without being any account's fault (cancelled by an
 * administrator, a broken page, a trigger on spill's own tables) counts as the database being away: whoever asked waits
 * and asks again, and no process ends for it.
 */
export function portError(error: unknown): unknown {
  if (isOurOwn(error)) return error;
  switch (classifyError(error)) {
    case 'transient':
      return new TransientDataTableError(describeError(error), sqlState(error)!, { cause: error });
    case 'unavailable':
      return new DataTableUnavailableError(`the database can't be reached: ${describeError(error)}`, { cause: error });
    case 'schema':
      return new DataTableSchemaError([`${describeError(error)}: ${schemaWayOut(error)}`], { cause: error });
    case 'statement':
      return sqlState(error) === undefined
        ? error
        : new DataTableUnavailableError(`the database refused a statement: ${describeError(error)}`, { cause: error });
  }
}

/** The role that connects cannot give itself rights. */
function schemaWayOut(error: unknown): string {
  return sqlState(error) === PERMISSION_DENIED
    ? 'run `spill schema apply --grant-to ROLE` as the owner of the tables, ROLE being who connects here'
    : 'see `spill schema apply --dry-run`';
}

/** The port's own errors; and a mistake in spill itself, which must not look like a database that is away. */
function isOurOwn(error: unknown): boolean {
  return OUR_OWN.some((type) => error instanceof type);
}

const OUR_OWN = [
  DataTableUnavailableError,
  TransientDataTableError,
  DataTableSchemaError,
  OperatorActionError,
  BlockedError,
  NotEveryRowError,
  TypeError,
  RangeError,
  ReferenceError,
];
