import fc from 'fast-check';
import type { Row } from './batch-rows.js';

const CONTROL = /[\u0000-\u001f\u007f\ufffd]/;

/** Clean text of 1 to `bytesMax` bytes: among it text that a careless codec would change or take for other text. */
export function cleanText(bytesMax: number): fc.Arbitrary<string> {
  return fc
    .oneof(
      fc.constantFrom(
        'a',
        '7',
        '07',
        '\ufeffa',
        'a\ufeff',
        'é',
        'e\u0301',
        '😀',
        '\u{10ffff}',
        '\u0080',
        '\u07ff',
        '\ue000',
        '\uffff',
      ),
      fc.string({ unit: 'binary', minLength: 1, maxLength: bytesMax }),
      fc.string({ minLength: 1, maxLength: bytesMax }),
      fc.constant('x'.repeat(bytesMax)),
    )
    .filter((text) => {
      const bytes = Buffer.byteLength(text);
      return bytes >= 1 && bytes <= bytesMax && !CONTROL.test(text) && text.isWellFormed();
    });
}

export const anyAmount: fc.Arbitrary<bigint> = fc
  .oneof(
    fc.bigInt({ min: -(2n ** 63n) + 1n, max: 2n ** 63n - 1n }),
    fc.bigInt({ min: -10n, max: 10n }),
    fc.constantFrom(
      2n ** 31n,
      2n ** 32n,
      2n ** 32n - 1n,
      -(2n ** 31n),
      -(2n ** 32n),
      -(2n ** 32n) - 1n,
      2n ** 63n - 1n,
      -(2n ** 63n) + 1n,
    ),
  )
  .filter((amount) => amount !== 0n);

export const anyTimestamp: fc.Arbitrary<number> = fc.oneof(
  fc.nat(Number.MAX_SAFE_INTEGER),
  fc.constantFrom(0, 1, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER),
);

export const anyRow: fc.Arbitrary<Row> = fc.record({
  account: cleanText(128),
  id: cleanText(64),
  amount: anyAmount,
  timestamp: anyTimestamp,
  stamped: fc.boolean(),
});
