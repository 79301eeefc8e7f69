// The store over mounts: its grant, what is in its way, whom it lets in, and where it is not.
import { appendFile, chmod, mkdir, readdir, readFile, rm, stat, symlink, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Lots } from '../../src/client/lots.js';
import { COLUMNS, NOBODY, Place, soon, whyNotRoot } from '../helpers/columns.js';
import { startSteps } from '../helpers/fsop.js';
import { codeOf } from '../helpers/lot-mount.js';
import { addTheirs } from '../helpers/lots.js';
import { gone, type Mounted, mount } from '../helpers/mount.js';
import { must, run, vreserve } from '../helpers/run.js';
import { payloadFiles, recordsOf } from '../store/blobs.js';
import { servicePid } from '../store/mount-target.js';

const SMALL = ['--capacity', '20MB', '--margin', '0'];
const USER = { uid: NOBODY, gid: NOBODY };

const storeOf = ({ mnt }: Mounted) => join(mnt, '.vreserve/store');
const blobsOf = ({ data }: Mounted) => join(data, '.vreserve/blobs');

interface Lot {
  name: string;
  path: string;
  owner: string;
  usedBytes: number;
  dedicatedBytes: number;
  opportunisticBytes: number;
  objects: number;
}

async function reportOf(m: Mounted) {
  return JSON.parse(await readFile(join(m.mnt, '.vreserve/report.json'), 'utf8')) as {
    lots: Lot[];
    pool: { headroomBytes: number };
  };
}

const lotOf = async (m: Mounted) => (await reportOf(m)).lots.find(({ name }) => name === 'store');

async function journalOf(m: Mounted): Promise<Record<string, unknown>[]> {
  const text = await readFile(join(m.mnt, '.vreserve/ledger'), 'utf8');
  const lines = text.trim().split('\n');
  return lines
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter(({ lot, event }) => lot === 'store' && event !== 'charge');
}

const put = (m: Mounted, name: string, bytes: number) => writeFile(join(storeOf(m), name), Buffer.alloc(bytes, name));

async function again(m: Mounted, ...args: string[]): Promise<void> {
  await m.umount();
  t.match(await m.run(['check', m.data]), { code: 0 });
  await m.remount([...SMALL, ...args]);
}

