// What is on the disk before what: the system calls of each step, by strace. A power cut cannot be tried here; their order can.
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { temporaryDirectory } from '../helpers/mount.js';
import { must, run } from '../helpers/run.js';

const ONCE = fileURLToPath(new URL('./once.js', import.meta.url));
const CALLS = '?rename,?renameat,renameat2,?unlink,unlinkat,fsync,fdatasync,write,writev,pwrite64,pwritev,ftruncate';

/** Lines such as `fsync data/ID.tmp`, in the order in which they began; pieces of names that are chance left out. */
async function callsOf(dir: string, step: string): Promise<string[]> {
  const trace = `${dir}.trace`;
  await must(run('strace', ['-f', '-y', '-s', '300', '-e', `trace=${CALLS}`, '-o', trace, process.execPath, ONCE, dir, step]));
  const calls: string[] = [];
  for (const line of (await readFile(trace, 'utf8')).split('\n')) {
    const [, name = ''] = /^\d+ +(\w+)\(/.exec(line) ?? [];
    const paths = line.split(`${dir}/`).slice(1);
    const shown = paths.map((rest) => /^[\w./]+/.exec(rest)?.[0].replace(/\d{1,20}/, 'ID') ?? '');
    if (name !== '' && shown.length > 0) calls.push(`${name.replace(/at2?$|64$|v$/, '').replace(/^p/, '')} ${shown.join(' ')}`);
    else if (name === 'fsync' && line.includes(`<${dir}>`)) calls.push('fsync .');
  }
  return calls;
}

const UPLOADED = [
  'write data/ID.tmp',
  'fsync data/ID.tmp',
  'rename data/ID.tmp data/ID',
  'fsync data',
  'write records',
  'fdatasync records',
];

const traced = await run('strace', ['-o', '/dev/null', 'true']).catch(() => ({ code: null }));
const skip = traced.code === 0 ? false : 'there is no strace, or it may not trace';

t.test('the order of what goes onto the disk', { skip }, async (t) => {
  const dir = join(await temporaryDirectory(t), 'store');
  await mkdir(dir);
  const created = await callsOf(dir, 'create');
  t.same(created, [
    'write records.new',
    'fsync records.new',
    'rename records.new records',
    'fsync .',
    'fsync .',
    'fsync .',
    ...UPLOADED,
  ]);
  t.same(await callsOf(dir, 'update'), [...UPLOADED, 'unlink data/ID'], 'the old content goes when the new one is recorded');
  t.same(await callsOf(dir, 'fail'), ['unlink data/ID.tmp', 'unlink data/ID']);
  t.same(await callsOf(dir, 'remove'), ['write records', 'fdatasync records', 'unlink data/ID']);
});
