// `vreserve store import` into a mount: by its daemon, charged as any blob, for administrators, and over the ends of who does it.
import { mkdir, open, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { NOBODY, Place, soon, whyNotRoot } from '../../helpers/columns.js';
import { startSteps } from '../../helpers/fsop.js';
import { until } from '../../helpers/http.js';
import { gone, type Mounted, mount, temporaryDirectory } from '../../helpers/mount.js';
import { type Outcome, run } from '../../helpers/run.js';
import { payloadFiles } from '../../store/blobs.js';
import { servicePid } from '../../store/mount-target.js';
import { makeOriginal, WHOLE } from './original.js';

const USER = { uid: NOBODY, gid: NOBODY };
const ARGS = ['--capacity', '200MB', '--margin', '0'];
const BIG_BYTES = 3_000_000;

const storeOf = ({ mnt }: Mounted) => join(mnt, '.vreserve/store');
const blobsOf = ({ data }: Mounted) => join(data, '.vreserve/blobs');

/** A data directory with so many blobs of 3 MB, and a small one. */
async function original(t: Test, count: number): Promise<string> {
  const dir = join(await temporaryDirectory(t), 'data');
  await mkdir(dir);
  await makeOriginal(dir, { id: 1, location: 'small', data: '<html>', log: WHOLE });
  await makeOriginal(dir, { id: 2, location: 'half', data: 'hal', log: WHOLE.slice(0, 2) });
  for (let i = 0; i < count; i++) {
    await makeOriginal(dir, { id: 100 + i, location: `big ${i}`, data: Buffer.alloc(BIG_BYTES, `${i} `), log: WHOLE });
  }
  return dir;
}

const importInto = (m: Mounted, dir: string, ...more: string[]): Promise<Outcome> =>
  m.run(['store', 'import', dir, '--into', m.mnt, ...more], { timeoutMs: 120_000 });

async function imported(t: Test): Promise<void> {
  const dir = await original(t, 4);
  const m = await mount(t, { on: 'tmpfs', args: [...ARGS, '--gc-interval', '1h'], store: true });
  const { code, stdout, stderr } = await importInto(m, dir);
  t.same([code, stdout], [0, '5 imported, 12 MB; 1 skipped\n'], stderr);
  t.match(stderr, /2: it is Pending: Starting Data WR/);
  t.same(await readdir(storeOf(m)), ['big 0', 'big 1', 'big 2', 'big 3', 'small']);
  t.equal(await readFile(join(storeOf(m), 'small'), 'utf8'), '<html>');
  t.ok((await readFile(join(storeOf(m), 'big 3'))).equals(Buffer.alloc(BIG_BYTES, '3 ')));
  t.equal(
    (await m.shell('stat -c %Y .vreserve/store/small')).stdout,
    `${Date.parse('2017-02-20T10:00:02Z') / 1000}\n`,
    'its time',
  );
  t.match(await readFile(join(storeOf(m), 'small.log'), 'utf8'), /^2017-.* - OK - Blob Data WR Complete!\n/, 'its log');

  // Once more, it takes what is missing, and leaves what has become another.
  await m.shell('cd .vreserve/store; echo mine > small; rm "big 1"');
  const again = JSON.parse((await importInto(m, dir, '--json')).stdout) as object;
  t.match(again, { ok: true, imported: 1, importedBytes: BIG_BYTES, unchanged: 3 });
  t.match(JSON.stringify(again), /"name":"small","reason":"the store has another blob of that name"/);
  t.equal(await readFile(join(storeOf(m), 'small'), 'utf8'), 'mine\n');
  t.match(JSON.parse((await importInto(m, dir, '--json')).stdout), { imported: 0, unchanged: 4 });

  // By control, with how far it is.
  await m.shell('rm .vreserve/store/*');
  const control = await open(join(m.mnt, '.vreserve/control'), 'r+');
  await control.write(`${JSON.stringify({ cmd: 'import', dir, progress: true })}\n`);
  const replies = (await control.readFile('utf8')).trim().split('\n');
  await control.close();
  const told = replies.map((line) => JSON.parse(line) as { ok?: boolean; progress?: { doneBytes: number; allBytes: number } });
  const steps = told.flatMap(({ progress }) => (progress === undefined ? [] : [progress]));
  t.ok(steps.length > 0, `${replies.length} replies`);
  t.ok(steps.every(({ doneBytes, allBytes }) => allBytes === 4 * BIG_BYTES + 6 && doneBytes > 0 && doneBytes <= allBytes));
  t.match(told.at(-1), { ok: true, imported: 5 });
  t.match((await m.shell("echo 'import /' > .vreserve/control")).stderr, /Invalid argument/, 'no such directory of the original');

  const p = new Place(m, await startSteps(t, '/'));
  await p.usageEqualsCount(t);
  t.match(await m.run(['check', m.mnt]), { code: 0 });
  await m.umount();
}

async function refused(t: Test): Promise<void> {
  const dir = await original(t, 1);
  await run('chmod', ['-R', 'a+rX', join(dir, '..')]);
  const m = await mount(t, {
    on: 'tmpfs',
    args: [...ARGS, '--store-grant', '1MB', '--store-mode', '777', '--reserve-by', 'writers'],
  });
  const says = async (what: string, outcome: Promise<Outcome>, said: RegExp) => {
    const { code, stderr } = await outcome;
    t.equal(code, 1, what);
    t.match(stderr, said, what);
    t.same(await readdir(storeOf(m)), [], what);
  };
  await says(
    'a user',
    run(
      process.execPath,
      [
        '-e',
        `
    const fs = require('node:fs');
    const fd = fs.openSync(process.argv[1], 'r+');
    try { fs.writeSync(fd, JSON.stringify({ cmd: 'import', dir: process.argv[2] }) + '\\n'); }
    catch (error) { console.error(error.code); process.exitCode = 1; }
  `,
        join(m.mnt, '.vreserve/control'),
        dir,
      ],
      USER,
    ),
    /^EACCES$/m,
  );
  await m.shell('mkdir job');
  await m.run(['reserve', join(m.mnt, 'job'), '1MB']);
  await says(
    'through a lot',
    m.shell(`echo '{"cmd":"import","dir":"${dir}"}' > job/.vreserve/control`),
    /Permission denied|not permitted/,
  );
  await says('no directory', importInto(m, join(dir, 'none')), /none/);
  await says('none of the original', importInto(m, '/usr'), /is not a data directory of go-storage-server/);
  await says('a file', importInto(m, join(dir, '1/data.raw')), /data\.raw/);
  await says(
    'a path that is not absolute',
    m.shell(`cd '${dir}/..'; echo '{"cmd":"import","dir":"data"}' > '${m.mnt}/.vreserve/control'`),
    /Invalid argument/,
  );

  // What fits is taken, and the rest not: the grant is full in the middle.
  const full = await importInto(m, dir);
  t.match(full, { code: 1, stderr: /the grant has no room for blob big 0/ });
  t.same(await readdir(storeOf(m)), ['small']);
  t.equal((await payloadFiles(blobsOf(m))).length, 1, 'nothing of it is left');
  await m.shell('rm .vreserve/store/small');

  await m.umount();
  await m.remount([...ARGS, '--store-grant', '1MB', '--read-only']);
  await says('read-only', importInto(m, dir), /EROFS|read-only/);
  await m.umount();
  await rm(blobsOf(m), { recursive: true });
  await m.remount([...ARGS, '--store-grant', '0']);
  t.match(await importInto(m, dir), { code: 1, stderr: /this mount serves no store/ });
  t.match(await importInto(m, dir, '--json'), { code: 1, stdout: /"code":"NO_STORE"/ });
  await m.umount();
}

async function ends(t: Test): Promise<void> {
  const dir = await original(t, 30);
  const m = await mount(t, { on: 'tmpfs', args: [...ARGS, '--store-grant', '150MB', '--gc-interval', '1h'] });
  await readdir(storeOf(m));
  const start = async () => {
    const outcome = importInto(m, dir);
    const files = await soon(
      () => payloadFiles(blobsOf(m)),
      (found) => found.length > 1,
    );
    t.ok(files.length > 1 && files.length < 31, `it is at work: ${files.length} files`);
    return { outcome };
  };
  /** Whatever has been taken is whole, and nothing else is there. */
  const isWhole = async (what: string) => {
    const names = await readdir(storeOf(m));
    for (const name of names.filter((name) => name !== 'small')) {
      const [, n = ''] = name.split(' ');
      t.ok((await readFile(join(storeOf(m), name))).equals(Buffer.alloc(BIG_BYTES, `${n} `)), `${what}: ${name}`);
    }
    const files = await soon(
      () => payloadFiles(blobsOf(m)),
      (found) => found.length === names.length,
    );
    t.equal(files.length, names.length, what);
    t.match(await m.run(['check', m.mnt]), { code: 0 }, what);
    return names.length;
  };

  // The process that does it dies.
  const service = await servicePid(m);
  if (service === null) throw new Error('there is no service process');
  const first = await start();
  process.kill(service, 'SIGKILL');
  const died = await first.outcome;
  t.match(died, { code: 1, stderr: /the service process has died/ });
  await until(async () => (await m.shell('ls .vreserve/store')).code === 0, 'the store is served');
  t.ok((await isWhole('died')) < 31);

  await m.shell('rm -f .vreserve/store/*');
  // The daemon is told to end.
  const second = await start();
  const { pid } = m.ready;
  process.kill(pid, 'SIGTERM');
  const ended = await second.outcome;
  t.equal(ended.code, 1, `${ended.stdout}${ended.stderr}`);
  await gone(pid);
  await m.remount();
  t.ok((await isWhole('SIGTERM')) < 31);

  // The daemon is killed.
  await m.shell('rm -f .vreserve/store/*');
  const third = await start();
  await m.kill();
  t.equal((await third.outcome).code, 1);
  await m.remount();
  t.ok((await isWhole('kill')) < 31);
  t.match(JSON.parse((await importInto(m, dir, '--json')).stdout), { ok: true });
  t.equal(await isWhole('done again'), 31, 'done again, it takes what is missing');

  // umount: while it is at a file the mount is busy, and between two of them it may end.
  await m.shell('rm -f .vreserve/store/*');
  const fourth = await start();
  const umount = await m.run(['umount', m.mnt]);
  const { code } = await fourth.outcome;
  if (umount.code === 0) await m.remount();
  else t.match(umount.stderr, /is busy/);
  const taken = await isWhole('umount');
  t.ok(code === 1 || taken === 31, `umount ${umount.code}, import ${code}: ${taken} blobs`);
  await m.umount();
}

t.test('into a mount', { skip: whyNotRoot, timeout: 60_000 }, imported);
t.test('refused', { skip: whyNotRoot, timeout: 60_000 }, refused);
t.test('ended in the middle', { skip: whyNotRoot, timeout: 120_000 }, ends);