async function grants(t: Test): Promise<void> {
  const m = await mount(t, { on: 'tmpfs', args: SMALL, store: true });
  const path = storeOf(m);
  t.same(
    m.ready.store,
    { path, grantBytes: 20_000_000, dedicatedBytes: 0, askedBytes: 20_000_000 },
    'by itself what nobody else has',
  );
  t.match(m.ready, { reservations: 0, storeReason: '' });
  t.match(await lotOf(m), {
    usedBytes: 0,
    dedicatedBytes: 0,
    opportunisticBytes: 20_000_000,
    owner: 'root',
    path: '/.vreserve/blobs',
  });
  t.match(await journalOf(m), [{ event: 'grant', path: '/.vreserve/blobs', owner: '0', pid: m.ready.pid }]);
  t.equal((await stat(blobsOf(m))).mode & 0o7777, 0o700);

  // It is made with its first use, and is there at once where it holds something.
  t.equal(await servicePid(m), null);
  t.same(await readdir(blobsOf(m)), []);
  t.ok((await readdir(join(m.mnt, '.vreserve'))).includes('store'));
  t.same(await readdir(path), []);
  const service = await servicePid(m);
  t.not(service, null);
  t.same((await readdir(blobsOf(m))).sort(), ['data', 'lots', 'records']);
  await put(m, 'a', 3_000_000);
  await again(m);
  await gone(service ?? 0);
  t.not(await servicePid(m), null);
  t.match(await reportOf(m), { pool: { headroomBytes: 20_000_000 - ((await lotOf(m))?.usedBytes ?? 0) } });

  t.match(await vreserve(['umount', m.mnt]), { code: 0 });
  t.match(await vreserve(['mount', m.data, m.mnt, ...SMALL, '--store-grant', '5MB']), { stdout: /^ {2}store +5 MB set aside$/m });
  t.match((await journalOf(m)).at(-1), { event: 'extension', bytes: 5_000_000, previousBytes: 0 });
  await again(m, '--store-grant', '50%');
  t.match(m.ready.store, { grantBytes: 10_000_000, dedicatedBytes: 10_000_000, askedBytes: 10_000_000 });
  t.match(await reportOf(m), { pool: { headroomBytes: 10_000_000 } });
  t.match((await m.shell('df -B1 --output=size,used .vreserve/store | tail -1')).stdout.trim(), /^10002432 +30\d\d\d\d\d$/);

  await must(m.run(['reserve', `${m.mnt}/job`, '9MB']));
  await again(m, '--store-grant=15MB');
  t.match(m.ready.store, { grantBytes: 11_000_000, askedBytes: 15_000_000 }, 'or what fits of it');
  await again(m, '--store-grant', '1MB');
  const held = (await lotOf(m))?.usedBytes ?? 0;
  t.match(m.ready.store, { grantBytes: held, askedBytes: 1_000_000 }, 'never less than it holds');
  await t.rejects(put(m, 'b', 1), { code: 'ENOSPC' });

  await new Lots(m.mnt).update({ lot_name: 'store', management_policy_attrs: { dedicated_GB: 0.004 } });
  await put(m, 'b', 900_000);
  await t.rejects(put(m, 'c', 200_000), { code: 'ENOSPC' });
  await again(m);
  t.match(m.ready.store, { grantBytes: 4_000_000, askedBytes: null }, 'later as it is');

  await again(m, '--store-grant', '0');
  t.match(m.ready, { store: { grantBytes: 0, askedBytes: 0 }, storeReason: '' });
  t.same((await readdir(path)).sort(), ['a', 'b'], 'without a grant what is there is served');
  t.equal((await readFile(join(path, 'a'))).length, 3_000_000);
  for (const how of [() => put(m, 'c', 1), () => put(m, 'a', 1), () => appendFile(join(path, 'a'), 'x')])
    await t.rejects(how(), { code: 'ENOSPC' });
  t.equal((await readFile(join(path, 'a'))).length, 3_000_000);
  await again(m);
  t.match(m.ready.store, { grantBytes: 0, askedBytes: null });
  for (const name of ['a', 'b']) await unlink(join(path, name));
  t.same(await readdir(path), []);
  t.same(await payloadFiles(blobsOf(m)), [], 'removing needs no byte');
  await again(m, '--store-grant', '0');
  t.match(m.ready, { store: null, storeReason: '' }, 'and nothing where nothing is there');
  t.equal(await lotOf(m), undefined);
  await t.rejects(stat(path), { code: 'ENOENT' });
  t.notOk((await readdir(join(m.mnt, '.vreserve'))).includes('store'));
  t.match((await journalOf(m)).at(-1), { event: 'release' });
  await again(m);
  t.match(m.ready.store, { grantBytes: 20_000_000, dedicatedBytes: 0 }, 'then it begins anew');
  await put(m, 'a', 5);
  t.equal(await readFile(join(path, 'a'), 'utf8'), 'aaaaa');
  await m.umount();
}

