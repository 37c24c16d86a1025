import * as v from 'valibot';

export { checkServerVersion } from './server-version.js';

/** What a running nats-server says about itself on its monitor port. */
export interface ServerSettings {
  /** As `2.14.9`. */
  readonly version: string;
  readonly serverName: string;
  readonly jetstream: boolean;
  /** `sync_interval: always`: JetStream fsyncs each message before it acknowledges it. */
  readonly syncAlways: boolean;
  /** Nanoseconds between two fsyncs where `syncAlways` is false. */
  readonly syncIntervalNs: number;
  /** The largest message, in bytes. */
  readonly maxPayload: number;
  /** Where JetStream keeps its files, on the server's machine; absent without JetStream. */
  readonly jetstreamStoreDir?: string;
  /** The most that JetStream stores in files, in bytes: past it a publish is refused. Absent without JetStream. */
  readonly maxFileStore?: number;
}

// Only what is read; the server sends much more. `sync_always` is left out where it is false.
const VARZ = v.object({
  version: v.string(),
  server_name: v.string(),
  max_payload: v.number(),
  jetstream: v.optional(
    v.object({
      config: v.optional(
        v.object({
          max_storage: v.number(),
          store_dir: v.optional(v.string()),
          sync_interval: v.optional(v.number()),
          sync_always: v.optional(v.boolean()),
        }),
      ),
    }),
  ),
});

const MONITOR_TIMEOUT_MS = 3_000;

/**
 * Reads the settings of the server behind a monitor URL (`http://host:8222`). A client's connection can't see them: the
 * monitor port and the system account are the only places that show whether an acknowledgement means an fsync.
 * Rejects where the URL does not answer within 3 s as a nats-server's monitor does.
 */
export async function readServerSettings(monitorUrl: string): Promise<ServerSettings> {
  const url = new URL('/varz', monitorUrl);
  let body: unknown;
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(MONITOR_TIMEOUT_MS) });
    if (!response.ok) throw new Error(`HTTP status ${response.status}`);
    body = await response.json();
  } catch (error) {
    const cause = (error as Error).cause;
    const reason = cause instanceof Error ? cause.message : (error as Error).message;
    throw new Error(`no nats-server monitor at ${url.href}: ${reason}`, { cause: error });
  }
  const parsed = v.safeParse(VARZ, body);
  if (!parsed.success) throw new Error(`no nats-server monitor at ${url.href}: ${parsed.issues[0].message}`);
  const varz = parsed.output;
  const config = varz.jetstream?.config;
  return {
    version: varz.version,
    serverName: varz.server_name,
    jetstream: config !== undefined,
    syncAlways: config?.sync_always ?? false,
    syncIntervalNs: config?.sync_interval ?? 0,
    maxPayload: varz.max_payload,
    ...(config?.store_dir !== undefined && { jetstreamStoreDir: config.store_dir }),
    ...(config && { maxFileStore: config.max_storage }),
  };
}
