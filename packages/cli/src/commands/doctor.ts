import { existsSync } from 'node:fs';
import { runDoctor } from '@spill/node';
import { Command } from 'commander';
import { usageError } from '../cli-error.js';
import type { Options } from '../cli-settings.js';
import { withCluster, withDatabase, withOutput } from '../command-options.js';
import { EXIT } from '../exit-codes.js';
import { renderFindings } from '../render/findings.js';
import { onRun } from '../run-command.js';

/** Looks at everything that spill needs, and says what to do about what is not well. Changes nothing. */
export function doctorCommand(): Command {
  const command = new Command('doctor')
    .description('Look at server, topology, shards, clocks and database, and say what to do. Changes nothing.')
    .option('--strict', 'warnings count as errors');
  command.option(
    '--nats-monitor <url>',
    'where the NATS server shows its settings (default: that of a node in --data-dir)',
  );
  withDatabase(withCluster(command, 60));
  withOutput(command, 'spill doctor', 'spill doctor --nats-monitor http://10.0.0.5:8222 --json');
  return onRun(command, 60_000, async ({ options, output, nats, settings, dataTable }) => {
    const findings = await runDoctor({
      servers: nats,
      prefix: settings.prefix,
      monitorUrl: monitorOption(options) ?? settings.natsMonitor,
      dataDir: existsSync(settings.dataDir) ? settings.dataDir : null,
      database: { kind: settings.databaseUrl === null ? 'embedded' : 'postgres', table: dataTable() },
      ...settings.tuning,
    });
    output.result({ findings }, () => renderFindings(findings, output.colors));
    const bad = findings.some(({ severity }) => severity === 'error' || (options.strict && severity === 'warn'));
    return bad ? EXIT.found : EXIT.ok;
  });
}

function monitorOption({ natsMonitor }: Options): string | undefined {
  if (natsMonitor === undefined) return undefined;
  const urls = String(natsMonitor);
  if (urls.split(',').every((url) => URL.canParse(url) && /^https?:$/.test(new URL(url).protocol))) return urls;
  throw usageError(`--nats-monitor is ${JSON.stringify(urls)}: must be a URL such as http://10.0.0.5:8222`);
}
