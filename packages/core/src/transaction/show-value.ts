const CHARACTERS_MAX = 40;

/** A value as an error message shows it: short, on one line, in ASCII quotes, whatever a client has sent. */
export function showValue(value: unknown): string {
  switch (typeof value) {
    case 'string':
      return value.length > CHARACTERS_MAX
        ? `${JSON.stringify(value.slice(0, CHARACTERS_MAX))}… (${value.length} characters)`
        : JSON.stringify(value);
    case 'number':
    case 'boolean':
      return String(value);
    case 'bigint':
      return value >= -(2n ** 64n) && value <= 2n ** 64n ? String(value) : 'an integer of more than 64 bits';
    case 'undefined':
      return 'missing';
    default:
      if (value === null) return 'null';
      if (Array.isArray(value)) return 'an array';
      return ArrayBuffer.isView(value) ? 'bytes' : 'an object';
  }
}
