import { setImmediate } from 'node:timers/promises';

/** Does work that comes in steps, and gives everything else its turn between them: the shard answers while it folds. */
export async function inTurns<T>(steps: Generator<undefined, T>): Promise<T> {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
    await setImmediate();
  }
}
