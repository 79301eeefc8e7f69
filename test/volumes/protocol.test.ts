// The plugin protocol as container engines speak it, call by call, and what is no call.
import { chmod, mkdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { ask, raw } from '../helpers/http.js';
import { lotAt } from '../helpers/lots.js';
import { must, run } from '../helpers/run.js';
import { mountVolumes, volumesOf } from '../helpers/volumes.js';

const TYPE = 'application/vnd.docker.plugins.v1.1+json; charset=utf-8';
const isRoot = process.getuid?.() === 0;

interface Row {
  what: string;
  call: string;
  /** As it is where it is a text. */
  body?: object | string;
  status?: number;
  /** The whole answer, or what Err must say. `MNT` stands for the mountpoint. */
  gives: object | RegExp;
}

const create = (what: string, Name: unknown, Opts: unknown, gives: object | RegExp = { Err: '' }, status = 200): Row => ({
  what,
  call: 'VolumeDriver.Create',
  body: { Name, Opts },
  status,
  gives,
});
const named = (call: string, what: string, Name: unknown, gives: object | RegExp, status = 200): Row => ({
  what,
  call: `VolumeDriver.${call}`,
  body: { Name },
  status,
  gives,
});
const status = (lot: string, dedicatedBytes: number, more: object = {}) => ({
  lot,
  usedBytes: 0,
  grantBytes: dedicatedBytes,
  dedicatedBytes,
  opportunisticBytes: 0,
  freeBytes: dedicatedBytes,
  objects: 0,
  maxObjects: -1,
  expiresAtMs: null,
  ...more,
});

const NO_NAME = /^'.*' cannot be the name of a volume: /;
const BAD_NAMES = [
  '',
  '.',
  '..',
  '../v',
  'a/b',
  '/a',
  '.work',
  '-a',
  '_a',
  ' a',
  'a b',
  'a\0b',
  'a\nb',
  'ä',
  'a'.repeat(256),
  '\ud800',
];

const ROWS: Row[] = [
  { what: 'who it is', call: 'Plugin.Activate', body: '', gives: { Implements: ['VolumeDriver'] } },
  { what: 'what it can', call: 'VolumeDriver.Capabilities', gives: { Capabilities: { Scope: 'local' } } },
  { what: 'the same without a body', call: 'VolumeDriver.Capabilities', body: '', gives: { Capabilities: { Scope: 'local' } } },
  { what: 'no volumes', call: 'VolumeDriver.List', gives: { Volumes: [], Err: '' } },
  { what: 'a list without a body, as Podman asks', call: 'VolumeDriver.List', body: '', gives: { Volumes: [], Err: '' } },
  ...['Get', 'Path', 'Remove'].map((call) => named(call, `${call} of none`, 'v1', { Err: "there is no volume 'v1'" }, 404)),
  { what: 'Mount of none', call: 'VolumeDriver.Mount', body: { Name: 'v1', ID: 'a' }, status: 404, gives: /no volume 'v1'/ },
  { what: 'Unmount of none', call: 'VolumeDriver.Unmount', body: { Name: 'v1', ID: 'a' }, gives: { Err: '' } },

  create('with a size', 'v1', { size: '10M' }),
  create('the same again', 'v1', { size: '10M' }),
  create('the same in bytes', 'v1', { size: '10000000' }),
  create('again without a size', 'v1', {}),
  create('again without options', 'v1', null),
  named('Get', 'what it is', 'v1', {
    Volume: { Name: 'v1', Mountpoint: 'MNT/volumes/v1', Status: status('/volumes/v1', 10_000_000) },
    Err: '',
  }),
  create('with more: it gets more', 'v1', { size: '20M' }),
  create(
    'with less: it keeps it',
    'v1',
    { size: '10M' },
    { Err: "volume 'v1' is there already with more: size is 20 MB, 10 MB asked for; vreserve reserve makes it smaller" },
    409,
  ),
  create('more than there is', 'v1', { size: '101M' }, /^101 MB asked for \/volumes\/v1, 80 MB available$/, 507),
  create('more than there is, new', 'v2', { size: '81M' }, { Err: '81 MB asked for /volumes/v2, 80 MB available' }, 507),
  named('Get', 'of which nothing is left', 'v2', /no volume 'v2'/, 404),
  create('binary bytes', 'bin', { size: '1Mi' }),
  named('Get', 'as they are', 'bin', {
    Volume: { Name: 'bin', Mountpoint: 'MNT/volumes/bin', Status: status('/volumes/bin', 1024 ** 2) },
    Err: '',
  }),
  named('Remove', 'gives them back', 'bin', { Err: '' }),
  create('nothing promised, a limit', 'quota', { opportunistic: '5MB', objects: '3' }),
  named('Get', 'of a limit', 'quota', {
    Volume: {
      Name: 'quota',
      Mountpoint: 'MNT/volumes/quota',
      Status: status('/volumes/quota', 0, { grantBytes: 5e6, opportunisticBytes: 5e6, freeBytes: 5e6, maxObjects: 3 }),
    },
    Err: '',
  }),
  create('a lower limit', 'quota', { opportunistic: '4MB' }, /opportunistic is 5 MB, 4 MB asked for/, 409),
  create('fewer files', 'quota', { objects: '2' }, /objects is 3, 2 asked for/, 409),
  create('no limit', 'quota', { opportunistic: 'unlimited', objects: 'unlimited' }),
  create('and a limit again', 'quota', { opportunistic: '9MB' }, /opportunistic is no limit, 9 MB asked for/, 409),
  named('Remove', 'of it', 'quota', { Err: '' }),
  create('a size of nothing', 'zero', { size: '0' }),
  named('Get', 'of nothing', 'zero', {
    Volume: { Name: 'zero', Mountpoint: 'MNT/volumes/zero', Status: status('/volumes/zero', 0) },
    Err: '',
  }),
  named('Remove', 'of nothing', 'zero', { Err: '' }),
  create('no Opts at all', 'plain', undefined),
  named('Path', 'where it is', 'plain', { Mountpoint: 'MNT/volumes/plain', Err: '' }),
  create('the longest name', 'a'.repeat(255), {}),
  named('Remove', 'of the longest name', 'a'.repeat(255), { Err: '' }),
  create('capitals and signs', 'A.b_c-9', {}),
  {
    what: 'all, by name',
    call: 'VolumeDriver.List',
    gives: {
      Volumes: ['A.b_c-9', 'plain', 'v1'].map((Name) => ({ Name, Mountpoint: `MNT/volumes/${Name}` })),
      Err: '',
    },
  },

  { what: 'Mount', call: 'VolumeDriver.Mount', body: { Name: 'v1', ID: 'a' }, gives: { Mountpoint: 'MNT/volumes/v1', Err: '' } },
  {
    what: 'by the same again',
    call: 'VolumeDriver.Mount',
    body: { Name: 'v1', ID: 'a' },
    gives: { Mountpoint: 'MNT/volumes/v1', Err: '' },
  },
  {
    what: 'by another',
    call: 'VolumeDriver.Mount',
    body: { Name: 'v1', ID: 'b' },
    gives: { Mountpoint: 'MNT/volumes/v1', Err: '' },
  },
  {
    what: 'without an ID',
    call: 'VolumeDriver.Mount',
    body: { Name: 'plain' },
    gives: { Mountpoint: 'MNT/volumes/plain', Err: '' },
  },
  named('Remove', 'while mounted', 'v1', { Err: "volume 'v1' is in use: mounted by 'a' and 1 more" }, 409),
  { what: 'Unmount', call: 'VolumeDriver.Unmount', body: { Name: 'v1', ID: 'a' }, gives: { Err: '' } },
  { what: 'of who is not there any more', call: 'VolumeDriver.Unmount', body: { Name: 'v1', ID: 'a' }, gives: { Err: '' } },
  named('Remove', 'while the other has it', 'v1', { Err: "volume 'v1' is in use: mounted by 'b'" }, 409),
  { what: 'the last Unmount', call: 'VolumeDriver.Unmount', body: { Name: 'v1', ID: 'b' }, gives: { Err: '' } },
  named('Remove', 'now', 'v1', { Err: '' }),
  named('Remove', 'twice', 'v1', { Err: "there is no volume 'v1'" }, 404),
  { what: 'Unmount without an ID', call: 'VolumeDriver.Unmount', body: { Name: 'plain' }, gives: { Err: '' } },

  ...['Create', 'Remove', 'Mount', 'Unmount', 'Path', 'Get'].flatMap((call) =>
    BAD_NAMES.map((name) => named(call, `${call} of ${JSON.stringify(name).slice(0, 20)}`, name, NO_NAME, 400)),
  ),
  ...[1, null, {}, ['a'], true].map((name) =>
    create(`a name that is ${JSON.stringify(name)}`, name, {}, /Name must be string/, 400),
  ),
  create('Opts that are a text', 'n', 'size=1', /Opts must be object,null/, 400),
  create('Opts that are a list', 'n', ['size'], /Opts must be object,null/, 400),
  create('an option that is a number', 'n', { size: 10 }, /Opts\/size must be string/, 400),
  create('an option that is unknown', 'n', { siez: '1' }, /^option 'siez': it is not known; there are size, opportunistic/, 400),
  create('one that every object has', 'n', { constructor: 'x' }, /^option 'constructor': it is not known/, 400),
  create('a long one', 'n', { ['x'.repeat(5000)]: '1' }, /^option 'x{60}': it is not known/, 400),
  ...['', '-1', '1.5G', 'abc', '10X', '1 G', '9999999P', '0x10'].map((size) =>
    create(`a size of '${size}'`, 'n', { size }, /^option 'size': '.*' is not a number of bytes: /, 400),
  ),
  ...['', '-1', 'root', '4294967295', '1e3'].map((uid) => create(`uid '${uid}'`, 'n', { uid }, /^option 'uid': /, 400)),
  ...['', '8', '888', '17777', 'u+x', '-1'].map((mode) =>
    create(`mode '${mode}'`, 'n', { mode }, /^option 'mode': .*is not a mode/, 400),
  ),
  ...['', '-1s', 'soon', '101y', '99999999d'].map((expires) =>
    create(`expires '${expires}'`, 'n', { expires }, /^option 'expires': /, 400),
  ),
  ...['', 'x', '1k', '1.5'].map((objects) => create(`objects '${objects}'`, 'n', { objects }, /^option 'objects': /, 400)),
  create('opportunistic of nonsense', 'n', { opportunistic: 'much' }, /^option 'opportunistic': /, 400),
  ...['', 'null', '[]', '"x"', '7', '{}', '{"Name":', '{"name":"v"}', '\xff'].map((body) => ({
    what: `a body of ${JSON.stringify(body)}`,
    call: 'VolumeDriver.Create',
    body,
    status: 400,
    gives: /^not understood: /,
  })),
];

/** The answer without the time at which a volume was made, which is now. */
function timeless(t: Test, json: Record<string, unknown>): object {
  const { CreatedAt, ...volume } = (json.Volume ?? {}) as { CreatedAt?: string };
  if (CreatedAt === undefined) return json;
  t.match(CreatedAt, /^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  t.ok(Math.abs(Date.now() - Date.parse(CreatedAt)) < 60_000);
  return { ...json, Volume: volume };
}

t.test('calls', async (t) => {
  const { m, plugin } = await mountVolumes(t);
  for (const { what, call, body = {}, status = 200, gives } of ROWS) {
    const got = await plugin.call(call, body);
    t.equal(got.status, status, what);
    if (gives instanceof RegExp) t.match(got.json.Err, gives, what);
    else t.strictSame(timeless(t, got.json), JSON.parse(JSON.stringify(gives).replaceAll('MNT', m.mnt)), what);
  }
  t.same(await volumesOf(m), { directories: ['A.b_c-9', 'plain'], lots: { 'A.b_c-9': 0, plain: 0 }, work: [] }, 'what is left');
  t.match(await m.run(['check', m.mnt]), { code: 0 });
});

t.test('the socket, and what is no call', async (t) => {
  const { m, plugin } = await mountVolumes(t);
  t.equal((await stat(plugin.socket)).mode & 0o777, 0o600, 'the socket is its owner’s alone');
  const { headers } = await ask(plugin.where, '/Plugin.Activate', { method: 'POST' });
  t.equal(headers['content-type'], TYPE);
  const withType = { method: 'POST', headers: { 'content-type': 'application/vnd.docker.plugins.v1.2+json' }, body: '{}' };
  t.match(await ask(plugin.where, '/VolumeDriver.List', withType), { status: 200 }, 'whatever type the body has');
  t.match(await ask(plugin.where, '/VolumeDriver.List'), { status: 404 }, 'GET');
  for (const path of ['/', '/VolumeDriver.Nothing', '/reserve/', '/metrics', '/api/v1.0/lots', '/store/x']) {
    t.match(await ask(plugin.where, path, { method: 'POST', body: '{}' }), { status: 404 }, `nothing else is served: ${path}`);
  }
  t.match(await raw(plugin.where, 'nonsense\r\n\r\n'), /^HTTP\/1.1 400 /);
  const huge = 'POST /VolumeDriver.Create HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577\r\n\r\n';
  t.match(await raw(plugin.where, huge), /^HTTP\/1.1 413 .*"Err":"the body of the request is too large"/s);
  t.match(
    await raw(plugin.where, 'POST /VolumeDriver.List HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}'),
    /"Volumes":\[\]/,
    'without a type',
  );
  const chunked =
    'POST /VolumeDriver.Create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nc\r\n{"Name":"ch"\r\n1\r\n}\r\n0\r\n\r\n';
  t.match(await raw(plugin.where, chunked), /^HTTP\/1.1 200 .*"Err":""/s, 'in chunks');
  t.same(await plugin.list(), ['ch']);

  const refused = async (path: string, reason: RegExp) => {
    const outcome = await m.run(['mount', m.data, m.mnt, '--volume-plugin', path]);
    t.match(outcome, { code: 1, stdout: '', stderr: reason });
    await t.rejects(stat(join(m.mnt, '.vreserve')), { code: 'ENOENT' }, 'nothing is mounted');
  };
  const { socket } = plugin;
  await m.umount();
  await refused(join(m.mnt, 's'), /it lies in the mount/);
  await writeFile(socket, 'a file');
  await refused(socket, /cannot listen on unix:.*: the address is in use/);
  await refused(join(socket, 's'), /cannot listen on unix:.*: (ENOTDIR|EEXIST)/);
  t.equal(await readFile(socket, 'utf8'), 'a file', 'what is no socket is left as it is');
  await rm(socket);
  const other = await mountVolumes(t);
  await refused(other.plugin.socket, /the address is in use/);
  t.same(await other.plugin.list(), [], 'who has it keeps it');
  await m.remount();
  await m.kill();
  await m.remount();
  t.same(await plugin.list(), ['ch'], 'what a killed daemon has left is replaced');
});

t.test('what a volume is made with', async (t) => {
  const { m, plugin } = await mountVolumes(t);
  const top = await stat(join(m.mnt, 'volumes'));
  t.equal(top.mode & 0o7777, 0o711, 'nobody else looks around among volumes');
  const made = async (name: string) => {
    const { mode, uid, gid } = await stat(join(m.mnt, 'volumes', name));
    return { mode: mode & 0o7777, uid, gid };
  };
  t.equal(await plugin.create('plain'), '');
  t.strictSame(await made('plain'), { mode: 0o755, uid: process.getuid?.(), gid: process.getgid?.() });
  if (isRoot) {
    t.equal(await plugin.create('users', { uid: '1000', gid: '100', mode: '2770' }), '');
    t.strictSame(await made('users'), { mode: 0o2770, uid: 1000, gid: 100 });
    t.equal(await plugin.create('half', { uid: '0', gid: '4294967294', mode: '01777' }), '');
    t.strictSame(await made('half'), { mode: 0o1777, uid: 0, gid: 4294967294 });
    t.equal(await plugin.create('users', { uid: '5' }), '', 'how it is made concerns only who makes it');
    t.strictSame(await made('users'), { mode: 0o2770, uid: 1000, gid: 100 });
  }
  const before = Date.now();
  t.equal(await plugin.create('short', { size: '1MB', expires: '2h' }), '');
  const { expiresAtMs } = await lotAt(m.mnt, '/volumes/short');
  t.ok(expiresAtMs !== null && expiresAtMs >= before + 7_200_000 && expiresAtMs <= Date.now() + 7_200_000, 'in two hours');
  t.equal(await plugin.create('short', { expires: 'never' }), '');
  t.equal((await lotAt(m.mnt, '/volumes/short')).expiresAtMs, null, 'never, after all');

  await writeFile(join(m.mnt, 'volumes/short/f'), Buffer.alloc(400_000));
  t.match(await plugin.status('short'), { usedBytes: 400_000, objects: 1, grantBytes: 1_000_000 }, 'what is in it is told');
  await writeFile(join(m.mnt, 'volumes/plain/f'), Buffer.alloc(300_000));
  t.match(await plugin.status('plain'), { usedBytes: 300_000, objects: 1, grantBytes: -1 }, 'also where nothing is promised');
});

t.test('what people do by hand', async (t) => {
  const { m, plugin } = await mountVolumes(t);
  const volume = (name: string) => join(m.mnt, 'volumes', name);

  t.equal(await plugin.create('kept', { size: '5MB' }), '');
  await writeFile(join(volume('kept'), 'f'), Buffer.alloc(2_000_000));
  await must(m.run(['release', volume('kept')]));
  t.match(await plugin.status('kept'), { lot: 'default', grantBytes: -1 }, 'a volume whose reservation was released is there');
  t.equal(await plugin.mount('kept', 'a'), '', 'and can be mounted');
  t.equal(await plugin.unmount('kept', 'a'), '');
  t.match(await plugin.create('kept', { size: '1MB' }), /1 MB asked for .*which holds 2 MB already/, 'less than it holds');
  t.equal(await plugin.create('kept', { size: '3MB' }), '', 'and it gets one again');
  t.match(await plugin.status('kept'), { lot: '/volumes/kept', usedBytes: 2_000_000, grantBytes: 3_000_000 });

  await mkdir(volume('brought'));
  await writeFile(join(volume('brought'), 'f'), 'brought along');
  t.same(await plugin.list(), ['brought', 'kept'], 'a directory that was put there is a volume');
  t.equal(await plugin.create('brought', { size: '1MB' }), '');
  t.match(await plugin.status('brought'), { usedBytes: 13, grantBytes: 1_000_000 });

  await must(m.run(['reserve', volume('first'), '4MB']));
  t.same(await plugin.list(), ['brought', 'kept'], 'a reservation without a directory is none yet');
  t.equal(await plugin.create('first', { size: '4MB', mode: '700' }), '');
  t.equal((await stat(volume('first'))).mode & 0o777, 0o700);
  await rm(volume('first'), { recursive: true });
  t.match(await plugin.mount('first', 'a'), /no volume 'first'/);
  await plugin.kill();
  await plugin.isUp();
  t.same(await plugin.list(), ['brought', 'first', 'kept'], 'the next start makes it anew');
  t.match(await plugin.status('first'), { grantBytes: 4_000_000 });

  await writeFile(volume('file'), '');
  await symlink('/', volume('link'));
  t.same(await plugin.list(), ['brought', 'first', 'kept'], 'files and links are no volumes');
  t.match(await plugin.create('file'), /what has it is no directory/);
  t.match(await plugin.create('link'), /what has it is no directory/);
  t.match(await plugin.mount('link', 'a'), /no volume/);
  t.match(await plugin.remove('link'), /no volume/);
  const { lots, work } = await volumesOf(m);
  t.same(lots, { brought: 1_000_000, first: 4_000_000, kept: 3_000_000 }, 'and nothing is left of what was refused');
  t.same(work, []);
});

t.test('a limit for all volumes', async (t) => {
  const { m, plugin } = await mountVolumes(t);
  await must(m.run(['reserve', join(m.mnt, 'volumes'), '60MB']));
  t.equal(await plugin.create('a', { size: '40MB' }), '');
  t.match(await plugin.create('b', { size: '30MB' }), /^30 MB asked for \/volumes\/b, 20 MB available in lot '\/volumes'$/);
  t.equal(await plugin.create('c'), '');
  t.match(await plugin.status('c'), { freeBytes: 20_000_000 }, 'what the others were not promised');
  const filled = await m.shell('head -c 90000000 /dev/zero > volumes/c/f || true; stat -c %s volumes/c/f');
  t.match(filled, { stdout: '20000000\n' });
  t.match(await lotAt(m.mnt, '/volumes'), { usedBytes: 20_000_000, dedicatedBytes: 60_000_000 });
  for (const name of ['a', 'c']) t.equal(await plugin.remove(name), '');
  t.match(await lotAt(m.mnt, '/volumes'), { usedBytes: 0, dedicatedBytes: 60_000_000 }, 'it stays');
});

t.test('where no volumes can be', async (t) => {
  const { m, plugin } = await mountVolumes(t);
  const top = join(m.data, 'volumes');
  await m.umount();
  const refused = async (reason: RegExp, what: string, make: () => Promise<unknown>) => {
    await rm(top, { recursive: true });
    await make();
    await m.remount();
    t.match(await plugin.create('v'), reason, what);
    t.match(await readFile(join(m.mnt, '.vreserve/health'), 'utf8'), reason, 'health says it, too');
    t.match(await plugin.call('Plugin.Activate'), { status: 200 }, 'and engines know that it is one');
    await m.umount();
  };
  await refused(/cannot hold volumes: it is not a directory/, 'a file', () => writeFile(top, ''));
  await mkdir(join(m.data, 'elsewhere'));
  await refused(/cannot hold volumes: it is not a directory/, 'a link', () => symlink('elsewhere', top));
  const makeOpen = async () => {
    await mkdir(top);
    await chmod(top, 0o1777);
  };
  await refused(/cannot hold volumes: others than its owner may write to it/, 'a directory for all', makeOpen);
  await refused(/cannot hold volumes: it holds something else/, 'somebody’s files', () =>
    mkdir(join(top, 'pictures'), { recursive: true }),
  );
  if (isRoot) {
    const makeOthers = async () => {
      await mkdir(top);
      await must(run('chown', ['1000', top]));
    };
    await refused(/cannot hold volumes: it belongs to user 1000/, 'a directory of another user', makeOthers);
  }
  await rm(top, { recursive: true });
  await mkdir(top);
  await m.remount();
  t.equal(await plugin.create('v'), '', 'one that is empty is taken');
  t.equal(await plugin.remove('v'), '');
  await must(run('mv', [join(m.mnt, 'volumes'), join(m.mnt, 'moved')]));
  t.match(await plugin.create('w'), /the mount is ending/, 'one that is moved away is not followed');
});
