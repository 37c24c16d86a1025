/**
 * What clients have asked for and were told. Every amount of an account is its own power of four, so that a balance
 * says which transactions are in it, and how often.
 */
import { type Pool, slotOf } from '@spill/core';

/** Powers of four from here on are `large`. */
const LARGE_FROM = 25;
const LARGE_TO = 31;
export const LARGE_THRESHOLD = 4n ** BigInt(LARGE_FROM);

/** One (account, id, amount) that some client has ever sent. */
export interface Asked {
  readonly account: string;
  readonly id: string;
  readonly amount: bigint;
  readonly power: number;
  readonly pool: Pool;
  timestamp: number;
  /** Without a timestamp of the client's: spill stamped it, and may stamp it again. */
  readonly stamped: boolean;
  /** A client was told that it is stored, applied, or a duplicate. */
  acknowledged: boolean;
  /** It went the direct path: what a data table that is set back takes with it, no log brings back. */
  direct: boolean;
  /** What the last rejection said. */
  refusal: string;
}

export class ClientModel {
  readonly asked: Asked[] = [];
  private readonly nextPower = new Map<string, number>();
  private nextId = 0;

  constructor(readonly accounts: readonly string[]) {}

  slot(account: string): number {
    return slotOf(account);
  }

  /** A new transaction, or, with `id`, another one under the same id; null: the account's powers are used up. */
  ask(account: string, pool: Pool, timestamp: number, stamped: boolean, id?: string): Asked | null {
    const counter = `${account} ${pool === 'large' ? 'large' : ''}`;
    const power = this.nextPower.get(counter) ?? (pool === 'large' ? LARGE_FROM : 0);
    if (power === (pool === 'large' ? LARGE_TO : LARGE_FROM)) return null;
    this.nextPower.set(counter, power + 1);
    const size = 4n ** BigInt(power);
    const negative = pool === 'debit' || (pool === 'large' && power % 2 === 1);
    const asked: Asked = {
      account,
      id: id ?? `t${this.nextId++}`,
      amount: negative ? -size : size,
      power,
      pool,
      timestamp,
      stamped,
      acknowledged: false,
      direct: false,
      refusal: '',
    };
    this.asked.push(asked);
    return asked;
  }

  of(account: string, id: string): Asked[] {
    return this.asked.filter((asked) => asked.account === account && asked.id === id);
  }

  find(account: string, id: string, amount: bigint): Asked | undefined {
    return this.asked.find((asked) => asked.account === account && asked.id === id && asked.amount === amount);
  }

  acknowledged(account: string): Asked[] {
    return this.asked.filter((asked) => asked.account === account && asked.acknowledged);
  }

  /**
   * What is wrong with a balance of the account: null, or a sentence. `surely`: what it must hold, once. Everything else
   * that was asked for may be in it, once.
   */
  judgeBalance(account: string, balance: bigint, surely: readonly Asked[]): string | null {
    const all = this.asked.filter((asked) => asked.account === account);
    // One unit of each power more, so that none is negative.
    let rest = balance + all.reduce((sum, { power }) => sum + 4n ** BigInt(power), 0n);
    for (const asked of [...all].sort((a, b) => a.power - b.power)) {
      const size = 4n ** BigInt(asked.power);
      const digit = Number((rest / size) % 4n);
      rest -= BigInt(digit) * size;
      const times = asked.amount > 0n ? digit - 1 : 1 - digit;
      if (times < 0 || times > 1) return `${asked.id} is in it ${times} times`;
      if (times === 0 && surely.includes(asked) && this.of(account, asked.id).length === 1) {
        return `${asked.id} is missing, though it was acknowledged before`;
      }
    }
    return rest === 0n ? null : `${rest} of it was asked for by nobody`;
  }
}
