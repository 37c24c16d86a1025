import type { DoctorFindings } from './doctor-finding.js';

export interface Clock {
  readonly name: string;
  /** Microseconds since 1970, less those of this machine at the same moment. */
  readonly aheadMicros: number;
}

/** A clock that was told somewhere between two moments of this machine's, microseconds: the middle. */
export function clockBetween(name: string, told: number, asked: number, answered: number): Clock {
  return { name, aheadMicros: told - (asked + answered) / 2 };
}

/** Clocks against each other: the horizon of every shard rests on them, and what is refused as too far ahead. */
export function checkClocks(findings: DoctorFindings, clocks: readonly Clock[], maxClockSkewMs: number): void {
  const all: readonly Clock[] = [{ name: 'this machine', aheadMicros: 0 }, ...clocks];
  const sorted = [...all].sort((a, b) => a.aheadMicros - b.aheadMicros);
  const [slowest, fastest] = [sorted[0] as Clock, sorted.at(-1) as Clock];
  const apartMs = Math.round((fastest.aheadMicros - slowest.aheadMicros) / 1_000);
  const said = `the clock of ${fastest.name} is ${apartMs} ms ahead of that of ${slowest.name}`;
  if (apartMs > maxClockSkewMs) {
    findings.error(
      'clocks',
      `${said}, max_clock_skew is ${maxClockSkewMs} ms: horizons stand still, and right timestamps may be refused. Let NTP set them`,
    );
  } else if (apartMs > maxClockSkewMs / 2) {
    findings.warn('clocks', `${said}, half of max_clock_skew (${maxClockSkewMs} ms): let NTP set them`);
  } else findings.ok('clocks', `${all.map(({ name }) => name).join(', ')}: within ${apartMs} ms`);
}
