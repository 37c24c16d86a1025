import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';

const WINDOW_MS = 10_000;

/** How long records took to be stored, over the last ten to twenty seconds. */
export class CommitLatency {
  private current: RecordableHistogram = createHistogram();
  private before: RecordableHistogram = createHistogram();
  private since = performance.now();

  record(micros: number): void {
    if (performance.now() - this.since > WINDOW_MS) {
      this.before = this.current;
      this.current = createHistogram();
      this.since = performance.now();
    }
    this.current.record(Math.max(1, Math.round(micros)));
  }

  /** Milliseconds; 0 where nothing was stored lately. */
  percentileMs(percentile: number): number {
    const both = createHistogram();
    both.add(this.before);
    both.add(this.current);
    return both.count === 0 ? 0 : both.percentile(percentile) / 1000;
  }
}
