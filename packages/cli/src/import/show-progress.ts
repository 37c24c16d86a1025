import { SingleBar } from 'cli-progress';
import { showCount } from '../render/numbers.js';
import type { ImportReport } from './import-rows.js';

export interface Progress {
  update(report: ImportReport): void;
  stop(): void;
}

const LINE_EVERY_MS = 1_000;

/** A bar on a terminal, else a line a second; on standard error either way. */
export function showProgress(name: string, total: number, stream: NodeJS.WriteStream): Progress {
  return stream.isTTY ? barProgress(name, total, stream) : lineProgress(name, total, stream);
}

function barProgress(name: string, total: number, stream: NodeJS.WriteStream): Progress {
  const bar = new SingleBar({
    stream,
    format: '{name} {bar} {percentage} % | {value}/{total} | {duplicate} duplicate, {rejected} rejected | {eta} s left',
    barCompleteChar: '█',
    barIncompleteChar: '░',
    barsize: 30,
    hideCursor: true,
  });
  bar.start(total, 0, { name, duplicate: 0, rejected: 0 });
  return {
    update: ({ rows, duplicate, rejected }) => bar.update(rows, { duplicate, rejected }),
    stop: () => bar.stop(),
  };
}

function lineProgress(name: string, total: number, stream: NodeJS.WriteStream): Progress {
  let last = performance.now();
  return {
    update: ({ rows, duplicate, rejected }) => {
      const now = performance.now();
      if (now - last < LINE_EVERY_MS && rows < total) return;
      last = now;
      stream.write(
        `${name}: ${showCount(rows)} of ${showCount(total)} rows, ${duplicate} duplicate, ${rejected} rejected\n`,
      );
    },
    stop: () => {},
  };
}
