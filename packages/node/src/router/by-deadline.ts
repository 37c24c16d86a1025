/**
 * Waits for `work` until `deadline` (monotonic clock, milliseconds) at most. The work itself goes on: what it comes to
 * after that is nobody's any more.
 *
 * @throws what the work does, or what `late` gives.
 */
export async function byDeadline<T>(deadline: number, work: Promise<T>, late: () => Error): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(late()), Math.max(0, deadline - performance.now()));
  });
  try {
    return await Promise.race([work, over]);
  } finally {
    clearTimeout(timer);
  }
}
