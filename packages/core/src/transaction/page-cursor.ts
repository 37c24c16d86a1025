import { Fault, idField, timestampField } from './fields.js';

/** Where a page ended: the key of its last transaction. The next page begins strictly after it. */
export interface PageCursor {
  /** Microseconds. */
  readonly timestamp: number;
  readonly id: string;
}

const NOT_A_CURSOR = new Fault('must be the `next` of an earlier reply');

/** The opaque text that clients hand back: base64url of the timestamp, a space and the id. */
export function encodeCursor(cursor: PageCursor): string {
  return Buffer.from(`${cursor.timestamp} ${cursor.id}`).toString('base64url');
}

export function decodeCursor(value: unknown): PageCursor | Fault {
  if (typeof value !== 'string' || !/^[A-Za-z0-9_-]{1,200}$/.test(value)) return NOT_A_CURSOR;
  const text = Buffer.from(value, 'base64url').toString();
  const space = text.indexOf(' ');
  const timestamp = timestampField(text.slice(0, Math.max(space, 0)));
  const id = idField(text.slice(space + 1));
  if (timestamp instanceof Fault || id instanceof Fault) return NOT_A_CURSOR;
  const cursor = { timestamp, id };
  return encodeCursor(cursor) === value ? cursor : NOT_A_CURSOR;
}
