/**
 * The requests of all subjects but `submit`: decoded, unknown fields refused, every value checked.
 * All throw SpillError `malformed` naming the field and the value that is wrong.
 */

import { POOLS, type Pool } from '../topology/pool.js';
import { SpillError } from './errors.js';
import { accountField, amountField, Fault, idField, timestampField, wholeField } from './fields.js';
import { decodeCursor, type PageCursor } from './page-cursor.js';
import { showValue } from './show-value.js';
import type { TransactionKey } from './transaction.js';
import { decodeBody } from './wire-encoding.js';

export const RETRIEVE_LIMIT_MAX = 1_000;
export const RETRIEVE_LIMIT_DEFAULT = 100;
export const BALANCE_ACCOUNTS_MAX = 1_000;
/** Accounts of one `verify`; without a list it checks all. */
export const VERIFY_ACCOUNTS_MAX = 10_000;
const SHARD_MAX = 0xffff_fffe;

export type StateFilter = 'all' | 'pending' | 'folded' | 'set_aside';
const STATE_FILTERS: readonly StateFilter[] = ['all', 'pending', 'folded', 'set_aside'];

export interface RetrieveRequest {
  readonly account: string;
  readonly limit: number;
  readonly after: PageCursor | null;
  /** Microseconds, inclusive. */
  readonly from: number | null;
  /** Microseconds, exclusive. */
  readonly to: number | null;
  readonly state: StateFilter;
}

export interface BalanceRequest {
  /** One account, not a list: the reply is one balance. */
  readonly single: boolean;
  readonly accounts: readonly string[];
}

export function decodeGetRequest(body: Uint8Array): TransactionKey {
  const fields = readFields(body, ['account', 'id']);
  return { account: required(fields, 'account', accountField), id: required(fields, 'id', idField) };
}

export function decodeRetrieveRequest(body: Uint8Array): RetrieveRequest {
  const fields = readFields(body, ['account', 'limit', 'after', 'from', 'to', 'state']);
  return {
    account: required(fields, 'account', accountField),
    limit: optional(fields, 'limit', (value) => wholeField(value, 1, RETRIEVE_LIMIT_MAX)) ?? RETRIEVE_LIMIT_DEFAULT,
    after: optional(fields, 'after', decodeCursor),
    from: optional(fields, 'from', timestampField),
    to: optional(fields, 'to', timestampField),
    state: optional(fields, 'state', (value) => oneOf(value, STATE_FILTERS)) ?? 'all',
  };
}

export function decodeBalanceRequest(body: Uint8Array): BalanceRequest {
  const fields = readFields(body, ['account', 'accounts']);
  if ((fields.account === undefined) === (fields.accounts === undefined)) {
    throw new SpillError('malformed', 'the body must have either account or accounts');
  }
  if (fields.accounts === undefined) return { single: true, accounts: [required(fields, 'account', accountField)] };
  return { single: false, accounts: accountList(fields.accounts, 1, BALANCE_ACCOUNTS_MAX) };
}

export function decodeExplainRequest(body: Uint8Array): { account: string; amount: bigint } {
  const fields = readFields(body, ['account', 'amount']);
  return { account: required(fields, 'account', accountField), amount: required(fields, 'amount', amountField) };
}

export function decodeLocateRequest(body: Uint8Array): { shard: number } {
  return { shard: required(readFields(body, ['shard']), 'shard', shardField) };
}

/** `topology` and `performance`: no body, or an empty object. */
export function decodeEmptyRequest(body: Uint8Array): void {
  readOptionalFields(body, []);
}

export function decodeCreateShardRequest(body: Uint8Array): { pool: Pool; node: string | null } {
  const fields = readFields(body, ['pool', 'node']);
  return {
    pool: required(fields, 'pool', (value) => oneOf(value, POOLS)),
    node: optional(fields, 'node', accountField),
  };
}

export const decodeDeleteShardRequest = decodeLocateRequest;

export function decodeRemoveNodeRequest(body: Uint8Array): { node: string } {
  return { node: required(readFields(body, ['node']), 'node', accountField) };
}

export function decodeRebalanceRequest(body: Uint8Array): { dryRun: boolean } {
  const fields = readOptionalFields(body, ['dry_run']);
  const flag = (value: unknown): boolean | Fault =>
    typeof value === 'boolean' ? value : new Fault('must be a boolean');
  return { dryRun: optional(fields, 'dry_run', flag) ?? false };
}

export function decodeFoldRequest(body: Uint8Array): { shard: number | null } {
  return { shard: optional(readOptionalFields(body, ['shard']), 'shard', shardField) };
}

export function decodeVerifyRequest(body: Uint8Array): { accounts: readonly string[] | null } {
  const { accounts } = readOptionalFields(body, ['accounts']);
  return { accounts: accounts === undefined ? null : accountList(accounts, 1, VERIFY_ACCOUNTS_MAX) };
}

type Fields = Readonly<Record<string, unknown>>;

function readOptionalFields(body: Uint8Array, names: readonly string[]): Fields {
  return body.byteLength === 0 ? {} : readFields(body, names);
}

function readFields(body: Uint8Array, names: readonly string[]): Fields {
  const value = decodeBody(body);
  if (typeof value !== 'object' || value === null || Array.isArray(value) || ArrayBuffer.isView(value)) {
    throw new SpillError('malformed', `the body is ${showValue(value)}: must be an object`);
  }
  for (const name of Object.keys(value)) {
    if (names.includes(name)) continue;
    const known = names.length === 0 ? 'this request has none' : `this request has ${names.join(', ')}`;
    throw new SpillError('malformed', `the field ${showValue(name)} is unknown: ${known}`);
  }
  return value as Fields;
}

function required<T>(fields: Fields, name: string, read: (value: unknown) => T | Fault): T {
  return checked(name, fields[name], read);
}

/** null where the field is missing. */
function optional<T>(fields: Fields, name: string, read: (value: unknown) => T | Fault): T | null {
  return fields[name] === undefined ? null : checked(name, fields[name], read);
}

function checked<T>(name: string, value: unknown, read: (value: unknown) => T | Fault): T {
  const result = read(value);
  if (result instanceof Fault) throw new SpillError('malformed', `${name} is ${showValue(value)}: ${result.must}`);
  return result;
}

function shardField(value: unknown): number | Fault {
  return wholeField(value, 1, SHARD_MAX);
}

function oneOf<T extends string>(value: unknown, allowed: readonly T[]): T | Fault {
  const found = allowed.find((item) => item === value);
  return found ?? new Fault(`must be one of ${allowed.join(', ')}`);
}

function accountList(value: unknown, min: number, max: number): readonly string[] {
  if (!Array.isArray(value)) throw new SpillError('malformed', `accounts is ${showValue(value)}: must be an array`);
  if (value.length < min || value.length > max) {
    throw new SpillError('malformed', `accounts holds ${value.length} accounts: must be ${min} to ${max}`);
  }
  return value.map((item, index) => checked(`accounts[${index}]`, item, accountField));
}