/** Nothing is set aside: blobs take what is there, and what they hold nobody else can have. */
async function headroom(t: Test): Promise<void> {
  const m = await mount(t, { on: 'tmpfs', args: [...SMALL, '--gc-interval', '1h'], store: true });
  const reserves = async (bytes: string) => (await m.run(['reserve', `${m.mnt}/job`, bytes])).code;
  await put(m, 'a', 12_000_000);
  t.equal(await reserves('9MB'), 1, 'what blobs hold nobody else can have');
  t.equal(await reserves('7MB'), 0);
  await t.rejects(put(m, 'b', 2_000_000), { code: 'ENOSPC' });
  await t.rejects(stat(join(storeOf(m), 'b')), { code: 'ENOENT' });
  await put(m, 'b', 900_000);
  await t.rejects(writeFile(join(m.mnt, 'else'), Buffer.alloc(200_000)), { code: 'ENOSPC' });
  await unlink(join(m.mnt, 'else'));
  await mkdir(join(m.mnt, 'job'));
  await writeFile(join(m.mnt, 'job/f'), Buffer.alloc(7_000_000));
  // Removed, and at once for others.
  await unlink(join(storeOf(m), 'a'));
  t.equal(await reserves('18MB'), 0);
  await t.rejects(put(m, 'a', 12_000_000), { code: 'ENOSPC' });
  t.match(await m.run(['check', m.mnt]), { code: 0 });
  t.match(await m.run(['reclaim', m.mnt, '--apply', '--low-watermark', '0%']), { code: 0 });
  t.equal((await readFile(join(storeOf(m), 'b'))).length, 900_000, 'nothing of it is reclaimed');

  // Nor when its lot has reasons.
  const past = { expiration_time: 1, deletion_time: 2 };
  await new Lots(m.mnt).update({ lot_name: 'store', management_policy_attrs: past });
  t.match(await m.run(['reclaim', m.mnt, '--apply', '--low-watermark', '0%']), { code: 0 });
  t.equal((await readFile(join(storeOf(m), 'b'))).length, 900_000);
  await m.umount();
}

async function inTheWay(t: Test): Promise<void> {
  const fresh = await mount(t, { on: 'tmpfs', args: [...SMALL, '--read-only'], store: true });
  t.match(fresh.ready, { store: null, storeReason: '' }, 'nothing is made on a read-only mount');
  t.same(await readdir(fresh.data), []);
  await t.rejects(stat(storeOf(fresh)), { code: 'ENOENT' });
  await fresh.umount();

  const m = await mount(t, {
    on: 'tmpfs',
    args: SMALL,
    store: true,
    fill: async (data) => {
      await mkdir(join(data, '.vreserve'), { mode: 0o700 });
      await writeFile(join(data, '.vreserve/blobs'), 'a file');
      await mkdir(join(data, '.vreserve/store'));
      await writeFile(join(data, '.vreserve/store/theirs'), 'not a blob');
    },
  });
  const none = async (name: string) => {
    t.equal(await lotOf(m), undefined, name);
    await t.rejects(stat(storeOf(m)), { code: 'ENOENT' });
    await t.rejects(writeFile(join(storeOf(m), 'x'), ''), { code: 'ENOENT' });
    t.match((await m.shell('cat .vreserve/health')).stdout, 'ok\n');
  };
  t.match(m.ready, { store: null, storeReason: '/.vreserve/blobs of the backing is not a directory' });
  await none('a file in its place');
  await m.umount();
  await rm(join(m.data, '.vreserve/blobs'));
  await symlink('..', join(m.data, '.vreserve/blobs'));
  t.match(await vreserve(['mount', m.data, m.mnt, ...SMALL]), { stdout: /^ {2}store +off: .* is not a directory$/m });
  await none('a link in its place');
  await m.umount();
  await rm(join(m.data, '.vreserve/blobs'));
  await m.remount([...SMALL, '--store-grant', '0']);
  await addTheirs(m.mnt, 'store');
  await m.umount();
  await m.remount([...SMALL, '--store-grant', '5MB']);
  t.match(m.ready, { store: null, storeReason: "there is another lot of the name 'store'", reservations: 1 });
  t.match(await lotOf(m), { dedicatedBytes: 1_000_000, path: '/theirs' }, 'it is left alone');
  await t.rejects(stat(storeOf(m)), { code: 'ENOENT' });
  await new Lots(m.mnt).remove('store');

  // A directory that is no store's is left as it is, and told.
  await m.umount();
  await mkdir(join(m.data, '.vreserve/blobs'));
  await writeFile(join(m.data, '.vreserve/blobs/foreign'), 'somebody’s');
  await m.remount([...SMALL, '--store-grant', '5MB']);
  t.match(
    await soon(
      () => readFile(join(m.mnt, '.vreserve/health'), 'utf8'),
      (text) => text !== 'ok\n',
    ),
    /the store is not served: .*foreign/,
  );
  await t.rejects(writeFile(join(storeOf(m), 'x'), ''), { code: 'ENXIO' });
  await t.rejects(readdir(storeOf(m)), { code: 'ENXIO' });
  t.same(await readdir(blobsOf(m)), ['foreign']);
  await m.umount();
  await rm(join(m.data, '.vreserve/blobs/foreign'));

  // What a store of another time has left is nobody's name.
  await m.remount([...SMALL, '--store-grant', '5MB']);
  await put(m, 'mine', 5);
  t.same(await readdir(storeOf(m)), ['mine'], 'a directory `store` of the backing is not served');
  t.equal(await readFile(join(m.data, '.vreserve/store/theirs'), 'utf8'), 'not a blob');
  t.match(await m.run(['check', m.mnt]), { code: 0 });
  await m.umount();
}

