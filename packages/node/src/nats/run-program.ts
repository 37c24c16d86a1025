import { execFile } from 'node:child_process';

export interface RunProgramOptions {
  readonly timeoutMs: number;
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
}

/**
 * Runs a program to its end and returns what it wrote to its standard output. Rejects where it can't be started, ends
 * with another code than 0 or takes longer than `timeoutMs`; the message holds the last line that it complained with.
 */
export function runProgram(file: string, args: readonly string[], options: RunProgramOptions): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(
      file,
      args,
      {
        timeout: options.timeoutMs,
        maxBuffer: 16 * 1024 * 1024,
        encoding: 'utf8',
        ...(options.env && { env: options.env }),
        ...(options.cwd && { cwd: options.cwd }),
      },
      (error, stdout, stderr) => {
        if (!error) return resolve(stdout);
        if (error.code === 'ENOENT') return reject(new Error(`${file} is not installed`, { cause: error }));
        const complaint = stderr.trim().split('\n').at(-1)?.trim();
        const reason = error.killed ? `took longer than ${options.timeoutMs / 1000} s` : complaint || error.message;
        reject(new Error(`${[file, ...args].join(' ')}: ${reason}`, { cause: error }));
      },
    );
  });
}
