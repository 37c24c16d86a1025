/** What a process gets from outside, as the real classes expect it: each call a ticket of the virtual runtime. */
import type { DataTable, Topology } from '@spill/core';
import type { NatsConnection, StoredTopology, TopologyStore } from '@spill/node';
import { ErrorCode, NatsError } from 'nats';
import type { JetStreamLog } from '../../../packages/node/dist/nats/log.js';
import type { DataTableModel } from './data-table-model.js';
import type { Library } from './library.js';
import type { LogModel } from './log-model.js';
import type { Actor, VirtualRuntime } from './virtual-runtime.js';

const STATEMENT_MS = 5_000;
const STORE_MS = 5_000;
const APPEND_MS = 5_000;
const REREAD_MS = 10_000;
const WRONG_LAST_SEQUENCE = 10_071;
/** Every state of the model is of one ledger: it is set back, never made anew. */
const LEDGER = '1e'.repeat(16);

export interface Listener {
  readonly actor: Actor;
  readonly handle: (payload: Uint8Array, respond: (data: Uint8Array) => void) => void;
}

export interface Message {
  readonly subject: string;
  readonly payload: Uint8Array;
}

interface Watcher {
  readonly actor: Actor;
  readonly onChange: (stored: StoredTopology) => void;
}

/** What all processes share. */
export class Outside {
  readonly listeners = new Map<string, Listener>();
  readonly logs = new Map<number, LogModel>();
  private watchers: Watcher[] = [];
  private stored: { readonly json: string; readonly revision: number };
  /** The newest document, read once; nobody changes what it is handed. */
  topology: Topology;
  /** Every document there ever was, as a lagging replica may still hold it. */
  readonly documents: string[] = [];

  constructor(
    readonly lib: Library,
    readonly runtime: VirtualRuntime,
    readonly table: DataTableModel,
    first: Topology,
    private readonly onTopology: (before: Topology, after: Topology) => void,
  ) {
    this.stored = { json: JSON.stringify(first), revision: 1 };
    this.topology = first;
    this.documents.push(this.stored.json);
  }

  /** Reads, changes and writes within one moment. */
  changeNow(change: (topology: Topology) => Topology | null): Topology {
    const next = change(this.topology);
    if (next) this.put(JSON.stringify(next), this.stored.revision);
    return this.topology;
  }

  private put(json: string, revision: number): number {
    if (revision !== this.stored.revision) {
      const error = new NatsError('wrong last sequence', '400');
      error.api_error = { code: 400, err_code: WRONG_LAST_SEQUENCE, description: 'wrong last sequence' };
      throw error;
    }
    const before = this.topology;
    this.stored = { json, revision: revision + 1 };
    this.topology = JSON.parse(json) as Topology;
    this.documents.push(json);
    this.onTopology(before, this.topology);
    const { stored } = this;
    this.watchers = this.watchers.filter(({ actor }) => actor.alive);
    for (const { actor, onChange } of this.watchers) {
      if (actor.deaf) continue;
      const carryOut = (): void => {
        if (actor.alive) onChange({ topology: JSON.parse(stored.json) as Topology, revision: stored.revision });
      };
      this.runtime.tickets.push({ actor, label: `watch ${actor.name}`, carryOut });
    }
    return stored.revision;
  }

  /** The real store over a bucket of the model. */
  store(actor: Actor): TopologyStore {
    const late = (): never => {
      throw new NatsError(ErrorCode.Timeout, ErrorCode.Timeout);
    };
    const kv = {
      get: () =>
        this.runtime.ask(
          actor,
          `read topology (${actor.name})`,
          () => {
            const { json, revision } = this.stored;
            return { operation: 'PUT', revision, string: () => json };
          },
          STORE_MS,
          late,
        ),
      update: (_: string, json: string, revision: number) =>
        this.runtime.ask(actor, `write topology (${actor.name})`, () => this.put(json, revision), STORE_MS, late),
    };
    const Store = this.lib.TopologyStore as unknown as new (nc: unknown, kv: unknown) => TopologyStore;
    const store = new Store(null, kv);
    store.watch = async (onChange, onError) => {
      let latest = 0;
      const offer = (stored: StoredTopology): void => {
        if (stored.topology.epoch <= latest) return;
        latest = stored.topology.epoch;
        onChange(stored);
      };
      this.watchers.push({ actor, onChange: offer });
      const timer = setInterval(() => {
        if (actor.alive) store.require().then(offer, onError);
        else clearInterval(timer);
      }, REREAD_MS);
      return () => clearInterval(timer);
    };
    return store;
  }

