import Table from 'cli-table3';

/** A heading of the story. */
export function say(text = '') {
  console.log(text);
}

/** Minor units as money with two decimals: −123456 is "-1,234.56". */
export function money(amount) {
  const sign = amount < 0n ? '-' : '';
  const digits = String(amount < 0n ? -amount : amount).padStart(3, '0');
  return `${sign}${BigInt(digits.slice(0, -2)).toLocaleString('en')}.${digits.slice(-2)}`;
}

export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString('en')} ${number === 1 ? one : many}`;
}

/** A plain table; columns named in `right` are aligned to the right. */
export function table(head, rows, right) {
  const shown = new Table({
    head,
    colAligns: head.map((name) => (right.includes(name) ? 'right' : 'left')),
    style: { head: [], border: [], 'padding-left': 1, 'padding-right': 1 },
    chars: Object.fromEntries(
      ['top', 'top-mid', 'top-left', 'top-right', 'bottom', 'bottom-mid', 'bottom-left', 'bottom-right']
        .concat(['left', 'left-mid', 'mid', 'mid-mid', 'right', 'right-mid', 'middle'])
        .map((name) => [name, '']),
    ),
  });
  shown.push(...rows);
  console.log(shown.toString());
}
