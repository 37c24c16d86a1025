import { SpillError } from '@spill/core';

/** `servers`: URLs separated by commas; what stands before their `@` is left out. */
export function noServerError(servers: string, cause: unknown): SpillError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new SpillError('unavailable', `no NATS server answers at ${plainServers(servers)} (${why})`, { cause });
}

/** URLs without logins, to be shown. */
export function plainServers(servers: string): string {
  return servers.replace(/(:\/\/)[^/@,]*@/g, '$1');
}
