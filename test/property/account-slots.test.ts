import { isCanonicalAccount, slotOf, type Topology } from '@spill/core';
import { expect, it } from 'vitest';
import { AccountSlots, NO_SLOT } from '../../packages/node/dist/router/account-slots.js';

/** Accounts that never come again, a few that always do, and some of each: longer than the slots learn for. */
function* accounts(): Generator<string> {
  const phase = 20_000;
  for (let i = 0; i < 6 * phase; i++) {
    const kind = Math.floor(i / phase) % 3;
    const n = kind === 0 ? i : kind === 1 ? i % 50 : (i * 7_919) % 9_000;
    yield `${n % 7 === 0 ? '0' : ''}${n}`;
  }
}

it.each(['text', 'int8', 'uuid'] satisfies Topology['accountType'][])(
  'the slot of an account is the same whether it is remembered or not, and none where a %s column writes it otherwise',
  (idType) => {
    const slots = new AccountSlots(() => idType);
    let wrong = 0;
    for (const account of accounts()) {
      const slot = isCanonicalAccount(account, { idType }) ? slotOf(account) : NO_SLOT;
      if (slots.slotToStore(account) !== slot || slots.slot(account) !== slotOf(account)) wrong += 1;
    }
    expect(wrong).toBe(0);
  },
);
