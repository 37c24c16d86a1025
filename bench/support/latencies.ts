import { createHistogram } from 'node:perf_hooks';

/** Latencies in milliseconds. */
export class Latencies {
  private readonly histogram = createHistogram();

  record(ms: number): void {
    this.histogram.record(Math.max(1, Math.round(ms * 1e6)));
  }

  /** `percent`: 0 to 100. */
  at(percent: number): number {
    return this.histogram.percentile(percent) / 1e6;
  }

  get max(): number {
    return this.histogram.max / 1e6;
  }
}
