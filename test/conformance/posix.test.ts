// The conformance table on a native directory and on mounts in both I/O modes, and in a spool: every result must be the same.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { whyNotWith } from '../helpers/limits.js';
import { mount, temporaryDirectory } from '../helpers/mount.js';
import { run } from '../helpers/run.js';
import { CASES, type Case } from './cases.js';
import { EXCEPTIONS } from './exceptions.js';
import { compileInterpreter, type Observed, runCases, splitStep } from './interpreter.js';

async function whyNot(): Promise<string | false> {
  if (process.getuid?.() !== 0) return 'cases act as several users, so they need root';
  const compiler = await run('cc', ['--version']).catch(() => null);
  return compiler?.code === 0 ? false : 'there is no C compiler (cc)';
}

/** What the table says of each step. */
function wanted(steps: readonly string[]): string[] {
  return steps.map(splitStep).map(({ errno, step }) => `${errno ?? 'done'}: ${step}`);
}

/** The same of what was observed. */
function found(observed: readonly Observed[] | undefined): string[] {
  return (observed ?? []).map(({ step, result }) => {
    const outcome = 'error' in result ? result.error : 'wrong' in result ? `wrong (${result.wrong})` : 'done';
    return `${outcome}: ${step}`;
  });
}

const skip = await whyNot();
t.test('posix', { skip }, async (t) => {
  const tools = await temporaryDirectory(t);
  const program = await compileInterpreter(tools);
  const plain = join(tools, 'native');
  await mkdir(plain);
  const native = await runCases(program, plain, CASES);

  t.test('the backing filesystem does what the table says', async (t) => {
    for (const [i, { name, steps }] of CASES.entries()) t.same(found(native[i]), wanted(steps), name);
  });

  for (const [option, io, directory] of [
    ['--passthrough', 'passthrough', ''],
    ['--passthrough', 'passthrough', '.vreserve/spool/s/new'],
    ['--no-passthrough', 'cached', ''],
    ['--engine=fuse-native', 'cached', ''],
  ] as const) {
    t.test(`mount ${option} ${directory}`, async (t) => {
      const m = await mount(t, { args: [option, '--suid', '--dev', '--spool-grant', directory === '' ? '0' : '90%'] });
      if (m.ready.io !== io) t.comment(`no ${io} here: ${m.ready.ioReason}`);
      const at = join(m.mnt, directory);
      await mkdir(at, { recursive: true });
      const through = await runCases(program, at, [...CASES, ...EXCEPTIONS]);
      const skips = ({ needs }: Case) => ({ skip: whyNotWith(m.ready.engine, needs) });
      for (const [i, each] of CASES.entries()) t.same(through[i], native[i], each.name, skips(each));
      for (const [i, each] of EXCEPTIONS.entries()) {
        t.same(found(through[CASES.length + i]), wanted(each.steps), `exception: ${each.name}`, skips(each));
      }
    });
  }
});
