import {
  decodeBalanceRequest,
  decodeBody,
  decodeRetrieveRequest,
  decodeSubmitReply,
  decodeSubmitRequest,
  type ErrorCode,
  encodeBody,
  encodeCursor,
  encodeSubmitReply,
  resultBytesMax,
  SpillError,
  type StampedTransaction,
  type SubmitResult,
  type WireEncoding,
} from '@spill/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  amount,
  cleanText,
  json,
  pack,
  timestamp,
  transaction,
  type WireTransaction,
} from '../support/wire-arbitraries.ts';

const LIMITS = { maxPayloadBytes: 8 * 1024 * 1024 };
const NOW = 1_763_970_000_123_456;

/** Every way in which the protocol lets a client write an integer. */
function integerForms(value: bigint, encoding: WireEncoding): fc.Arbitrary<unknown> {
  const safe = value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER);
  const forms: unknown[] = [value.toString()];
  if (safe) forms.push(Number(value));
  // A bigint is an int64 in MessagePack; a number beyond 32 bits is a float64 there.
  if (encoding === 'messagepack') forms.push(value);
  return fc.constantFrom(...forms);
}

function requestOf(sent: WireTransaction, encoding: WireEncoding): fc.Arbitrary<Record<string, unknown>> {
  const forms = sent.timestamp === null ? fc.constant(undefined) : integerForms(BigInt(sent.timestamp), encoding);
  return fc.tuple(integerForms(sent.amount, encoding), forms).map(([amountForm, timestampForm]) => ({
    id: sent.id,
    account: sent.account,
    amount: amountForm,
    ...(timestampForm !== undefined && { timestamp: timestampForm }),
  }));
}

function expected({ account, id, amount, timestamp }: WireTransaction): StampedTransaction {
  return { account, id, amount, timestamp: timestamp ?? NOW, stamped: timestamp === null };
}

const encodingAndBatch = fc
  .constantFrom<WireEncoding>('json', 'messagepack')
  .chain((encoding) =>
    fc
      .array(transaction, { minLength: 1, maxLength: 20 })
      .chain((sent) =>
        fc.tuple(fc.constant(encoding), fc.constant(sent), fc.tuple(...sent.map((one) => requestOf(one, encoding)))),
      ),
  );

describe('a request', () => {
  it('is read as it was meant, in both encodings and every form of integer', () => {
    fc.assert(
      fc.property(encodingAndBatch, ([encoding, sent, request]) => {
        const encode = encoding === 'json' ? json : pack;
        const batch = decodeSubmitRequest(encode(request), NOW, LIMITS);
        expect(batch).toMatchObject({ encoding, single: false, count: sent.length });
        expect(batch.refused.size).toBe(0);
        expect(batch.transactions).toEqual(sent.map(expected));
        const single = decodeSubmitRequest(encode(request[0]), NOW, LIMITS);
        expect(single).toMatchObject({ encoding, single: true, count: 1 });
        expect(single.transactions).toEqual([expected(sent[0]!)]);
      }),
      { numRuns: 300 },
    );
  });

  it('may name a key twice in JSON: the last counts', () => {
    const body = Buffer.from('{"id":"a","account":"x","amount":1,"amount":2}');
    expect(decodeSubmitRequest(body, NOW, LIMITS).transactions[0]!.amount).toBe(2n);
  });

  it('may write a whole number with a fraction of zeros or an exponent', () => {
    for (const [text, value] of [
      ['12.0', 12n],
      ['1.20e1', 12n],
      ['1e3', 1000n],
      ['-5E+2', -500n],
    ] as const) {
      const body = Buffer.from(`{"id":"a","account":"x","amount":${text}}`);
      expect(decodeSubmitRequest(body, NOW, LIMITS).transactions[0]!.amount).toBe(value);
    }
  });

  it('for a page brings its cursor back as it was', () => {
    fc.assert(
      fc.property(cleanText(128), cleanText(64), timestamp, (account, id, at) => {
        const body = { account, after: encodeCursor({ timestamp: at, id }), limit: 7, from: at, state: 'pending' };
        for (const bytes of [json(body), pack(body)]) {
          expect(decodeRetrieveRequest(bytes)).toEqual({
            account,
            limit: 7,
            after: { timestamp: at, id },
            from: at,
            to: null,
            state: 'pending',
          });
        }
      }),
    );
  });

  it('for balances names one account or a list', () => {
    expect(decodeBalanceRequest(json({ account: 'a' }))).toEqual({ single: true, accounts: ['a'] });
    expect(decodeBalanceRequest(pack({ accounts: ['a', 'b'] }))).toEqual({ single: false, accounts: ['a', 'b'] });
  });
});

