/**
 * The thread that PGlite runs in: its work is synchronous WebAssembly and must not block the node's event loop.
 * Serves PostgreSQL's protocol on a unix socket. Messages to the parent: `ready`, then `failed` before it ends.
 */
import { createServer, type Socket } from 'node:net';
import { parentPort, workerData } from 'node:worker_threads';
import { PGlite } from '@electric-sql/pglite';
import { PGLiteSocketHandler, type PGLiteSocketHandlerOptions } from '@electric-sql/pglite-socket';
import { SessionQueue } from './session-queue.js';

export interface EmbeddedWorkerData {
  readonly databaseDir: string;
  readonly socketPath: string;
  readonly holdMsMax: number;
  readonly connectionsMax: number;
}

const { databaseDir, socketPath, holdMsMax, connectionsMax } = workerData as EmbeddedWorkerData;
const parent = parentPort!;

const database = await PGlite.create({ dataDir: databaseDir });
const sockets = new Map<number, Socket>();
const queue = new SessionQueue(database, {
  holdMsMax,
  cutOff: (session) => sockets.get(session)?.destroy(),
  onFailure: (error) => {
    parent.postMessage({ failed: `PGlite failed: ${error.message}` });
    // Crash-only: what is in its memory can't be trusted any more, what is in its files can.
    process.exit(1);
  },
});

const server = createServer((socket) => {
  if (sockets.size >= connectionsMax) {
    socket.destroy();
    return;
  }
  const handler = new PGLiteSocketHandler({
    // The handler's type asks for pglite-socket's own class; it calls exactly the four methods that ours has.
    queryQueue: queue as unknown as PGLiteSocketHandlerOptions['queryQueue'],
    closeOnDetach: true,
  });
  sockets.set(handler.handlerId, socket);
  socket.once('close', () => sockets.delete(handler.handlerId));
  void handler.attach(socket);
});
server.listen(socketPath, () => parent.postMessage({ ready: true }));

parent.once('message', () => {
  for (const socket of sockets.values()) socket.destroy();
  server.close(() => {
    database.close().then(
      () => process.exit(0),
      (error: Error) => {
        parent.postMessage({ failed: `PGlite did not close: ${error.message}` });
        process.exit(1);
      },
    );
  });
});
