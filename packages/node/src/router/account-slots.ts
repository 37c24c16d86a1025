import { isCanonicalAccount, slotOf, type Topology } from '@spill/core';
import { LRUCache } from 'lru-cache';

/** In the place of a slot: the data table would write the account otherwise. */
export const NO_SLOT = -1;

const CACHED_MAX = 8_192;
/** One miss in so many is remembered: hot accounts soon are, and the others cost less to hash than to remember. */
const MISSES_A_CACHED = 16;

/** The slots of accounts, remembered for those seen lately. */
export class AccountSlots {
  private readonly slots = new LRUCache<string, number>({ max: CACHED_MAX });
  private misses = 0;
  private lastAccount: string | null = null;
  private lastSlot = NO_SLOT;

  constructor(private readonly accountType: () => Topology['accountType']) {}

  /** Whatever the data table makes of the account. */
  slot(account: string): number {
    const slot = this.slotToStore(account);
    return slot === NO_SLOT ? slotOf(account) : slot;
  }

  /**
   * `NO_SLOT` where the data table would write the account otherwise: '7' and '07' are one row there and must not become
   * two accounts.
   */
  slotToStore(account: string): number {
    // Hot accounts come in runs.
    if (account === this.lastAccount) return this.lastSlot;
    let slot = this.slots.get(account);
    if (slot === undefined) {
      slot = isCanonicalAccount(account, { idType: this.accountType() }) ? slotOf(account) : NO_SLOT;
      this.misses += 1;
      if (this.misses % MISSES_A_CACHED === 0) this.slots.set(account, slot);
    }
    this.lastAccount = account;
    this.lastSlot = slot;
    return slot;
  }
}
