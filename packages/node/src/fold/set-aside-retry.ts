import { type DataTable, isDataTableFailure } from '@spill/core';

const EVERY_MS = 1_000;
const ACCOUNTS_MAX = 200;

/**
 * Tries set-aside transactions again when they are due, whatever shard they came from: done by the owner of the
 * account's slot in `credit`, so that there is always exactly one, and those of a retired shard are somebody's too.
 */
export class SetAsideRetry {
  /** Why the last round failed; null: it went well. */
  error: string | null = null;
  private timer: NodeJS.Timeout | null = null;
  private round: Promise<void> | null = null;
  private after: string | undefined;
  private stopped = false;

  constructor(
    private readonly table: DataTable,
    private readonly owns: (account: string) => boolean,
    private readonly onError: (error: Error) => void,
  ) {}

  start(): void {
    this.timer = setInterval(() => {
      this.round ??= this.retry()
        .catch(this.onError)
        .finally(() => {
          this.round = null;
        });
    }, EVERY_MS);
  }

  async stop(): Promise<void> {
    if (this.timer) clearInterval(this.timer);
    this.stopped = true;
    await this.round;
  }

  private async retry(): Promise<void> {
    let due: string[] = [];
    try {
      do {
        const query = this.after === undefined ? {} : { after: this.after };
        due = await this.table.dueSetAsideAccounts({ ...query, limit: ACCOUNTS_MAX });
        // A full page: goes on behind it, or accounts of other shards would hide ours for ever.
        this.after = due.length === ACCOUNTS_MAX ? due.at(-1) : undefined;
        const accounts = due.filter(this.owns);
        if (accounts.length > 0) await this.table.retrySetAside({ accounts, dueOnly: true, limit: ACCOUNTS_MAX });
      } while (this.after !== undefined && !this.stopped);
      this.error = null;
    } catch (error) {
      if (!isDataTableFailure(error)) throw error;
      this.error = error.message;
      // Somewhere else next time: where one account's rows are what fails, those behind it have their turn.
      this.after = due[Math.floor(Math.random() * due.length)];
    }
  }
}
