import { getHeapStatistics, setFlagsFromString } from 'node:v8';

/** Garbage included: four times the some 15 MB that live in most shards, and room for young objects. */
const SMALL_HEAP_BYTES = 128 * 2 ** 20;
/** Hundredths of the heap; V8's own choice lies between 30 and 300, and small heaps get little. */
const GROWING_PERCENT = 300;
const AS_V8_CHOOSES = 0;

let percent = AS_V8_CHOOSES;

/**
 * Lets a small heap grow to four times of what lives in it before V8 collects all of it; to be called now and then.
 *
 * A shard's heap is small, since what it knows lies in columns outside. But these count as the heap's growth: under load
 * there were ten such collections a second, a fifth of the process's time. Where many accounts make the heap a large
 * one, V8 chooses.
 */
export function letSmallHeapGrow(): void {
  const wanted = getHeapStatistics().used_heap_size < SMALL_HEAP_BYTES ? GROWING_PERCENT : AS_V8_CHOOSES;
  if (wanted === percent) return;
  percent = wanted;
  setFlagsFromString(`--heap-growing-percent=${percent}`);
}
