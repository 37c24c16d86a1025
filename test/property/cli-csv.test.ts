import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type CsvRow, readCsv } from '@spill/cli';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runs } from '../support/property-runs.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'spill-csv-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function fileOf(content: string | Buffer): string {
  const path = join(folder, 'rows.csv');
  writeFileSync(path, content);
  return path;
}

async function read(content: string | Buffer): Promise<CsvRow[]> {
  const rows: CsvRow[] = [];
  for await (const row of readCsv(fileOf(content))) rows.push(row);
  return rows;
}

async function complaint(content: string | Buffer): Promise<string> {
  try {
    await read(content);
  } catch (error) {
    expect(error).toMatchObject({ name: 'CliError', exitCode: 2 });
    return (error as Error).message.replace(folder, '');
  }
  throw new Error('it was taken');
}

const GOOD = { index: 0, line: 2, id: 'o-1', account: 'customer-1', amount: -24520n, timestamp: null, fault: null };

describe('the form of a CSV file', () => {
  test.each([
    ['plain', 'id,account,amount\no-1,customer-1,-24520\n'],
    ['without a line end at its end', 'id,account,amount\no-1,customer-1,-24520'],
    ['with a byte-order mark', '\ufeffid,account,amount\no-1,customer-1,-24520\n'],
    ['with CRLF', 'id,account,amount\r\no-1,customer-1,-24520\r\n'],
    ['with CR', 'id,account,amount\ro-1,customer-1,-24520\r'],
    ['with quotes', '"id","account","amount"\n"o-1","customer-1","-24520"\n'],
    ['with a byte-order mark before quotes', '\ufeff"id",account,amount\no-1,customer-1,-24520\n'],
    ['with empty lines at its end', 'id,account,amount\no-1,customer-1,-24520\n\n   \n\r\n'],
    ['with its columns in another order', 'amount,id,account\n-24520,o-1,customer-1\n'],
    ['with an empty timestamp', 'id,account,amount,timestamp\no-1,customer-1,-24520,\n'],
  ])('%s', async (_, content) => {
    expect(await read(content)).toEqual([GOOD]);
  });

  test('lines are counted whatever stands between', async () => {
    const rows = await read('\r\nid,account,amount\r\n\r\na,x,1\nb,x,2\n\n\r\nc,x,0\n"d","x",4');
    expect(rows.map((row) => [row.id, row.line])).toEqual([
      ['a', 4],
      ['b', 5],
      ['c', 8],
      ['d', 9],
    ]);
  });

  test.each([
    ['no header', 'o-1,customer-1,5\n', '/rows.csv, line 1: no header: the first line must name the columns'],
    ['nothing', '', '/rows.csv is empty: the first line must name'],
    ['only empty lines', '\n\n', '/rows.csv is empty: the first line must name'],
    ['a column missing', 'id,account\no-1,x\n', '/rows.csv, line 1: the column amount is missing'],
    ['an unknown column', 'id,account,amount,currency\n', '/rows.csv, line 1: the column "currency" is unknown'],
    ['a column twice', 'id,account,amount,id\n', '/rows.csv, line 1: the column "id" is there twice'],
    ['a column too few', 'id,account,amount\na,x,1\n\nb,x\n', '/rows.csv, line 4: 2 columns, the header has 3'],
    ['a column too many', 'id,account,amount\na,x,1,2\n', '/rows.csv, line 2: 4 columns, the header has 3'],
    ['a quote left open', 'id,account,amount\na,"x,1\nb,x,2\n', '/rows.csv, line 3: Quote Not Closed'],
    ['a quote inside', 'id,account,amount\na,x"y,1\n', '/rows.csv, line 2: Invalid Opening Quote'],
  ])('%s is told with its line', async (_, content, said) => {
    expect((await complaint(content)).slice(0, said.length)).toBe(said);
  });

  test('a file that is none', async () => {
    const error = async (path: string) => {
      for await (const _row of readCsv(path)) throw new Error('it has rows');
    };
    await expect(error(join(folder, 'none.csv'))).rejects.toThrow('none.csv does not exist');
    await expect(error(folder)).rejects.toThrow('is a folder, not a file');
  });
});

