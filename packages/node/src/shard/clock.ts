/** Microseconds since 1970 by this machine's clock, which may be stepped. */
export function wallMicros(): number {
  return Date.now() * 1000;
}

/** Microseconds that no clock step moves. */
export function monotonicMicros(): number {
  return Math.floor(performance.now() * 1000);
}
