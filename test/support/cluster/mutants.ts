/**
 * Faults that are put into the built modules, one at a time, to see the cluster's properties fail: each names the line
 * that it takes out, and the invariant (ARCHITECTURE.md) that rests on that line.
 */
import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Invariant } from './judge.js';

export interface Mutant {
  readonly fault: string;
  readonly invariant: Invariant;
  /** Of the first run that the test tries: one near which the fault is caught. */
  readonly seed: number;
  /** Each must be found exactly once. `file`: within `packages`. */
  readonly changes: readonly { readonly file: string; readonly from: string; readonly to: string }[];
}

export const MUTANTS: readonly Mutant[] = [
  {
    fault: 'a fold leaves out the last row of its range, and moves the watermark over it all the same',
    invariant: 1,
    seed: 29,
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
    seed: 1,
    changes: [
      {
        file: 'node/dist/shard/group-commit.js',
        from: 'open.answers.push({ respond: waiting.respond, reply });',
        to: 'waiting.respond(writeSubmitReply(reply));',
      },
    ],
  },
  {
    fault: 'what was taken over is not recognised',
    invariant: 2,
    seed: 1,
    changes: [
      {
        file: 'core/dist/shard/decide.js',
        from: 'const adopted = firstAdopted(adoptions[place], batch, keys, row);',
        to: 'const adopted = null;',
      },
    ],
  },
  {
    fault: 'the copy leaves out the first row of each chunk, and the certificates are not compared',
    invariant: 2,
    seed: 1,
    changes: [
      {
        file: 'node/dist/shard/migration-source.js',
        from: '(row) => rows.add(row));',
        to: '(row) => (left-- > 0 ? undefined : rows.add(row)));',
      },
      {
        file: 'node/dist/shard/migration-source.js',
        from: 'const rows = new ChunkRows();',
        to: 'const rows = new ChunkRows();\n        let left = 1;',
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
    seed: 13,
    changes: [
      {
        file: 'core/dist/shard/evolve.js',
        from: 'const raised = Math.max(state.small.horizon, horizon);',
        to: 'const raised = state.small.horizon;',
      },
    ],
  },
  {
    fault: 'the source forgets while it is copied from, and seals all the same',
    invariant: 2,
    seed: 4,
    changes: [
      { file: 'node/dist/shard/shard.js', from: 'if (this.migrations.holdHorizon)', to: 'if (false)' },
      {
        file: 'node/dist/shard/migration-source.js',
        from: 'if (this.state.small.forgottenBelow !== this.forgottenBelow)',
        to: 'if (false)',
      },
    ],
  },
  {
    fault: 'the source goes on accepting after its seal',
    invariant: 3,
    seed: 33,
    changes: [{ file: 'core/dist/shard/decide.js', from: ' && !isSealed(state, slot))', to: ')' }],
  },
  {
    fault: 'the target accepts before the commit',
    invariant: 3,
    seed: 26,
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
    seed: 52,
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
    seed: 37,
    changes: [
      {
        file: 'core/dist/topology/migration-changes.js',
        from: 'entry.shard === shard && entry.sealedSequence <= watermark',
        to: 'entry.shard === shard',
      },
      // Or its watermark would show it to every reader.
      { file: 'core/dist/topology/owners.js', from: 'return drainedTo === 0 ||', to: 'return true ||' },
    ],
  },
  {
    fault: 'nobody asks a former owner, although the data table was set back to before it was drained',
    invariant: 4,
    seed: 12,
    changes: [{ file: 'core/dist/topology/owners.js', from: 'return drainedTo === 0 ||', to: 'return true ||' }],
  },
  {
    fault: 'the target counts and folds what it took over, too',
    invariant: 4,
    seed: 2,
    changes: [
      {
        file: 'core/dist/shard/evolve.js',
        from: 'adoption.adopt(event, sequence);',
        to:
          'adoption.adopt(event, sequence);\n' +
          "store(state, { type: 'stored', batch: event.batch, accepted: null, count: event.batch.rows }, sequence);",
      },
    ],
  },
  {
    fault: 'a reader takes the topology that it has, and a former owner answers it',
    invariant: 4,
    seed: 107,
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
      { file: 'node/dist/router/reads.js', from: 'topology.refresh()', to: 'Promise.resolve(topology.current)' },
    ],
  },
  {
    fault: 'a replay begins after records that hold what was taken over',
    invariant: 5,
    seed: 3,
    changes: [{ file: 'core/dist/shard/evolve.js', from: 'firstKnown = Math.min(firstKnown, first);', to: ';' }],
  },
  {
    fault: 'a shard takes up an older topology than it has',
    invariant: 6,
    seed: 1,
    changes: [
      {
        file: 'node/dist/shard/topology-view.js',
        from: 'if (topology.epoch <= this.topology.epoch)\n            return;',
        to: '',
      },
    ],
  },
  {
    fault: 'a change of the topology is written over whatever was written meanwhile',
    invariant: 6,
    seed: 13,
    changes: [
      {
        file: 'node/dist/nats/topology-store.js',
        from: 'return await this.update(next, stored.revision);',
        to: 'return await this.update(next, (await this.require()).revision);',
      },
    ],
  },
  {
    fault: 'a process opens its log after its successor has',
    invariant: 6,
    seed: 22,
    changes: [
      {
        file: 'node/dist/shard/open-shard.js',
        from: 'if (entry.assignment > open.assignment) {',
        to: 'if (false) {',
      },
      { file: 'core/dist/shard/chain.js', from: 'if (opening.topologyAssignment > assignment) {', to: 'if (false) {' },
      { file: 'core/dist/shard/chain.js', from: 'if (last.assignment >= assignment) {', to: 'if (false) {' },
    ],
  },
  {
    fault: 'a shard speaks of a seal or an outcome that is not acknowledged yet',
    invariant: 3,
    seed: 958,
    changes: [
      {
        file: 'node/dist/shard/answer-questions.js',
        from: "return onceAcknowledged({ answer: 'migration', ...ports.migrations.report(question.migration) }, ports);",
        to: "return { answer: 'migration', ...ports.migrations.report(question.migration) };",
      },
    ],
  },
  {
    fault: 'a late seal, after the migration has ended',
    invariant: 6,
    seed: 6,
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
    invariant: 3,
    seed: 1,
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
    seed: 156,
    changes: [{ file: 'node/dist/shard/shard.js', from: 'this.folds.lookAgain();', to: ';' }],
  },
  {
    fault: 'a drained shard is not asked to fold to its seal',
    invariant: 7,
    seed: 9,
    changes: [
      {
        file: 'node/dist/supervisor/topology-keeper.js',
        from: "// Nothing else may come there that would make a fold due.\n        await this.options.ask(topology, shard, { ask: 'fold' }, ANSWER_MS);",
        to: '',
      },
    ],
  },
  {
    fault: 'nobody tries again what is set aside',
    invariant: 7,
    seed: 24,
    changes: [
      {
        file: 'node/dist/shard/shard.js',
        from: "(account) => state.pool === 'credit' && ",
        to: '(account) => false && ',
      },
    ],
  },
  {
    fault: 'a retired shard whose data table was set back is not folded again',
    invariant: 7,
    seed: 13,
    changes: [
      {
        file: 'node/dist/supervisor/topology-keeper.js',
        from: 'await this.change((newest) => markRefolding(newest, shard.id, true));',
        to: '',
      },
    ],
  },
  {
    fault: 'a log that is shorter than a witness says is opened',
    invariant: 8,
    seed: 1,
    changes: [
      { file: 'core/dist/shard/chain.js', from: 'if (witness.sequence > last.sequence) {', to: 'if (false) {' },
    ],
  },
];

const REPOSITORY = fileURLToPath(new URL('../../..', import.meta.url));
const FOLDER = join(REPOSITORY, 'node_modules', '.spill-mutants');

/** A copy of the built packages with the fault in it: the folder for `loadLibrary`. Packages import each other there. */
export async function makeMutant(mutant: Mutant): Promise<string> {
  const root = join(FOLDER, `${MUTANTS.indexOf(mutant)}`);
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