test('lines are right across the chunks of a large file', async () => {
  const ids = Array.from({ length: 30_000 }, (_, i) => `id-${i}`);
  const rows = await read(`id,account,amount\r\n${ids.map((id) => `${id},x,1`).join('\r\n')}\r\n`);
  expect(rows.map(({ id }) => id)).toEqual(ids);
  expect(rows.every(({ line, index }) => line === index + 2)).toBe(true);
});

describe('rows that can be no transactions', () => {
  test.each([
    ['a,x,0', 'amount is "0": must not be 0'],
    ['a,x,1.5', 'amount is "1.5": must be a decimal string'],
    ['a,x, 12 ', 'amount is " 12 ": must be a decimal string'],
    ['a,x,0x10', 'amount is "0x10": must be a decimal string'],
    ['a,x,+5', 'amount is "+5": must be a decimal string'],
    ['a,x,', 'amount is "": must be a decimal string'],
    ['a,x,9223372036854775808', 'amount is "9223372036854775808": must be within'],
    ['a,x,-9223372036854775808', 'amount is "-9223372036854775808": must be within'],
    [',x,1', 'id is "": must be 1 to 64 bytes'],
    [`${'i'.repeat(65)},x,1`, 'id is "'],
    ['a,,1', 'account is "": must be 1 to 128 bytes'],
    ['a,"x\ny",1', 'account is "x\\ny": must be well-formed text'],
  ])('%s', async (line, said) => {
    const [row] = await read(`id,account,amount\n${line}\n`);
    expect(row?.fault?.slice(0, said.length)).toBe(said);
  });

  test('text that is not UTF-8 is refused, not repaired', async () => {
    const [row] = await read(Buffer.from('id,account,amount\nb\xe9b\xe9,x,1\n', 'latin1'));
    expect(row?.fault).toContain('must be well-formed text');
  });

  test('timestamps: microseconds or a time with its zone', async () => {
    const times = ['1760000000000001', '2026-11-24T07:00:00.000001Z', '2026-11-24T08:00:00+01:00', '2026-11-24'];
    const bad = ['2026-11-24T07:00:00', '2026-02-30', 'yesterday', '-5', '1.5e15'];
    const rows = await read(
      `id,account,amount,timestamp\n${[...times, ...bad].map((time) => `a,x,1,${time}`).join('\n')}\n`,
    );
    expect(rows.map((row) => (row.fault === null ? row.timestamp : row.fault.slice(0, 12)))).toEqual([
      1_760_000_000_000_001,
      1_795_503_600_000_001,
      1_795_503_600_000_000,
      1_795_478_400_000_000,
      ...bad.map(() => 'timestamp is'),
    ]);
  });
});

test('whatever is written by the rules is read as it was', async () => {
  const text = fc.string({ minLength: 1, maxLength: 20, unit: 'grapheme' }).filter((value) => {
    return !/[\u0000-\u001f\u007f\ufffd]/.test(value) && Buffer.byteLength(value) <= 64;
  });
  const amount = fc.bigInt({ min: -(2n ** 63n) + 1n, max: 2n ** 63n - 1n }).filter((value) => value !== 0n);
  const row = fc.record({ id: text, account: text, amount, quoted: fc.boolean(), empty: fc.nat(2) });
  const quote = (value: string, always: boolean) =>
    always || /[",\r\n]/.test(value) || value !== value.trim() ? `"${value.replaceAll('"', '""')}"` : value;
  await fc.assert(
    fc.asyncProperty(
      fc.array(row, { maxLength: 30 }),
      fc.constantFrom('\n', '\r\n'),
      fc.boolean(),
      async (rows, end, mark) => {
        let line = 1;
        let content = `${mark ? '\ufeff' : ''}id,account,amount${end}`;
        const expected = rows.map(({ id, account, amount: units, quoted, empty }, index) => {
          content +=
            end.repeat(empty) + [id, account, String(units)].map((value) => quote(value, quoted)).join(',') + end;
          line += empty + 1;
          return { id, account, amount: units, timestamp: null, fault: null, index, line };
        });
        expect(await read(content)).toEqual(expected);
      },
    ),
    runs(200),
  );
});
