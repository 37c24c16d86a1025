export const SET_ASIDE_BACKOFF_MS_MIN = 1_000;
export const SET_ASIDE_BACKOFF_MS_MAX = 300_000;

/** How long a set-aside account waits after its `attempts`-th failed retry (from 1): doubling, 1 s to 5 min. */
export function setAsideBackoffMs(attempts: number): number {
  return Math.min(SET_ASIDE_BACKOFF_MS_MAX, SET_ASIDE_BACKOFF_MS_MIN * 2 ** Math.min(Math.max(attempts, 1) - 1, 20));
}
