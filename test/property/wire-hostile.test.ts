import {
  decodeBalanceRequest,
  decodeEmptyRequest,
  decodeExplainRequest,
  decodeFoldRequest,
  decodeGetRequest,
  decodeLocateRequest,
  decodeRebalanceRequest,
  decodeRetrieveRequest,
  decodeSubmitRequest,
  decodeVerifyRequest,
  type ErrorCode,
  SpillError,
} from '@spill/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { json, pack } from '../support/wire-arbitraries.ts';

const LIMITS = { maxPayloadBytes: 8 * 1024 * 1024 };
const GOOD = { id: 'a', account: 'x', amount: 5, timestamp: 1_763_970_000_000_000 };

function errorOf(run: () => unknown): SpillError {
  try {
    run();
  } catch (error) {
    if (error instanceof SpillError) return error;
    throw error;
  }
  throw new Error('taken, although it must be refused');
}

function refusal(body: Uint8Array): SpillError {
  return errorOf(() => decodeSubmitRequest(body, 1, LIMITS));
}

function expectRefused(body: Uint8Array, code: ErrorCode, words: RegExp): void {
  const error = refusal(body);
  expect({ code: error.code, message: error.message }).toEqual({ code, message: expect.stringMatching(words) });
  expect(error.message.length).toBeLessThan(400);
}

/** Each value as a field of a single transaction and of one in a batch, in JSON and in MessagePack. */
function expectFieldRefused(field: string, value: unknown, words: RegExp, encodings = [json, pack]): void {
  for (const encode of encodings) {
    const bad = { ...GOOD, [field]: value };
    expectRefused(encode(bad), 'invalid_transaction', words);
    const batch = decodeSubmitRequest(encode([GOOD, bad, GOOD]), 1, LIMITS);
    expect(batch.transactions).toHaveLength(2);
    const refused = batch.refused.get(1)!;
    expect(refused.status).toBe('rejected');
    if (refused.status === 'rejected') {
      expect(refused.error.code).toBe('invalid_transaction');
      expect(refused.error.message).toMatch(/^transactions\[1\]\./);
      expect(refused.error.message).toMatch(words);
    }
  }
}

