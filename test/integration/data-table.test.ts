import { afterAll, afterEach, beforeAll, describe } from 'vitest';
import { startTestDatabase } from '../support/data-table-fixture.js';
import { accountTextsCases } from './data-table/account-texts.cases.js';
import { brokenConnectionCases } from './data-table/broken-connection.cases.js';
import { directPathCases } from './data-table/direct-path.cases.js';
import { foldCases } from './data-table/fold.cases.js';
import { foldRefusalsCases } from './data-table/fold-refusals.cases.js';
import { numericBalancesCases } from './data-table/numeric-balances.cases.js';
import { readsCases } from './data-table/reads.cases.js';
import { schemaCases } from './data-table/schema.cases.js';
import { setAsideCases } from './data-table/set-aside.cases.js';
import { verifyCases } from './data-table/verify.cases.js';
import { Workbench } from './data-table/workbench.js';

/**
 * One suite for every database behind the port. What only PostgreSQL can do (several sessions at once, and so locks to
 * wait for; roles; collations) is in `data-table-locks.test.ts` and `data-table-roles.test.ts`, and said in the names.
 */
describe.each(['PostgreSQL', 'PGlite'] as const)('data table on %s', (name) => {
  const bench = new Workbench();

  beforeAll(async () => {
    bench.database = await startTestDatabase(name);
  });
  afterAll(async () => {
    await bench.database?.stop();
  });
  afterEach(async () => {
    await bench.table?.close();
  });

  foldCases(bench);
  foldRefusalsCases(bench);
  accountTextsCases(bench);
  numericBalancesCases(bench);
  setAsideCases(bench);
  directPathCases(bench);
  readsCases(bench);
  verifyCases(bench);
  schemaCases(bench);
  brokenConnectionCases(bench);
});