async function readOnly(t: Test): Promise<void> {
  const m = await mount(t, { on: 'tmpfs', args: [...SMALL, '--store-grant', '1MB', '--store-mode', '777'] });
  await put(m, 'a', 5);
  await must(m.shell('echo half > .vreserve/store/b; rm .vreserve/store/b'));
  await m.umount();
  await appendFile(join(blobsOf(m), 'data/77.tmp'), 'what a crash has left');
  const before = await recordsOf(blobsOf(m));
  await m.remount([...SMALL, '--read-only', '--store-mode', '777']);
  t.match(m.ready, { store: { grantBytes: 1_000_000, askedBytes: null }, readOnly: true });
  const p = new Place(m, await startSteps(t, m.mnt));
  await p.table(t, [
    ['list .vreserve/store', ['a file']],
    ['cat .vreserve/store/a', 'aaaaa'],
    ['getxattr .vreserve/store/a user.vreserve.state', 'OK'],
    ['stat .vreserve/store/a', { type: 'file', mode: '444', nlink: 1, uid: 0, gid: 0, size: 5, rdev: '0:0' }],
    ['open f .vreserve/store/a WRONLY', 'EROFS'],
    ['open f .vreserve/store/a RDWR', 'EROFS'],
    ['open f .vreserve/store/a RDONLY|TRUNC', 'EROFS'],
    ['open f .vreserve/store/b CREAT|WRONLY', 'EROFS'],
    ['unlink .vreserve/store/a', 'EROFS'],
    ['utimens .vreserve/store/a now now', 'EROFS'],
    ['rename .vreserve/store/a .vreserve/store/b', 'EROFS'],
  ]);
  t.match(await p.ops.do('text .vreserve/store/a.log'), /Complete!/);
  t.match(await m.run(['store', 'import', m.data, '--into', m.mnt]), { code: 1, stderr: /EROFS/ });
  await p.ops.end();
  await m.umount();
  t.same(await recordsOf(blobsOf(m)), before, 'nothing was changed');
  t.same(
    (await payloadFiles(blobsOf(m))).filter((path) => path.endsWith('.tmp')),
    ['data/77.tmp'],
  );
  await m.remount([...SMALL]);
  await soon(
    () => payloadFiles(blobsOf(m)),
    (files) => files.length === 1,
  );
  t.equal((await payloadFiles(blobsOf(m))).length, 1, 'what a crash has left goes with the next one');
  t.match(await m.run(['check', m.mnt]), { code: 0 });
  await m.umount();
}