describe('a body', () => {
  it('that is neither JSON nor MessagePack is malformed', () => {
    expectRefused(Buffer.from(''), 'malformed', /empty/);
    expectRefused(Buffer.from('hello'), 'malformed', /neither JSON nor MessagePack/);
    expectRefused(Buffer.from('{"id":'), 'malformed', /begins like JSON/);
    expectRefused(Buffer.from('[1,2'), 'malformed', /begins like JSON/);
    expectRefused(Buffer.from('{}x'), 'malformed', /begins like JSON/);
    expectRefused(Buffer.from([0xef, 0xbb, 0xbf, 0x7b, 0x7d]), 'malformed', /neither JSON nor MessagePack/);
    expectRefused(
      Buffer.concat([Buffer.from('{"id":"'), Buffer.from([0xff]), Buffer.from('"}')]),
      'malformed',
      /UTF-8/,
    );
  });

  it('nested without end is refused, in JSON and in MessagePack', () => {
    expectRefused(Buffer.from('['.repeat(5_000) + ']'.repeat(5_000)), 'malformed', /nested/);
    expectRefused(Buffer.from(`${'{"a":'.repeat(5_000)}1${'}'.repeat(5_000)}`), 'malformed', /nested/);
    expectRefused(Buffer.from('['.repeat(8_000_000)), 'malformed', /nested/);
    expectRefused(Buffer.concat([Buffer.alloc(5_000, 0x91), Buffer.from([0x01])]), 'malformed', /nested/);
  });

  it('in MessagePack asks for no memory that its bytes do not fill', () => {
    expectRefused(Buffer.from([0xdd, 0xff, 0xff, 0xff, 0xff]), 'malformed', /announces 4294967295 values/);
    expectRefused(Buffer.from([0xdf, 0x7f, 0xff, 0xff, 0xff, 0xa1]), 'malformed', /announces/);
    expectRefused(Buffer.from([0xdb, 0xff, 0xff, 0xff, 0xff, 0x61]), 'malformed', /too early/);
    expectRefused(Buffer.from([0xc6, 0xff, 0xff, 0xff, 0xff, 0x61]), 'malformed', /too early/);
    expectRefused(Buffer.from([0x9f]), 'malformed', /announces/);
    expectRefused(Buffer.from([0xcf, 0x00]), 'malformed', /too early/);
  });

  it('in MessagePack has no extensions, nothing after its end, no broken text, only strings as keys', () => {
    expectRefused(pack({ ...GOOD, timestamp: new Date(0) }), 'malformed', /extension/);
    expectRefused(Buffer.from([0xc7, 0x01, 0x72, 0x00]), 'malformed', /extension/);
    expectRefused(Buffer.from([0xd4, 0x72, 0x40]), 'malformed', /extension/);
    expectRefused(Buffer.concat([pack(GOOD), Buffer.from([0xc0])]), 'malformed', /after its end: 1 bytes/);
    expectRefused(Buffer.from([0xc1]), 'malformed', /c1/);
    expectRefused(Buffer.from([0x81, 0xa1, 0xff, 0x01]), 'malformed', /UTF-8/);
    // An overlong "a", and a surrogate: the decoder would repair both.
    expectRefused(Buffer.from([0x81, 0xa2, 0xc1, 0xa1, 0x01]), 'malformed', /UTF-8/);
    expectRefused(Buffer.from([0x81, 0xa3, 0xed, 0xa0, 0x80, 0x01]), 'malformed', /UTF-8/);
    expectRefused(Buffer.from([0x81, 0x01, 0x01]), 'malformed', /key that is not a string/);
    expectRefused(Buffer.from([0x81, 0xa6, ...Buffer.from('amount'), 0xca, 0x40, 0xa0, 0, 0]), 'malformed', /float 32/);
  });

  it('that is no transaction says so', () => {
    expectRefused(pack(5), 'invalid_transaction', /body is 5: must be an object/);
    expectRefused(pack('text'), 'invalid_transaction', /must be an object/);
    expectRefused(pack(null), 'invalid_transaction', /null/);
    expectRefused(pack(Buffer.from('bytes')), 'invalid_transaction', /bytes/);
    const batch = decodeSubmitRequest(json([GOOD, 5, null, [], 'x']), 1, LIMITS);
    expect(batch.transactions).toHaveLength(1);
    expect([...batch.refused.keys()]).toEqual([1, 2, 3, 4]);
  });

  it('holds 1 to 8,192 transactions', () => {
    expectRefused(json([]), 'malformed', /1 to 8192/);
    expectRefused(pack([]), 'malformed', /1 to 8192/);
    expectRefused(json(new Array(8_193).fill(GOOD)), 'batch_too_large', /8193/);
    expectRefused(pack(new Array(8_193).fill(GOOD)), 'batch_too_large', /8193/);
    expect(decodeSubmitRequest(json(new Array(8_192).fill(GOOD)), 1, LIMITS).transactions).toHaveLength(8_192);
  });

  it('is refused where its largest reply could not be sent', () => {
    const limits = { maxPayloadBytes: 1024 * 1024 };
    expect(errorOf(() => decodeSubmitRequest(json(new Array(8_192).fill(GOOD)), 1, limits))).toMatchObject({
      code: 'batch_too_large',
      message: expect.stringMatching(/reply .* 8192 transactions/),
    });
    expect(decodeSubmitRequest(json(new Array(1_000).fill(GOOD)), 1, limits).transactions).toHaveLength(1_000);
    expect(errorOf(() => decodeSubmitRequest(json([GOOD]), 1, { maxPayloadBytes: 20 })).code).toBe('batch_too_large');
  });
});

