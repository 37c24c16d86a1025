import fc from 'fast-check';
import { Packr } from 'msgpackr';

/** As any client's encoder: plain maps, no records. */
const packr = new Packr({ useRecords: false });

export function pack(value: unknown): Uint8Array {
  return new Uint8Array(packr.pack(value));
}

export function json(value: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(value));
}

/** Text that accounts and ids may be, up to `bytesMax` bytes, with what breaks careless encoders. */
export function cleanText(bytesMax: number): fc.Arbitrary<string> {
  const unit = fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(...'abcXYZ019-_ ."\\/:{}[],') },
    { weight: 2, arbitrary: fc.constantFrom('é', '\u0080', '\u2028', '\ufeff', 'ß', '中', '\ufffc', '\uffff') },
    { weight: 1, arbitrary: fc.constantFrom('😀', '\u{10ffff}', '𝟘') },
  );
  return fc
    .array(unit, { minLength: 1, maxLength: bytesMax })
    .map((units) => {
      let text = '';
      for (const next of units) {
        if (Buffer.byteLength(text + next) > bytesMax) break;
        text += next;
      }
      return text;
    })
    .filter((text) => text !== '');
}

/** Amounts, with their edges. */
export const amount: fc.Arbitrary<bigint> = fc
  .oneof(
    fc.constantFrom(
      1n,
      -1n,
      2n ** 63n - 1n,
      -(2n ** 63n) + 1n,
      2n ** 53n,
      -(2n ** 53n),
      2n ** 53n - 1n,
      2n ** 32n,
      2n ** 31n,
    ),
    fc.bigInt({ min: -(2n ** 63n) + 1n, max: 2n ** 63n - 1n }),
    fc.bigInt({ min: -1000n, max: 1000n }),
  )
  .filter((value) => value !== 0n);

/** Microseconds. */
export const timestamp: fc.Arbitrary<number> = fc.oneof(
  fc.constantFrom(0, 1, Number.MAX_SAFE_INTEGER, 1_763_970_000_000_000, 2 ** 32),
  fc.nat({ max: Number.MAX_SAFE_INTEGER }),
);

export interface WireTransaction {
  readonly account: string;
  readonly id: string;
  readonly amount: bigint;
  readonly timestamp: number | null;
}

export const transaction: fc.Arbitrary<WireTransaction> = fc.record({
  account: cleanText(128),
  id: cleanText(64),
  amount,
  timestamp: fc.option(timestamp),
});
