export type Severity = 'ok' | 'warn' | 'error';

/** One thing that was looked at. */
export interface DoctorFinding {
  /** What was looked at: `nats`, `sync`, `disk`, `topology`, `node n1`, `supervisor`, `shard 3`, `router`, `clocks`, `database`, … */
  readonly check: string;
  /** `warn`: it works, and should be seen to. `error`: something is refused, stands still or is not safe. */
  readonly severity: Severity;
  /** A sentence; where not all is well, with the way out. */
  readonly message: string;
}

/** Collects findings of one check after another. */
export class DoctorFindings {
  readonly all: DoctorFinding[] = [];

  ok(check: string, message: string): void {
    this.all.push({ check, severity: 'ok', message });
  }

  warn(check: string, message: string): void {
    this.all.push({ check, severity: 'warn', message });
  }

  error(check: string, message: string): void {
    this.all.push({ check, severity: 'error', message });
  }

  /** `ok` where none of these said anything. */
  okUnless(check: string, before: number, message: string): void {
    if (this.all.length === before) this.ok(check, message);
  }
}