async function modes(t: Test): Promise<void> {
  const m = await mount(t, { on: 'tmpfs', args: SMALL, store: true });
  const user = (script: string) => m.shell(`cd '${m.mnt}/.vreserve'; ${script}`, USER);
  await put(m, 'a', 5);
  for (const script of [
    'ls store',
    'cat store/a',
    'cat store/a.log',
    'echo x > store/b',
    'rm -f store/a',
    'ls blobs',
    'cat blobs/records',
  ]) {
    t.match(await user(script), { stderr: /Permission denied/ }, script);
  }
  await again(m, '--store-mode', '755');
  t.equal((await must(user('stat -c "%a %U" store store/a'))).stdout, '755 root\n644 root\n');
  t.equal((await must(user('ls store; cat store/a; grep -c Complete store/a.log'))).stdout, 'a\naaaaa1\n');
  for (const script of ['echo x > store/b', 'echo x > store/a', 'rm -f store/a', 'touch store/a', 'ls blobs']) {
    t.match(await user(script), { stderr: /Permission denied|denied/ }, script);
  }
  await again(m, '--store-mode', '777');
  await must(user('echo mine > store/b; cp store/b store/c; cat store/b >> store/a; rm store/b; cat store/c'));
  t.equal(
    (await must(user('stat -c "%a %U" store/a store/c'))).stdout,
    '666 root\n666 root\n',
    'they have no owner of their own',
  );
  t.match(await user('chown 65534 store/a'), { stderr: /not permitted/ });
  t.match(await user('ls blobs'), { stderr: /Permission denied/ });
  await m.umount();
  for (const mode of ['1777', '7', 'rwx', '888', '']) {
    t.match(await m.run(['mount', m.data, m.mnt, ...SMALL, '--store-mode', mode]), {
      code: 2,
      stderr: /store-mode must be three octal/,
    });
  }
  t.match(
    await m.run(['mount', m.data, m.mnt, '-o', 'capacity=20M,margin=0,store_grant=5M,store-mode=750,gc-interval=1m']),
    { code: 0 },
    '-o',
  );
  t.equal((await must(m.shell('stat -c %a .vreserve/store'))).stdout, '750\n');
  t.match(await lotOf(m), { dedicatedBytes: 5_000_000 });
  await m.umount();
}

