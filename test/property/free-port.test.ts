import crypto from 'node:crypto';
import { once } from 'node:events';
import { syncBuiltinESMExports } from 'node:module';
import { createServer } from 'node:net';
import { afterEach, expect, test, vi } from 'vitest';
import { freePort } from '../../packages/node/dist/nats/free-port.js';

const OTHER_HOST = '127.0.0.2';

afterEach(() => {
  vi.restoreAllMocks();
  syncBuiltinESMExports();
});

// Elsewhere the loopback has one address.
test.runIf(process.platform === 'linux')(
  'a port is free where the server is to listen, not only on 127.0.0.1',
  async () => {
    const port = await freePort(OTHER_HOST);
    const taken = createServer().listen(port, OTHER_HOST);
    await once(taken, 'listening');
    try {
      vi.spyOn(crypto, 'randomInt').mockImplementationOnce((() => port) as never);
      syncBuiltinESMExports();
      expect(await freePort(OTHER_HOST)).not.toBe(port);
      expect(crypto.randomInt).toHaveBeenCalled();
    } finally {
      taken.close();
      await once(taken, 'close');
    }
  },
);
