import { isCanonicalAccount, slotOf, type Topology } from '@spill/core';
import { LRUCache } from 'lru-cache';

/** In the place of a slot: the data table would write the account otherwise. */
export const NO_SLOT = -1;

const CACHED_MAX = 8_192;
/** One miss in so many is remembered: hot accounts soon are, and the others cost less to hash than to remember. */
const MISSES_A_CACHED = 16;
/**
 * Where fewer than a quarter of so many are found, so many times 15 are hashed without a look: that takes half as long
 * as to look in vain first.
 */
const LOOKS_A_TRIAL = 1_024;
const UNTRIED = 15 * LOOKS_A_TRIAL;

/** The slots of accounts, remembered for those seen lately. */
export class AccountSlots {
  private readonly slots = new LRUCache<string, number>({ max: CACHED_MAX });
  private looks = 0;
  private misses = 0;
  private untried = 0;
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
    const slot = this.untried > 0 ? this.hash(account) : this.lookUp(account);
    this.lastAccount = account;
    this.lastSlot = slot;
    return slot;
  }

  private lookUp(account: string): number {
    if (++this.looks === LOOKS_A_TRIAL) {
      if (this.misses > (3 / 4) * LOOKS_A_TRIAL) this.untried = UNTRIED;
      this.looks = 0;
      this.misses = 0;
    }
    const known = this.slots.get(account);
    if (known !== undefined) return known;
    const slot = this.hash(account);
    this.misses += 1;
    if (this.misses % MISSES_A_CACHED === 0) this.slots.set(account, slot);
    return slot;
  }

  private hash(account: string): number {
    if (this.untried > 0) this.untried -= 1;
    return isCanonicalAccount(account, { idType: this.accountType() }) ? slotOf(account) : NO_SLOT;
  }
}