const CODES: readonly ErrorCode[] = ['id_conflict', 'expired', 'unavailable', 'overloaded', 'timeout', 'internal'];

const result: fc.Arbitrary<SubmitResult> = fc.oneof(
  fc.record({
    id: cleanText(64),
    status: fc.constantFrom('stored' as const, 'duplicate' as const),
    shard: fc.integer({ min: 1, max: 0xffff_fffe }),
    sequence: fc.nat({ max: Number.MAX_SAFE_INTEGER }),
    timestamp,
  }),
  fc.record({
    id: cleanText(64),
    status: fc.constant('applied' as const),
    shard: fc.constant(null),
    sequence: fc.constant(null),
    timestamp,
  }),
  fc.record({
    id: fc.option(cleanText(64)),
    status: fc.constant('rejected' as const),
    error: fc
      .tuple(fc.constantFrom(...CODES), fc.string({ unit: 'binary', maxLength: 2_000 }))
      .map(([code, message]) => new SpillError(code, message, code === 'overloaded' ? { retryAfterMs: 60_000 } : {})),
  }),
);

function plain(item: SubmitResult): unknown {
  if (item.status !== 'rejected') return item;
  const { code, retryable, retryAfterMs } = item.error;
  return { id: item.id, status: item.status, code, retryable, retryAfterMs };
}

describe('a reply', () => {
  it('to submit says the same in both encodings, and never outgrows what was allowed for it', () => {
    fc.assert(
      fc.property(fc.array(result, { minLength: 1, maxLength: 30 }), (results) => {
        const bytesMax = 64 + results.reduce((sum, { id }) => sum + resultBytesMax(id ?? ''), 0);
        for (const encoding of ['json', 'messagepack'] as const) {
          const body = encodeSubmitReply(results, false, encoding);
          expect(body.byteLength).toBeLessThanOrEqual(bytesMax);
          expect(decodeSubmitReply(body, results.length).map(plain)).toEqual(results.map(plain));
        }
      }),
      { numRuns: 300 },
    );
  });

  it('cuts a message that would break the bound, and leaves it well-formed', () => {
    for (const piece of ['"', '\u0001', '😀', 'é', 'x']) {
      for (const length of [100, 319, 320, 5_000]) {
        const error = new SpillError('overloaded', piece.repeat(length), { retryAfterMs: 4_294_967_295 });
        const rejected: SubmitResult = { id: '"'.repeat(64), status: 'rejected', error };
        for (const encoding of ['json', 'messagepack'] as const) {
          const body = encodeSubmitReply([rejected], true, encoding);
          expect(body.byteLength).toBeLessThanOrEqual(resultBytesMax(rejected.id!));
          const { message } = (decodeBody(body) as { error: { message: string } }).error;
          expect(/\p{Surrogate}/u.test(message)).toBe(false);
          expect(message.slice(0, 40)).toBe(piece.repeat(40).slice(0, 40));
        }
      }
    }
  });

  it('has decimal strings for amounts in JSON, int64 in MessagePack, and strings beyond', () => {
    fc.assert(
      fc.property(fc.oneof(amount, fc.constant(0n), fc.bigInt({ min: -(2n ** 80n), max: 2n ** 80n })), (value) => {
        expect(JSON.parse(Buffer.from(encodeBody({ value }, 'json')).toString())).toEqual({ value: value.toString() });
        const bytes = encodeBody({ value }, 'messagepack');
        const within = BigInt.asIntN(64, value) === value;
        if (within) expect(bytes[bytes.byteLength - 9]).toBe(0xd3);
        const read = (decodeBody(bytes) as { value: unknown }).value;
        expect(read).toBe(within ? value : value.toString());
      }),
    );
  });

  it('has integers for timestamps in MessagePack, never a float64', () => {
    const body = encodeBody({ timestamp: 1_763_970_000_123_456 }, 'messagepack');
    expect((decodeBody(body) as { timestamp: unknown }).timestamp).toBe(1_763_970_000_123_456n);
    const stored: SubmitResult = { id: 'a', status: 'stored', shard: 1, sequence: 2 ** 40, timestamp: 2 ** 50 };
    const read = decodeBody(encodeSubmitReply([stored], true, 'messagepack'));
    expect(read).toEqual({ id: 'a', status: 'stored', shard: 1, sequence: 2n ** 40n, timestamp: 2n ** 50n });
  });
});
