import { Answering, INBOUND_LAG_MS_MAX, InboundLag } from '@spill/node';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** A server whose pongs come when they are told to. */
class SlowServer {
  private readonly pings: { at: number; pong: (ms: number) => void; lose: (error: Error) => void }[] = [];

  rtt(): Promise<number> {
    return new Promise((pong, lose) => this.pings.push({ at: performance.now(), pong, lose }));
  }

  async answer(): Promise<void> {
    const ping = this.pings.shift();
    ping?.pong(performance.now() - ping.at);
    await vi.advanceTimersByTimeAsync(0);
  }

  async disconnect(): Promise<void> {
    for (const { lose } of this.pings.splice(0)) lose(new Error('disconnected'));
    await vi.advanceTimersByTimeAsync(0);
  }
}

test('a ping that is not answered yet counts for as long as it waits, then for what it took', async () => {
  const server = new SlowServer();
  const lag = new InboundLag(server);
  expect(lag.ms).toBe(0);
  vi.advanceTimersByTime(50 + 700);
  expect(lag.ms).toBe(700);
  await server.answer();
  expect(lag.ms).toBe(700);
  vi.advanceTimersByTime(50);
  await server.answer();
  expect(lag.ms).toBeLessThan(50);
  vi.advanceTimersByTime(2_000);
  await server.disconnect();
  expect(lag.ms).toBe(0);
  lag.stop();
});

test('a router that can not keep up refuses unread, and takes again once it has caught up', async () => {
  const lag = { ms: 0 };
  let read = 0;
  const answering = new Answering(lag, () => {});
  const { handler } = answering.endpoint('submit', 'x', 10, async () => {
    read += 1;
    return new Uint8Array([1]);
  });
  const ask = async (): Promise<string> => {
    let said = '';
    handler({
      data: Buffer.from('{}'),
      header: () => undefined,
      respond: () => {
        said = 'answered';
      },
      respondError: (status, _description, body) => {
        said = `${status} ${JSON.parse(Buffer.from(body).toString()).error.code}`;
      },
    });
    await vi.advanceTimersByTimeAsync(0);
    return said;
  };
  expect(await ask()).toBe('answered');
  lag.ms = INBOUND_LAG_MS_MAX + 1;
  expect(await ask()).toMatch(/overloaded$/);
  expect(read).toBe(1);
  lag.ms = INBOUND_LAG_MS_MAX;
  expect(await ask()).toBe('answered');
});
