import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 60_000,
    hookTimeout: 120_000,
    // Real processes wait for their disks more than for the cores: three suites at once keep two cores busy.
    maxWorkers: 3,
  },
});
