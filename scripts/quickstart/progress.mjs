import cliProgress from 'cli-progress';

/**
 * Progress from 0 to `total`: a bar on a terminal, else a line at every quarter.
 *
 * @returns {{ update: (done: number) => void, stop: () => void }}
 */
export function startProgress(total, text) {
  if (!process.stdout.isTTY) return progressLines(total, text);
  const bar = new cliProgress.SingleBar({
    format: `  ${text} {bar} {value} of {total}`,
    barCompleteChar: '█',
    barIncompleteChar: '░',
    barsize: 30,
    hideCursor: true,
    stream: process.stdout,
  });
  bar.start(total, 0);
  return { update: (done) => bar.update(done), stop: () => bar.stop() };
}

function progressLines(total, text) {
  let quarter = 0;
  return {
    update: (done) => {
      const now = Math.floor((4 * done) / total);
      if (now > quarter) console.log(`  ${text} ${done.toLocaleString('en')} of ${total.toLocaleString('en')}`);
      quarter = now;
    },
    stop: () => {},
  };
}