describe('a field', () => {
  it('that is missing or unknown is named', () => {
    for (const field of ['id', 'account', 'amount']) {
      const { [field as 'id']: _, ...rest } = GOOD;
      for (const encode of [json, pack]) {
        expectRefused(encode(rest), 'invalid_transaction', new RegExp(`^${field} is missing`));
        const batch = decodeSubmitRequest(encode([rest]), 1, LIMITS);
        expect(batch.refused.get(0)).toMatchObject({ error: { code: 'invalid_transaction' } });
      }
    }
    expectFieldRefused('currency', 'EUR', /"currency" is unknown/);
    expectRefused(
      Buffer.from('{"id":"a","account":"x","amount":1,"__proto__":{}}'),
      'invalid_transaction',
      /__proto__/,
    );
    expectRefused(pack({ ...GOOD, __proto__x: 1 }), 'invalid_transaction', /unknown/);
  });

  it('amount', () => {
    expectFieldRefused('amount', 0, /amount is 0: must not be 0/);
    expectFieldRefused('amount', -0, /amount is 0: must not be 0/);
    expectFieldRefused('amount', '0', /must not be 0/);
    expectFieldRefused('amount', 1.5, /1\.5/);
    expectFieldRefused('amount', 2 ** 63, /9223372036854776000/);
    expectFieldRefused('amount', '9223372036854775808', /within ±\(2\^63−1\)/);
    expectFieldRefused('amount', '-9223372036854775808', /within ±\(2\^63−1\)/);
    expectFieldRefused('amount', 2 ** 63, /integer/, [pack]);
    expectFieldRefused('amount', -(2n ** 63n), /within/, [pack]);
    expectFieldRefused('amount', 2n ** 64n - 1n, /within/, [pack]);
    expectFieldRefused('amount', 2 ** 53 + 2, /integer within/);
    expectFieldRefused('amount', 2 ** 53, /integer within/);
    for (const text of [
      '12abc',
      ' 12 ',
      '12 ',
      '0x10',
      '+5',
      '007',
      '-0',
      '',
      '1.0',
      '1e3',
      '--1',
      '١',
      '9'.repeat(5_000),
    ]) {
      expectFieldRefused('amount', text, /decimal string/);
    }
    for (const value of [true, false, null, [], {}, [5], { value: 5 }])
      expectFieldRefused('amount', value, /amount is/);
    expectFieldRefused('amount', Number.NaN, /NaN/, [pack]);
    expectFieldRefused('amount', Number.POSITIVE_INFINITY, /Infinity/, [pack]);
    expectRefused(Buffer.from('{"id":"a","account":"x","amount":9007199254740993}'), 'invalid_transaction', /integer/);
    expectRefused(Buffer.from('{"id":"a","account":"x","amount":1e3000}'), 'invalid_transaction', /Infinity/);
    expectRefused(Buffer.from('{"id":"a","account":"x","amount":NaN}'), 'malformed', /JSON/);
  });

  it('amount is never rounded to an integer that the client did not write', () => {
    for (const text of [
      '1.00000000000000000001',
      '9007199254740990.6',
      '100000000000000000001e-20',
      '4.9999999999999999999',
    ]) {
      expectRefused(Buffer.from(`{"id":"a","account":"x","amount":${text}}`), 'malformed', /is not an integer/);
      expectRefused(Buffer.from(`[{"id":"a","account":"x","amount": ${text} }]`), 'malformed', /is not an integer/);
    }
    // The same characters inside of text are nobody's number.
    const body = json({ ...GOOD, id: ':1.00000000000000000001,', account: '"1.00000000000000000001' });
    expect(decodeSubmitRequest(body, 1, LIMITS).transactions).toHaveLength(1);
  });

  it('id', () => {
    expectFieldRefused('id', '', /id is "": must be 1 to 64 bytes/);
    expectFieldRefused('id', 'x'.repeat(65), /65 characters.*1 to 64 bytes/);
    expectFieldRefused('id', 'é'.repeat(33), /1 to 64 bytes/);
    expectFieldRefused('id', 5, /id is 5: must be a string/);
    expectFieldRefused('id', null, /null/);
    expectFieldRefused('id', 'a\u0000', /U\+0000/);
    expectFieldRefused('id', 'a\u007f', /U\+007F/);
    expectFieldRefused('id', 'a\ufffd', /U\+FFFD/);
    expectFieldRefused('id', 'tab\t', /U\+0000 to U\+001F/);
    for (const escaped of ['\\ud800', '\\udc00', 'a\\ud83dx', '\\udc00\\ud800']) {
      expectRefused(Buffer.from(`{"id":"${escaped}","account":"x","amount":1}`), 'invalid_transaction', /well-formed/);
    }
    expectFieldRefused('id', Buffer.from('abc'), /id is bytes/, [pack]);
  });

  it('account', () => {
    expectFieldRefused('account', 'x'.repeat(129), /129 characters.*1 to 128 bytes/);
    expectFieldRefused('account', '', /1 to 128 bytes/);
    expectFieldRefused('account', 'two\nlines', /U\+0000/);
    expectFieldRefused('account', 7, /must be a string/);
    expectFieldRefused('account', ['x'], /an array/);
  });

  it('timestamp', () => {
    expectFieldRefused('timestamp', -1, /timestamp is -1/);
    expectFieldRefused('timestamp', '-1', /within 0 and/);
    expectFieldRefused('timestamp', 253_402_300_799_000_000, /timestamp is/);
    expectFieldRefused('timestamp', '253402300799000000', /within 0 and/);
    expectFieldRefused('timestamp', 1.5, /timestamp is 1\.5/);
    expectFieldRefused('timestamp', '2026-01-01', /decimal string/);
    expectFieldRefused('timestamp', null, /null/);
  });
});

