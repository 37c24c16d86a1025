import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export interface SlotVector {
  readonly account: string;
  /** XXH64, seed 0, 16 hexadecimal digits. */
  readonly hash: string;
  readonly slot: number;
}

const PROTOCOL = fileURLToPath(new URL('../../docs/PROTOCOL.md', import.meta.url));
const ROW = /^\| `(.+)` +\| `([0-9a-f]{16})` +\| +(\d+) +\|$/;

/** The test vectors as docs/PROTOCOL.md lists them: that table is what these tests hold true. */
export function slotVectors(): SlotVector[] {
  return readFileSync(PROTOCOL, 'utf8')
    .split('\n')
    .map((line) => ROW.exec(line))
    .filter((match) => match !== null)
    .map(([, account, hash, slot]) => ({ account: account as string, hash: hash as string, slot: Number(slot) }));
}