/** Whoever sees only a reservation of the mount sees nothing of the store. */
async function elsewhere(t: Test): Promise<void> {
  const m = await mount(t, { on: 'tmpfs', args: [...SMALL, '--store-grant', '1MB', '--store-mode', '777'] });
  await put(m, 'secret', 9);
  await must(m.run(['reserve', `${m.mnt}/job`, '1MB']));
  await mkdir(join(m.mnt, 'job'));
  await chmod(join(m.mnt, 'job'), 0o777);
  const p = new Place(m, await startSteps(t, m.mnt));
  for (const top of ['job/.vreserve', '.vreserve/blobs/.vreserve']) {
    const denied = 'EPERM';
    t.notMatch(JSON.stringify(await p.ops.do(`list ${top}`)), /store|blobs/, top);
    await p.table(t, [
      [`stat ${top}/store`, 'ENOENT'],
      [`stat ${top}/store/secret`, 'ENOENT'],
      [`stat ${top}/blobs`, 'ENOENT'],
      [`list ${top}/store`, 'ENOENT'],
      [`open f ${top}/store RDONLY`, 'ENOENT'],
      [`open f ${top}/store CREAT|WRONLY`, denied],
      [`open f ${top}/store/x CREAT|WRONLY`, 'ENOENT'],
      [`mkdir ${top}/store`, denied],
      [`unlink ${top}/store`, 'ENOENT'],
    ]);
  }
  t.notMatch(await p.ops.do('text job/.vreserve/report'), /store/);
  t.notMatch(await p.ops.do('text job/.vreserve/ledger'), /store/);
  const inside = await run(
    'bwrap',
    [
      '--bind',
      `${m.mnt}/job`,
      '/data',
      '--ro-bind',
      '/usr',
      '/usr',
      '--symlink',
      'usr/bin',
      '/bin',
      '--symlink',
      'usr/lib',
      '/lib',
      '--symlink',
      'usr/lib64',
      '/lib64',
      '--proc',
      '/proc',
      '--',
      '/bin/sh',
      '-c',
      'ls /data/.vreserve; cat /data/.vreserve/store/secret; echo x > /data/.vreserve/store/y',
    ],
    USER,
  ).catch(() => null);
  if (inside === null || inside.stderr.startsWith('bwrap')) t.comment('there is no bwrap, or not for users');
  else {
    t.notMatch(inside.stdout, /store|blobs/);
    t.match(inside.stderr, /store\/secret: No such file.*\n.*nonexistent|store\/secret: No such file/);
  }

  // Nothing of it can be reserved, and its lot stays what it is.
  const lots = new Lots(m.mnt);
  for (const path of ['/.vreserve/store', '/.vreserve/store/x', '/.vreserve/blobs', '/.vreserve/blobs/data']) {
    t.equal((await p.control(`reserve ${path} 1000`)).errno, 'EINVAL', path);
    t.equal((await p.control(`release ${path}`)).errno, 'EINVAL', path);
  }
  const terms = { lot_name: 'store' };
  const refused: [string, () => Promise<unknown>][] = [
    ['remove', () => lots.remove('store')],
    ['remove, recursive', () => lots.removeRecursive('store')],
    ['another path', () => lots.addTo({ ...terms, paths: [{ path: '/x', recursive: true }] })],
    ['without its path', () => lots.removePaths({ paths: ['/.vreserve/blobs'] })],
  ];
  for (const [name, done] of refused) t.match(await codeOf(done()), /LOT_IS|BAD_PATH/, name);
  await p.table(t, [
    ['setxattr .vreserve/store user.vreserve.reserve 5', 'EPERM'],
    ['rmdir .vreserve/blobs', 'EPERM'],
    ['rename .vreserve/blobs x', 'EPERM'],
    ['rename .vreserve/blobs .vreserve/x', 'EPERM'],
    ['mkdir .vreserve/blobs', 'EEXIST'],
  ]);
  t.notMatch(JSON.stringify(await p.ops.do('list .vreserve')), /blobs/);
  t.equal(await readFile(join(storeOf(m), 'secret'), 'utf8'), 'secretsec');
  await p.ops.end();
  await m.umount();
}

t.test('one mount after another', { skip: whyNotRoot, timeout: 240_000 }, async (t) => {
  await t.test('the grant', { timeout: 120_000 }, grants);
  await t.test('nothing set aside', { timeout: 60_000 }, headroom);
  await t.test('what is in the way', { timeout: 60_000 }, inTheWay);
  await t.test('read-only', { timeout: 60_000 }, readOnly);
  await t.test('modes', { timeout: 60_000 }, modes);
  await t.test('where it is not', { timeout: 60_000 }, elsewhere);
});

t.test('in place', { skip: whyNotRoot }, async (t) => {
  const m = await mount(t, { inPlace: true, args: [...SMALL, '--store-grant', '1MB'] });
  await put(m, 'a', 70);
  await m.kill();
  await m.remount();
  t.equal((await readFile(join(storeOf(m), 'a'))).length, 70);
  t.same(await readdir(storeOf(m)), ['a']);
  t.match(await m.run(['check', m.mnt]), { code: 0 });
  await m.umount();
  t.match(await m.run(['check', m.data]), { code: 0 });
});

t.test('as an ordinary user', { skip: COLUMNS.find(({ uid }) => uid !== undefined)?.skip ?? 'no such column' }, async (t) => {
  const m = await mount(t, { uid: NOBODY, args: SMALL, store: true });
  t.match(m.ready.store, { grantBytes: 20_000_000, dedicatedBytes: 0 });
  await must(
    m.shell('echo hi > .vreserve/store/a; [ $(cat .vreserve/store/a) = hi ]; [ $(stat -c %u .vreserve/store/a) = 65534 ]'),
  );
  t.match(await m.run(['report', m.mnt]), { stdout: /^store .*20 MB/m });
  await m.umount();
  t.match(await m.run(['check', m.data]), { code: 0 });
});