describe('the other requests', () => {
  const key = { account: 'a', id: 'b' };
  it.each<[string, (body: Uint8Array) => unknown, unknown, RegExp]>([
    ['get', decodeGetRequest, { ...key, extra: 1 }, /"extra" is unknown.*account, id/],
    ['get', decodeGetRequest, { account: 'a' }, /id is missing/],
    ['get', decodeGetRequest, [key], /an array/],
    ['retrieve', decodeRetrieveRequest, { account: 'a', limit: 0 }, /limit is 0.*1 to 1000/],
    ['retrieve', decodeRetrieveRequest, { account: 'a', limit: 1001 }, /limit is 1001/],
    ['retrieve', decodeRetrieveRequest, { account: 'a', limit: 1.5 }, /limit is 1\.5/],
    ['retrieve', decodeRetrieveRequest, { account: 'a', state: 'open' }, /state is "open".*set_aside/],
    ['retrieve', decodeRetrieveRequest, { account: 'a', after: 'nonsense!' }, /after is .*next/],
    ['retrieve', decodeRetrieveRequest, { account: 'a', after: 'YWJj' }, /after is .*next/],
    ['retrieve', decodeRetrieveRequest, { account: 'a', from: -1 }, /from is -1/],
    ['balance', decodeBalanceRequest, {}, /either account or accounts/],
    ['balance', decodeBalanceRequest, { account: 'a', accounts: ['a'] }, /either account or accounts/],
    ['balance', decodeBalanceRequest, { accounts: [] }, /holds 0 accounts/],
    ['balance', decodeBalanceRequest, { accounts: new Array(1_001).fill('a') }, /holds 1001 accounts/],
    ['balance', decodeBalanceRequest, { accounts: ['a', 5] }, /accounts\[1\] is 5/],
    ['explain', decodeExplainRequest, { account: 'a', amount: 0 }, /amount is 0/],
    ['locate', decodeLocateRequest, { shard: 0 }, /shard is 0/],
    ['locate', decodeLocateRequest, { shard: 'one' }, /shard is "one"/],
    ['topology', decodeEmptyRequest, { all: true }, /"all" is unknown/],
    ['fold', decodeFoldRequest, { shard: -1 }, /shard is -1/],
    ['verify', decodeVerifyRequest, { accounts: 'a' }, /accounts is "a"/],
    ['rebalance', decodeRebalanceRequest, { dry_run: 'yes' }, /dry_run is "yes"/],
  ])('%s names what is wrong', (_, decode, body, words) => {
    for (const encode of [json, pack]) {
      const error = errorOf(() => decode(encode(body)));
      expect(error.code).toBe('malformed');
      expect(error.message).toMatch(words);
    }
  });

  it('may be empty where nothing has to be said', () => {
    expect(decodeEmptyRequest(new Uint8Array())).toBeUndefined();
    expect(decodeFoldRequest(new Uint8Array())).toEqual({ shard: null });
    expect(decodeVerifyRequest(json({}))).toEqual({ accounts: null });
  });
});

describe('any bytes at all', () => {
  const SLOW_MS = 1_000;

  it('are taken or refused by a SpillError, quickly', () => {
    const body = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.concat([Buffer.from('['), bytes])),
      fc.json().map((text) => Buffer.from(text)),
      fc
        .anything({ withBigInt: true, withDate: true, withMap: true, withSparseArray: true, maxDepth: 12 })
        .map((value) => {
          try {
            return pack(value);
          } catch {
            return pack(null); // Not every value can be packed, which is no matter here.
          }
        }),
    );
    fc.assert(
      fc.property(body, (bytes) => {
        const began = performance.now();
        try {
          decodeSubmitRequest(bytes, 1, LIMITS);
        } catch (error) {
          expect(error).toBeInstanceOf(SpillError);
        }
        expect(performance.now() - began).toBeLessThan(SLOW_MS);
      }),
      { numRuns: 3_000 },
    );
  });

  it('of a good request with one byte changed are taken or refused', () => {
    const bodies = [json([GOOD, GOOD]), pack([GOOD, { ...GOOD, amount: -(2n ** 40n) }])];
    fc.assert(
      fc.property(fc.constantFrom(...bodies), fc.nat(), fc.nat(255), fc.boolean(), (body, at, byte, cut) => {
        const place = at % body.byteLength;
        const bytes = Uint8Array.from(cut ? body.subarray(0, place) : body);
        if (!cut) bytes[place] = byte;
        try {
          decodeSubmitRequest(bytes, 1, LIMITS);
        } catch (error) {
          expect(error).toBeInstanceOf(SpillError);
        }
      }),
      { numRuns: 3_000 },
    );
  });
});