  /** `onRequest`: told of everything that is sent. */
  connection(actor: Actor, onRequest?: (message: Message) => void): NatsConnection {
    const request = (subject: string, payload: Uint8Array, { timeout }: { timeout: number }) => {
      onRequest?.({ subject, payload: payload.slice() });
      return this.runtime.askLater<{ data: Uint8Array }>(
        actor,
        `${actor.name} → ${subject}`,
        (answer) => {
          const listener = this.listeners.get(subject);
          if (!listener?.actor.alive) {
            answer(() => {
              throw new NatsError(ErrorCode.NoResponders, ErrorCode.NoResponders);
            });
            return;
          }
          listener.handle(payload.slice(), (data) => answer(() => ({ data: data.slice() })));
        },
        timeout,
        () => {
          throw new NatsError(ErrorCode.Timeout, ErrorCode.Timeout);
        },
      );
    };
    const status = () => ({ [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => {}) }) });
    return { request, status } as unknown as NatsConnection;
  }

  /** A message comes once more, from nobody who waits for its answer. */
  arriveAgain({ subject, payload }: Message): void {
    const listener = this.listeners.get(subject);
    if (listener?.actor.alive) listener.handle(payload.slice(), () => {});
  }

  log(actor: Actor, shard: number): JetStreamLog {
    const { runtime, lib } = this;
    const model = (): LogModel => {
      const log = this.logs.get(shard);
      if (log) return log;
      throw new lib.log.LogMissingError(`the stream of shard ${shard} does not exist`);
    };
    const ask = <T>(what: string, effect: (log: LogModel) => T): Promise<T> =>
      runtime.ask(
        actor,
        `${what} of ${actor.name}`,
        () => effect(model()),
        STORE_MS,
        () => {
          throw new NatsError(ErrorCode.Timeout, ErrorCode.Timeout);
        },
      );
    const log = {
      shard,
      info: () =>
        ask('info', ({ stream }) => ({
          firstSequence: stream.firstSequence,
          lastSequence: stream.lastSequence,
          bytes: 0,
          replicas: 1,
          leader: null,
          problems: [],
        })),
      last: () => ask('last record', (log) => log.last()),
      get: (sequence: number) => ask('a record', (log) => log.get(sequence)),
      append: (bytes: Uint8Array, expectedLast: number) =>
        runtime.ask<{ outcome: string; sequence?: number; detail?: string }>(
          actor,
          `record ${expectedLast + 1} of ${actor.name}`,
          () => {
            const log = model();
            if (log.full) return { outcome: 'refused', detail: 'the disk is full' };
            const answer = log.store(actor, bytes.slice(), expectedLast, Date.now() * 1_000);
            if ('last' in answer) return { outcome: 'fenced', detail: `the log ends with ${answer.last}` };
            return { outcome: 'stored', sequence: answer.sequence };
          },
          APPEND_MS,
          () => {
            throw new lib.log.AmbiguousAppendError(`record ${expectedLast + 1} was not answered`);
          },
        ),
      read: async function* (from: number, to: number) {
        const messages = await ask(`records from ${from}`, (log) => log.range(from, to));
        yield* messages;
        if ((messages.at(-1)?.sequence ?? from - 1) < to) throw new Error(`reading from ${from} ended before ${to}`);
      },
    };
    return log as unknown as JetStreamLog;
  }

  dataTable(actor: Actor): DataTable {
    const { runtime, lib, table } = this;
    const ask = <T>(what: string, effect: () => T): Promise<T> =>
      runtime.ask(
        actor,
        `SQL ${what} of ${actor.name}`,
        () => {
          if (table.away) throw new lib.core.DataTableUnavailableError('the database is away');
          return effect();
        },
        STATEMENT_MS,
        () => {
          throw new lib.core.DataTableUnavailableError('the connection broke');
        },
      );
    const client: Partial<DataTable> = {
      fold: (request) => ask('fold', () => table.fold(request)),
      ledger: (keys) => ask('ledger', () => table.lookUp(keys)),
      direct: (transaction, isLedger) =>
        ask('direct', () =>
          isLedger(LEDGER) ? table.direct(transaction) : { outcome: 'unavailable', detail: 'another ledger' },
        ),
      readBalances: (accounts, shards) => ask('balances', () => table.readBalances(accounts, shards)),
      watermark: (shard) => ask('watermark', () => table.watermarks.get(shard) ?? null),
      ledgerOf: (shard) => ask('ledger', () => ({ ledgerId: LEDGER, watermark: table.watermarks.get(shard) ?? null })),
      watermarks: () => ask('watermarks', () => [...table.watermarks.values()]),
      dueSetAsideAccounts: () => ask('set aside', () => table.dueSetAsideAccounts()),
      retrySetAside: ({ accounts }) => ask('retry', () => table.retrySetAside(accounts ?? [])),
      close: async () => {},
    };
    return client as DataTable;
  }
}
