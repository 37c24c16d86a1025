/**
 * Faults that are put into the built modules, one at a time, to see the cluster's properties fail: each names the line
 * that it takes out, and the invariant (DESIGN.md, section 10) that rests on that line.
 */
import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export interface Mutant {
  readonly fault: string;
  readonly invariant: number;
  /** Each must be found exactly once. `file`: within `packages`. */
  readonly changes: readonly { readonly file: string; readonly from: string; readonly to: string }[];
}

export const MUTANTS: readonly Mutant[] = [
  {
    fault: 'a fold leaves out the last row of its range, and moves the watermark over it all the same',
    invariant: 1,
    changes: [
      {
        file: 'node/dist/fold/fold-source.js',
        from: 'for (let place = from; place < to; place++) {',
        to: 'for (let place = from; place < to - 1; place++) {',
      },
      {
        file: 'node/dist/fold/fold-source.js',
        from: 'length: to - from, ...',
        to: 'length: Math.max(0, to - from - 1), ...',
      },
    ],
  },
  {
    fault: 'answers go out before the record is acknowledged',
    invariant: 1,
    changes: [
      {
        file: 'node/dist/shard/group-commit.js',
        from: 'answers.push({ respond: waiting.respond, reply });',
        to: 'waiting.respond(writeSubmitReply(reply));',
      },
    ],
  },
  {
    fault: 'what was taken over is not recognised',
    invariant: 2,
    changes: [
      {
        file: 'core/dist/shard/decide.js',
        from: 'const first = firstAdopted(taken, account, hash, bytes, idFrom, idTo);',
        to: 'const first = null;',
      },
    ],
  },
  {
    fault: 'the copy leaves out the last row of each chunk, and the certificates are not compared',
    invariant: 2,
    changes: [
      {
        file: 'node/dist/shard/migration-source.js',
        from: '...columns(rows),',
        to: '...columns(rows.slice(0, -1)),',
      },
      {
        file: 'core/dist/supervisor/migration-step.js',
        from: 'return a.count === b.count && a.digest === b.digest && a.horizon === b.horizon;',
        to: 'return true;',
      },
    ],
  },
  {
    fault: 'the target does not take over the horizon',
    invariant: 2,
    changes: [
      {
        file: 'core/dist/shard/evolve.js',
        from: 'const raised = Math.max(state.small.horizon, horizon);',
        to: 'const raised = state.small.horizon;',
      },
    ],
  },
  {
    fault: 'the source goes on accepting after its seal',
    invariant: 3,
    changes: [{ file: 'core/dist/shard/decide.js', from: ' && !isSealed(state, slot);', to: ';' }],
  },
  {
    fault: 'the target accepts before the commit',
    invariant: 3,
    changes: [
      {
        file: 'core/dist/topology/owners.js',
        from: 'owned.fill(1, range.from, range.to);\n    }\n    return owned;',
        to:
          'owned.fill(1, range.from, range.to);\n' +
          "        for (const move of topology.migrations) if (move.target === shard && move.state === 'copying')\n" +
          '            for (const span of move.slots) owned.fill(1, span.from, span.to);\n' +
          '    }\n    return owned;',
      },
    ],
  },
  {
    fault: 'a migration leaves the topology when one of the two logs holds its outcome',
    invariant: 3,
    changes: [
      {
        file: 'core/dist/supervisor/migration-step.js',
        from: 'sourceSettled && targetSettled',
        to: 'sourceSettled || targetSettled',
      },
    ],
  },
  {
    fault: 'a draining entry goes before its log is folded up to the seal',
    invariant: 4,
    changes: [
      {
        file: 'core/dist/topology/migration-changes.js',
        from: 'entry.shard !== shard || entry.sealedSequence > watermark',
        to: 'entry.shard !== shard',
      },
    ],
  },
  {
    fault: 'the target counts and folds what it took over, too',
    invariant: 4,
    changes: [
      {
        file: 'core/dist/shard/evolve.js',
        from: '        adoption.add(',
        to:
          '        const copied = { bytes: batch.bytes, at: idAt, to: idTo };\n' +
          '        state.known.add(state.known.internAccount(batch.accounts[batchAccount(batch, row)]), ' +
          'state.known.hash(copied.bytes, copied.at, copied.to), copied.bytes, copied.at, copied.to, ' +
          'Number(BigInt.asUintN(32, batchAmount(batch, row))), Number(BigInt.asIntN(32, batchAmount(batch, row) >> 32n)), ' +
          'batchTimestamp(batch, row), sequence);\n' +
          '        adoption.add(',
      },
    ],
  },
  {
    fault: 'a reader takes the topology that it has, and a former owner answers it',
    invariant: 4,
    changes: [
      {
        file: 'node/dist/shard/answer-questions.js',
        from: 'if (epoch > question.epoch)\n        return false;',
        to: '',
      },
      {
        file: 'node/dist/shard/answer-questions.js',
        from: 'return owned[slot] === 1 && !isSealed(ports.state, slot);',
        to: 'return true;',
      },
      { file: 'node/dist/router/reads.js', from: 'return await topology.refresh();', to: 'return topology.current;' },
    ],
  },
  {
    fault: 'a replay begins after records that hold what was taken over',
    invariant: 5,
    changes: [{ file: 'core/dist/shard/evolve.js', from: 'firstKnown = Math.min(firstKnown, first);', to: ';' }],
  },
  {
    fault: 'a shard takes up an older topology than it has',
    invariant: 6,
    changes: [
      {
        file: 'node/dist/shard/topology-view.js',
        from: 'if (topology.epoch <= this.topology.epoch)\n            return;',
        to: '',
      },
    ],
  },
  {
    fault: 'a late seal, after the migration has ended',
    invariant: 6,
    changes: [
      {
        file: 'core/dist/shard/decide-adoption.js',
        from: "if (migration?.state !== 'copying' || migration.source !== state.shard)\n        return [];",
        to: 'if (!migration || migration.source !== state.shard) return [];',
      },
      {
        file: 'core/dist/shard/decide-adoption.js',
        from: 'if (settled.includes(id) || seals.some((seal) => seal.migration === id))\n        return [];',
        to: '',
      },
      {
        file: 'node/dist/shard/migrations.js',
        from: "if (migration?.state !== 'copying' || migration.source !== this.state.shard || this.isSettled(id))",
        to: 'if (!migration || migration.source !== this.state.shard)',
      },
    ],
  },
  {
    fault: 'a source that has read of the abort stays sealed',
    invariant: 7,
    changes: [
      {
        file: 'core/dist/shard/evolve.js',
        from: 'seals: small.seals.filter((seal) => seal.migration !== migration),',
        to: 'seals: small.seals,',
      },
    ],
  },
  {
    fault: 'a quiet shard does not look whether its data table was set back',
    invariant: 7,
    changes: [{ file: 'node/dist/shard/shard.js', from: 'this.folds.lookAgain();', to: ';' }],
  },
  {
    fault: 'the writers of refolding do not wait for each other',
    invariant: 7,
    changes: [
      {
        file: 'node/dist/shard/refolding-mark.js',
        from: 'this.writing ??= this.write()',
        to: 'this.writing = this.write()',
      },
    ],
  },
  {
    fault: 'a log that is shorter than a witness says is opened',
    invariant: 8,
    changes: [
      { file: 'core/dist/shard/chain.js', from: 'if (witness.sequence > last.sequence) {', to: 'if (false) {' },
    ],
  },
];

const REPOSITORY = fileURLToPath(new URL('../../..', import.meta.url));
const FOLDER = join(REPOSITORY, 'node_modules', '.spill-mutants');

/** A copy of the built packages with the fault in it: the folder for `loadLibrary`. Packages import each other there. */
export async function makeMutant(mutant: Mutant, name: string): Promise<string> {
  const root = join(FOLDER, name);
  const folder = join(root, 'node_modules', '@spill');
  await rm(root, { recursive: true, force: true });
  for (const of of ['core', 'node']) {
    await mkdir(join(folder, of), { recursive: true });
    await cp(join(REPOSITORY, 'packages', of, 'package.json'), join(folder, of, 'package.json'));
    await cp(join(REPOSITORY, 'packages', of, 'dist'), join(folder, of, 'dist'), { recursive: true });
  }
  for (const { file, from, to } of mutant.changes) {
    const path = join(folder, file);
    const parts = (await readFile(path, 'utf8')).split(from);
    if (parts.length !== 2) throw new Error(`${file} has ${parts.length - 1} times: ${from}`);
    await writeFile(path, parts.join(to));
  }
  return folder;
}

export async function removeMutants(): Promise<void> {
  await rm(FOLDER, { recursive: true, force: true });
}
