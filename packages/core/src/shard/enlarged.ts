type Column = Uint8Array<ArrayBuffer> | Uint16Array | Uint32Array | Float64Array;

/** `to`, a longer column, with what `from` holds at its beginning. */
export function enlarged<T extends Column>(from: T, to: T): T {
  to.set(from);
  return to;
}
