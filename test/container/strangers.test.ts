// Strangers: what a container that sees a part of the mount may do to lots, and what it learns of others. All it tries is refused,
// and leaves no trace in the host's report.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { type ControlOutcome, type Outcome, Steps } from '../helpers/fsop.js';
import { report } from '../helpers/lots.js';
import { type Mounted, mount, type Teardown } from '../helpers/mount.js';
import { must, run, shell } from '../helpers/run.js';
import { bytesIn } from '../helpers/tree.js';
import { Podman, whyNoContainers } from './podman.js';

const MIB = 1024 * 1024;

/** The lot that a container sees, its neighbour below the same lot, that lot, and one that has nothing to do with them. */
const OWN = '/quarter/guild/own';
const VICTIM = '/quarter/guild/victim';
const GUILD = '/quarter/guild';
const NEIGHBOUR = '/quarter/neighbour';
/** Lots without a path in the mount. */
const FOREIGN = 's3secret';
const PATHLESS = 'phantom';

/** Nobody else has these numbers, so that they are found wherever they leak. */
const OWNERS = {
  guild: '2000004242',
  victim: '2000005151',
  neighbour: '2000006161',
  foreign: '2000007171',
  pathless: '2000007272',
};
const GUILD_BYTES = 33_333_333;
const VICTIM_BYTES = 7_654_321;
const SECRET_BYTES = 1_234_567;
const NEIGHBOUR_BYTES = 3_141_592;

/** The user whose reservation is `uids`. */
const USER = '1000';
const UIDS = '/quarter/guild/uids';

const FOREIGN_PATH = 's3://bucket/x';
const NEVER_MS = 9e15;
const POLICY = {
  dedicated_GB: 0,
  opportunistic_GB: 1,
  max_num_objects: 1000,
  creation_time: 1,
  expiration_time: NEVER_MS,
  deletion_time: NEVER_MS,
};

let made = 0;
/** A name for a lot that no other try has. */
const fresh = () => `n${++made}`;

/** One of LotMan's functions, as a command. */
const lot = (name: string, json: object) => `lot ${name} ${JSON.stringify(json)}`;
const addLot = (name: string, more: object = {}) =>
  lot('add', { lot_name: name, owner: 'root', parents: [name], management_policy_attrs: POLICY, ...more });
const at = (path: string, more: object = {}) => ({ paths: [{ path, recursive: true, ...more }] });

/** A command through the `.vreserve` of a directory in the container. */
const control = (command: string, directory = '/data') => `control ${directory}/.vreserve/control ${command}`;

interface World {
  m: Mounted;
  podman: Podman;
  /** Commands of the host's administrator; throws where one is refused. */
  host(...commands: string[]): Promise<void>;
}

/** A mount with lots of several owners. */
async function world(t: Teardown): Promise<World> {
  const podman = await Podman.create(t);
  const m = await mount(t, { args: ['--capacity', '64MiB', '--margin', '0'] });
  await must(
    m.shell(`
      mkdir -p .${OWN}/dir .${OWN}/open .${OWN}/hosts .${VICTIM} .${UIDS}/below .${NEIGHBOUR} quarter/vacant plain chamber/vault
      echo own > .${OWN}/dir/file; head -c ${SECRET_BYTES} /dev/zero > .${VICTIM}/secret; echo secret > chamber/vault/file
      ln -s ../victim .${OWN}/out; ln -s /data .${OWN}/absolute; ln -s /etc/passwd .${OWN}/passwd
      ln -s . .${OWN}/top; ln -s hosts .${OWN}/in; ln -s loop .${OWN}/loop
      chmod 777 .${OWN}/open; chmod 700 chamber; chown ${OWNERS.guild} .${GUILD}; chown ${OWNERS.victim} .${VICTIM}
      chown -R ${USER} .${UIDS}`),
  );
  const host = async (...commands: string[]) => {
    const lines = commands.map((command) => `${command}\n`).join('');
    await must(run('/bin/dd', [`of=${m.mnt}/.vreserve/control`, 'bs=1M', 'status=none', 'conv=notrunc'], { input: lines }));
  };
  await host(
    `reserve ${GUILD} ${GUILD_BYTES} --owner ${OWNERS.guild}`,
    `reserve ${OWN} 8MiB --objects 1000`,
    `reserve ${OWN}/hosts 1MiB`,
    `reserve ${VICTIM} ${VICTIM_BYTES} --owner ${OWNERS.victim}`,
    `reserve ${UIDS} 2MiB --owner ${USER}`,
    `reserve ${NEIGHBOUR} ${NEIGHBOUR_BYTES} --owner ${OWNERS.neighbour}`,
    `reserve /quarter/vacant 1000 --owner ${OWNERS.neighbour}`,
    addLot(FOREIGN, { owner: OWNERS.foreign, ...at(FOREIGN_PATH) }),
    addLot(PATHLESS, { owner: OWNERS.pathless }),
  );
  return { m, podman, host };
}

/** What the host says of all lots and of the pool; everything but the time. */
async function state(m: Mounted): Promise<string> {
  const { pool, health, lots } = JSON.parse(await readFile(join(m.mnt, '.vreserve/report.json'), 'utf8')) as Record<
    string,
    unknown
  >;
  return JSON.stringify({ pool, health, lots }, null, 1);
}

/** What is tried, and how it must end: a value, an errno ('' of a command that is done), or one of several. */
type Try = readonly [step: string, expected: Outcome | readonly string[]];

const commands = (expected: string | readonly string[], list: readonly string[], directory?: string): Try[] =>
  list.map((command) => [control(command, directory), expected]);

/** The errno of a command, '' where it was done; the outcome of any other step. */
function endOf(outcome: Outcome): Outcome {
  const { errno } = outcome as ControlOutcome;
  return typeof errno === 'string' ? errno : outcome;
}

async function attempt(t: Test, steps: Steps, tries: readonly Try[]): Promise<void> {
  for (const [step, expected] of tries) {
    const end = endOf(await steps.do(step));
    if (Array.isArray(expected))
      t.ok(expected.includes(end), `${step}: ${JSON.stringify(end)}, not one of ${expected.join(' ')}`);
    else t.same(end, expected, step);
  }
}

/** Every change of one lot that LotMan's interface knows. `path` is one that the container may write to. */
const changesOf = (name: string, path: string): string[] => [
  lot('update', { lot_name: name, owner: USER }),
  lot('update', { lot_name: name, owner: 'root' }),
  lot('update', { lot_name: name, management_policy_attrs: { dedicated_GB: 0.03 } }),
  lot('update', { lot_name: name, management_policy_attrs: { dedicated_GB: 0, opportunistic_GB: 1 } }),
  lot('update', { lot_name: name, management_policy_attrs: { max_num_objects: 1_000_000 } }),
  lot('update', { lot_name: name, management_policy_attrs: { expiration_time: NEVER_MS, deletion_time: NEVER_MS } }),
  lot('update', { lot_name: name, management_policy_attrs: { deletion_time: 1 } }),
  lot('update', { lot_name: name, parents: [{ current: name, new: 'default' }] }),
  lot('update', { lot_name: name, paths: [{ current: path, new: `${path}/new`, recursive: true }] }),
  lot('add-to', { lot_name: name, ...at(`${path}/new`) }),
  lot('add-to', { lot_name: name, ...at(`${path}/new`, { exclude: true }) }),
  lot('add-to', { lot_name: name, parents: ['default'] }),
  lot('remove-parents', { lot_name: name, parents: [name] }),
  lot('usage set', { lot_name: name, self_GB: 0 }),
  `lot remove ${name}`,
  `lot remove ${name} --recursive`,
  `lot remove ${name} --assign-to-orphans`,
];

const ADMINISTRATION = ['check', 'check --repair', 'reclaim --plan', 'reclaim --apply', 'reclaim --apply --low-watermark 0%'];

/** Of a file that is not its own: by the mode of the directory, or by fs.protected_hardlinks before that. */
const NOT_LINKED = ['EACCES', 'EPERM'];

/** In a container that sees nothing but the directory of its lot. `root`: it has uid 0 there. */
function inOwnLot(root: boolean): Try[] {
  const denied = root ? 'EPERM' : 'EACCES';
  const linked = root ? 'EXDEV' : NOT_LINKED;
  return [
    ...commands('EINVAL', [
      'reserve / 20MiB',
      'reserve / 1',
      'reserve / 8MiB --expires never --owner root',
      'extend / 1MiB',
      'release /',
      'reserve /top 1',
      'release /top',
      'release /..',
      'release /../victim',
      'reserve /../victim 1',
      'reserve /dir/../../victim 1',
      'reserve /./dir 1',
      'reserve //dir 1',
      'reserve dir 1',
      'reserve /.vreserve 1',
      'reserve /hosts/.vreserve/lots 1',
    ]),
    ...commands('EXDEV', [
      'reserve /out 1',
      'reserve /out/secret 1',
      'extend /out 1MiB',
      'release /out',
      'release /absolute/hosts',
      'reserve /absolute 20MiB',
      'reserve /passwd 1',
    ]),
    ...commands('ELOOP', ['reserve /loop 1']),
    ...commands('EACCES', [
      'reserve /hosts 2MiB',
      'reserve /hosts 1',
      'reserve /hosts 1MiB --expires 9d',
      'reserve /hosts 1MiB --owner root',
      'extend /hosts 1',
      'release /hosts',
      'release /in',
      'extend /in 1',
      ...ADMINISTRATION,
      '{"cmd":"reserve","path":"/hosts","bytes":1,"owner":"root"}',
      '{"cmd":"extend","path":"/hosts","bytes":1}',
      '{"cmd":"release","path":"/hosts"}',
      '{"cmd":"check","repair":true}',
      '{"cmd":"reclaim","apply":true,"low":"0%"}',
      '{"cmd":"lot","name":"remove","word":"/hosts","flags":["recursive"]}',
      '{"cmd":"lot","name":"update","json":{"lot_name":"/hosts","owner":"root"}}',
      ...changesOf('/', '/open'),
      ...changesOf('/hosts', '/open'),
      lot('remove-paths', { paths: ['/hosts'] }),
      addLot(fresh(), { parents: ['/hosts'], ...at('/open/n') }),
      addLot(fresh(), { children: ['/hosts'], ...at('/open/n') }),
    ]),
    // Nothing of a text says who asks.
    ...commands('EINVAL', [
      '{"cmd":"release","path":"/hosts","owner":"root"}',
      '{"cmd":"release","path":"/hosts","uid":0}',
      '{"cmd":"release","path":"/hosts","caller":{"uid":0,"sysAdmin":true}}',
      '{"cmd":"release","path":"/hosts","scope":1,"directory":"/"}',
      '{"cmd":"reserve","path":"/","bytes":"20MiB","owner":"root"}',
      'release /hosts --owner root',
      lot('remove-paths', { paths: ['/'] }),
      lot('remove-paths', { paths: ['/../victim'] }),
      addLot(fresh(), at('/../victim/n')),
    ]),
    // What it does not see is not there.
    ...commands('ENOENT', [
      `extend ${VICTIM} 1`,
      ...[VICTIM, GUILD, NEIGHBOUR, FOREIGN, PATHLESS, 'default'].flatMap((name) => changesOf(name, '/open')),
      addLot(fresh(), { parents: ['default'], ...at('/open/n') }),
      addLot(fresh(), { parents: [VICTIM], ...at('/open/n') }),
      addLot(fresh(), { children: [VICTIM], ...at('/open/n') }),
      addLot(fresh(), { parents: [FOREIGN], ...at('/open/n') }),
    ]),
    ...commands('', [`release ${VICTIM}`, lot('remove-paths', { paths: [VICTIM] })]),
    ...commands(root ? 'ENOSPC' : 'EACCES', ['reserve /dir 20MiB', 'reserve /dir/new 8MiB', 'reserve /dir 57MiB']),
    ...(root
      ? []
      : commands('EACCES', ['reserve /mine 1', 'reserve /dir/mine 1', 'reserve /open 1', addLot(fresh(), at('/dir/n'))])),

    ['setxattr /data user.vreserve.reserve 20M', 'EACCES'],
    ['removexattr /data user.vreserve.reserve', 'EACCES'],
    ['setxattr /data/hosts user.vreserve.reserve 2M', 'EACCES'],
    ['removexattr /data/hosts user.vreserve.reserve', 'EACCES'],
    ['setxattr /data/in user.vreserve.reserve 1', 'EACCES'],
    ['setxattr /data/out user.vreserve.reserve 1', 'ENOENT'],
    ['lsetxattr /data/out user.vreserve.reserve 1', 'EPERM'],
    ...['lot', 'used', 'grant'].flatMap((name): Try[] => [
      [`setxattr /data user.vreserve.${name} 1`, denied],
      [`removexattr /data user.vreserve.${name}`, denied],
      [`setxattr /data/dir/file user.vreserve.${name} 1`, denied],
    ]),
    ['setxattr /data user.vreserve.owner 0', root ? 'EOPNOTSUPP' : 'EACCES'],
    ['setxattr /data trusted.vreserve.reserve 1', 'EPERM'],
    ['setxattr /data/.vreserve user.vreserve.reserve 1', denied],

    ['mkdir /data/.vreserve', 'EEXIST'],
    ['open f /data/.vreserve CREAT|EXCL|RDWR', 'EEXIST'],
    ['symlink dir /data/.vreserve', 'EEXIST'],
    ['mknod /data/.vreserve fifo 0666', 'EEXIST'],
    ['link /data/dir/file /data/.vreserve', 'EEXIST'],
    ['rename /data/dir/file /data/.vreserve', root ? 'EISDIR' : 'EACCES'],
    ['rename /data/dir /data/.vreserve', denied],
    ['rename /data/dir /data/.vreserve EXCHANGE', denied],
    ['rename /data/.vreserve /data/dir/x', denied],
    ['rename /data/.vreserve/control /data/dir/x', denied],
    ['link /data/.vreserve/control /data/open/x', ['EXDEV', 'EPERM']],
    ['rmdir /data/.vreserve', denied],
    ['unlink /data/.vreserve/control', denied],
    ['mkdir /data/.vreserve/lots/n', denied],
    ['chmod /data/.vreserve/control 0600', 'EPERM'],
    // EINVAL: the namespace has no such user.
    ['chown /data/.vreserve/control 1000 1000', ['EPERM', 'EINVAL']],
    ['open f /data/.vreserve/report WRONLY', 'EACCES'],
    ['open f /data/.vreserve/ledger RDWR', 'EACCES'],
    ['open f /data/.vreserve/ledger.db RDONLY', 'ENOENT'],
    ['stat /data/.vreserve/../../victim', 'ENOENT'],
    ['stat /data/.vreserve/lots/..%2Fvictim', 'ENOENT'],
    [`stat /data/.vreserve/lots/${encodeURIComponent(VICTIM)}`, 'ENOENT'],
    [`stat /data/.vreserve/lots/${PATHLESS}`, 'ENOENT'],
    ['stat /data/.vreserve/lots/default', 'ENOENT'],

    ['rename /data/hosts /data/moved', root ? 'EBUSY' : 'EACCES'],
    ['rename /data/dir /data/hosts', root ? 'EXDEV' : 'EACCES'],
    ['rename /data/dir /data/hosts EXCHANGE', root ? 'EBUSY' : 'EACCES'],
    ['rename /data/hosts /data/dir EXCHANGE', root ? 'EBUSY' : 'EACCES'],
    ['link /data/dir/file /data/hosts/name', linked],
  ];
}

/** In a container that sees a directory above several lots, which is none itself, as /data. */
function aboveLots(root: boolean): Try[] {
  const bound = root ? 'EBUSY' : 'EACCES';
  const linked = root ? 'EXDEV' : NOT_LINKED;
  return [
    ['stat /data/.vreserve', 'ENOENT'],
    ['rename /data/guild/victim /data/guild/x', bound],
    ['rename /data/guild /data/x', bound],
    ['rename /data/guild/own/dir /data/guild/victim', root ? 'EXDEV' : 'EACCES'],
    ['rename /data/guild/own/dir /data/guild/victim EXCHANGE', bound],
    ['rename /data/guild/own /data/guild/victim EXCHANGE', bound],
    ['rename /data/guild /data/neighbour', bound],
    ['link /data/guild/victim/secret /data/guild/own/secret', linked],
    ['link /data/guild/own/dir/file /data/guild/victim/file', linked],
    ['link /data/guild/victim/secret /data/secret', linked],
    ['mkdir /data/guild/victim/.vreserve', 'EEXIST'],
    ['symlink /etc /data/neighbour/.vreserve', 'EEXIST'],
    ...['guild', 'guild/own', 'guild/victim', 'neighbour'].flatMap((directory): Try[] => [
      [`setxattr /data/${directory} user.vreserve.reserve 1M`, 'EACCES'],
      [`removexattr /data/${directory} user.vreserve.reserve`, 'EACCES'],
      ...commands('EINVAL', ['release /', 'extend / 1', 'reserve / 1'], `/data/${directory}`),
      ...commands('EACCES', ADMINISTRATION, `/data/${directory}`),
    ]),
    ...commands(
      'EACCES',
      ['release /own', 'release /victim', 'reserve /victim 1', 'extend /own 1MiB', ...changesOf('/victim', '/own/open')],
      '/data/guild',
    ),
    ['setxattr /data/guild/own/out user.vreserve.reserve 1M', 'EACCES'],
    ['removexattr /data/guild/own/out user.vreserve.reserve', 'EACCES'],
    ...(root
      ? ([
          // An empty directory may be taken away as everywhere; its lot stays, and what comes there is in it.
          ['rmdir /data/vacant', 0],
          ['symlink guild /data/vacant', 0],
          ['setxattr /data/vacant user.vreserve.reserve 1M', 'EACCES'],
          ['removexattr /data/vacant user.vreserve.reserve', 'EACCES'],
          ['unlink /data/vacant', 0],
          ['mkdir /data/vacant', 0],
          ['getxattr /data/vacant user.vreserve.lot', '/quarter/vacant'],
          ['mkdir /data/vacant/.vreserve', 'EEXIST'],
        ] satisfies Try[])
      : []),
  ];
}

/** In a container that sees the whole mount. */
function wholeMount(root: boolean): Try[] {
  const names = [OWN, GUILD, VICTIM, NEIGHBOUR, FOREIGN, PATHLESS, 'default'];
  return [
    ...commands('EACCES', [
      ...[OWN, VICTIM, GUILD, NEIGHBOUR].flatMap((path) => [
        `release ${path}`,
        `extend ${path} 1`,
        `reserve ${path} 1`,
        `reserve ${path} 1MiB --owner root`,
        lot('remove-paths', { paths: [path] }),
      ]),
      ...names.flatMap((name) => changesOf(name, `${OWN}/open`)),
      ...names.filter((name) => name !== OWN).map((name) => addLot(fresh(), { parents: [name], ...at(`${OWN}/open/n`) })),
      ...names.map((name) => addLot(fresh(), { children: [name], ...at(`${OWN}/open/n`) })),
      lot('remove-paths', { paths: [FOREIGN_PATH] }),
      lot('usage set-by-dir', [{ path: FOREIGN_PATH, size_GB: 1, includes_subdirs: false }]),
      ...ADMINISTRATION,
    ]),
    ...commands('EINVAL', ['reserve / 1', 'release /', 'reserve /.vreserve 1', 'reserve /plain/../quarter 1']),
    ['setxattr /data user.vreserve.reserve 1M', root ? 'EINVAL' : 'EACCES'],
    ['mkdir /data/.vreserve', 'EEXIST'],
    ['rename /data/quarter /data/x', root ? 'EBUSY' : 'EACCES'],
    ['rename /data/plain /data/quarter EXCHANGE', root ? 'EBUSY' : 'EACCES'],
    ['rename /data/plain /data/.vreserve', root ? 'EPERM' : 'EACCES'],
  ];
}

/** Users in a container, and what `podman --user` calls them. */
const USERS: readonly [name: string, user: string, isRoot: boolean][] = [
  ['root', '0', true],
  ['an ordinary user', '2000001111:2000001111', false],
];

/** A container by bubblewrap: root of a user namespace, with all its capabilities. */
async function startBwrap(t: Teardown, program: string, directory: string): Promise<Steps> {
  const root = dirname(dirname(program));
  const words = ['--bind', root, '/', '--bind', directory, '/data', '--proc', '/proc', '--dev', '/dev'];
  const child = spawn(
    'bwrap',
    [...words, '--unshare-all', '--uid', '0', '--gid', '0', '--cap-add', 'ALL', '/bin/fsop', '/data'],
    {
      stdio: ['pipe', 'pipe', 'inherit'],
    },
  );
  await once(child, 'spawn');
  const steps = new Steps(child);
  t.teardown(() => steps.end());
  return steps;
}

const skip = await whyNoContainers();

t.test('strangers', { skip, timeout: 240_000 }, async (t) => {
  const w = await world(t);
  const { m, podman, host } = w;
  const before = await state(m);
  const place = (path: string) => join(m.mnt, path);

  const journals = () => Promise.all([VICTIM, NEIGHBOUR].map((path) => readFile(join(place(path), '.vreserve/ledger'), 'utf8')));

  /** Runs the tries in a container; the host's report must be the same afterwards, and the journals of lots that it does not see. */
  const refused = (t: Test, name: string, start: (t: Test) => Promise<Steps>, tries: readonly Try[], seesOthers = false) =>
    t.test(name, async (t) => {
      const journalled = await journals();
      const steps = await start(t);
      await attempt(t, steps, tries);
      await steps.end();
      t.equal(await state(m), before, 'the report of the host is the same');
      if (!seesOthers) t.same(await journals(), journalled, 'nothing is put into the journals of others');
    });

  await t.test('a container that sees only its lot learns nothing of others', (t) => leaks(t, w));
  await t.test('and has all of its own', (t) => ownView(t, w));

  for (const [name, user, isRoot] of USERS) {
    await refused(t, `${name}, who sees only a lot`, (t) => podman.start(t, place(OWN), user), inOwnLot(isRoot));
    await refused(t, `${name}, who sees a directory in a lot`, (t) => podman.start(t, place(`${OWN}/dir`), user), [
      ['stat /data/.vreserve', 'ENOENT'],
      ['setxattr /data user.vreserve.reserve 20M', isRoot ? 'ENOSPC' : 'EACCES'],
      ['removexattr /data user.vreserve.reserve', isRoot ? 0 : 'EACCES'],
      ['setxattr /data user.vreserve.grant 1', isRoot ? 'EPERM' : 'EACCES'],
      ['setxattr /data/file user.vreserve.lot 1', isRoot ? 'EPERM' : 'EACCES'],
    ]);
    await refused(
      t,
      `${name}, who sees a directory above lots`,
      (t) => podman.start(t, place('/quarter'), user),
      aboveLots(isRoot),
      true,
    );
    await refused(t, `${name}, who sees the whole mount`, (t) => podman.start(t, m.mnt, user), wholeMount(isRoot), true);
  }
  // Uids from 300000 on: root there is an ordinary user here, who may write nothing but what is open to all.
  await t.test('root of a container with a user namespace', async (t) => {
    const mapped = ['--uidmap', '0:300000:65536', '--gidmap', '0:300000:65536'];
    await refused(t, 'who sees only a lot', (t) => podman.start(t, place(OWN), '0', mapped), inOwnLot(false));
    await refused(t, 'who sees the whole mount', (t) => podman.start(t, m.mnt, '0', mapped), wholeMount(false), true);
  });
  const noBwrap = (await shell('command -v bwrap')).code === 0 ? false : 'bubblewrap is not installed';
  await t.test('root of a user namespace, by bubblewrap', { skip: noBwrap }, async (t) => {
    const program = await podman.stepProgram();
    // The host's directories are of other users, or of none that it knows.
    const tries = inOwnLot(true).filter(([step]) => !step.startsWith('setxattr /data trusted.'));
    await refused(t, 'who sees only a lot', (t) => startBwrap(t, program, place(OWN)), tries);
    await refused(t, 'who sees the whole mount', (t) => startBwrap(t, program, m.mnt), wholeMount(true), true);
  });

  await t.test('mounts of its own change nothing', (t) => mounts(t, w, before));
  await t.test('no way out of the grant', (t) => escapes(t, w));
  await t.test('a real .vreserve is a directory of its own where no lot is', async (t) => {
    const steps = await podman.start(t, place('/quarter'));
    await attempt(t, steps, [
      ['mkdir /data/.vreserve', 0],
      ['open f /data/.vreserve/control CREAT|RDWR', 0],
      ['write f x', 1],
      ['close f', 0],
    ]);
    t.match(await m.run(['reserve', place('/quarter'), '60MB']), { code: 1 });
    await attempt(t, steps, [
      ['unlink /data/.vreserve/control', 0],
      ['rmdir /data/.vreserve', 0],
    ]);
  });
  await t.test("a container with the owner's uid", (t) => ownersUid(t, w));

  t.equal(await state(m), before, 'the report of the host is the same as in the beginning');
  await host('check');
});

/** Everything that can be read or asked in a container that sees only its lot. */
async function leaks(t: Test, { m, podman }: World): Promise<void> {
  const steps = await podman.start(t, join(m.mnt, OWN));
  const said: { by: string; text: string }[] = [];
  const hear = async (step: string) => {
    const outcome = await steps.do(step);
    said.push({ by: step, text: JSON.stringify(outcome) });
    return outcome;
  };
  const read = async (name: string) => hear(`text /data/.vreserve/${name}`);

  for (const name of ['report', 'report.json', 'metrics', 'health', 'README', 'ledger']) await read(name);
  t.same(await hear('list /data/.vreserve/lots'), ['%2F directory', '%2Fhosts directory']);
  for (const each of ['%2F', '%2Fhosts']) {
    for (const name of ['policy.json', 'usage.json', 'paths', 'owner', 'parents', 'children']) await read(`lots/${each}/${name}`);
  }
  for (const path of ['/data', '/data/dir/file', '/data/hosts']) {
    for (const name of ['lot', 'used', 'grant', 'reserve', 'owner']) await hear(`getxattr ${path} user.vreserve.${name}`);
    await hear(`listxattr ${path}`);
  }

  const asks = (name: string) =>
    ['exists', 'is-root', 'show', 'owners', 'parents', 'children', 'dirs', 'policy', 'usage'].flatMap((ask) => {
      if (ask === 'exists' || ask === 'is-root') return [`lot ${ask} ${name}`];
      const self = ask === 'parents' || ask === 'children' ? ' --self' : '';
      return [`lot ${ask} ${name}`, `lot ${ask} ${name} --recursive${self}`];
    });
  for (const ask of ['report', 'lot list', 'lot version', ...asks('/'), ...asks('/hosts')]) {
    t.match(await hear(control(ask)), { errno: '' }, ask);
  }
  for (const name of [VICTIM, GUILD, NEIGHBOUR, FOREIGN, PATHLESS, 'default', OWN]) {
    for (const ask of asks(name)) {
      const { errno, reply } = (await hear(control(ask))) as ControlOutcome;
      if (ask.startsWith('lot exists')) t.match(reply, { ok: true, result: false }, ask);
      else t.equal(errno, 'ENOENT', ask);
    }
  }
  for (const past of ['del', 'exp', 'opp', 'obj', 'ded']) await hear(control(`lot past ${past} --recursive`));
  const paths = [
    '/',
    '/hosts',
    '/dir/file',
    '/../victim',
    '/out',
    '/out/secret',
    '/absolute/x',
    VICTIM,
    FOREIGN_PATH,
    's3://none',
  ];
  for (const path of paths) {
    await hear(control(`lot which ${path}`));
    await hear(control(`lot which ${path} --recursive`));
  }
  // Refusals say why, and must not say more.
  const usage = (path: string) => [{ path, size_GB: 1, num_obj: 1, includes_subdirs: false }];
  for (const command of [
    'reserve /dir 9MiB',
    'reserve /dir 57MiB',
    'reserve /hosts 7',
    'extend /hosts 60MiB',
    'release /hosts',
    'check',
    'reclaim --plan',
    'steal everything',
    lot('usage set-by-dir', usage(VICTIM)),
    lot('usage set-by-dir', usage(`${VICTIM}/x`)),
    lot('usage set-by-dir', usage('/quarter/nothing')),
    lot('usage set-by-dir', usage('/dir')),
    lot('usage set-by-dir', usage(FOREIGN_PATH)),
    lot('usage set', { lot_name: '/', self_GB: 1 }),
    lot('remove-paths', { paths: [FOREIGN_PATH] }),
    lot('update', { lot_name: '/hosts', paths: [{ current: FOREIGN_PATH, new: '/dir', recursive: true }] }),
    addLot(fresh(), at(FOREIGN_PATH)),
    addLot(fresh(), at(FOREIGN_PATH, { exclude: true })),
    addLot(PATHLESS),
    addLot(fresh(), { parents: ['/', GUILD], ...at('/dir/n') }),
    addLot(fresh(), { children: ['/hosts'], ...at('/dir/n') }),
    ...changesOf('/', '/dir'),
  ]) {
    await hear(control(command));
  }
  await steps.end();

  const gigabytes = (bytes: number) => String(bytes / 1e9);
  const kinds: Record<string, readonly (string | number)[]> = {
    'names and paths of others': ['victim', 'secret', 'neighbour', 'vacant', PATHLESS, 'bucket', 'chamber', 'vault', '/uids'],
    'owners of others': Object.values(OWNERS),
    'numbers of others': [GUILD_BYTES, VICTIM_BYTES, SECRET_BYTES, NEIGHBOUR_BYTES].flatMap((n) => [n, gigabytes(n)]),
    'what lies above': ['quarter', 'guild'],
    'the places of the host': [m.data, m.mnt],
  };
  for (const [kind, marks] of Object.entries(kinds)) {
    // An attribute is the same for whoever sees the file, so this one has the name that the lot has in the mount.
    const heard = kind === 'what lies above' ? said.filter(({ by }) => !by.endsWith('user.vreserve.lot')) : said;
    const found = heard.flatMap(({ by, text }) =>
      marks
        .filter((mark) => text.includes(String(mark)) && !by.includes(String(mark)))
        .map((mark) => `${by.slice(0, 150)}: ${mark}`),
    );
    t.same(found, [], kind);
  }
}

/** A container that sees only its lot: its report, `df`, attributes and journal are its own. */
async function ownView(t: Test, { m, podman }: World): Promise<void> {
  const free = 7 * MIB - 4;
  const df = await podman.run(join(m.mnt, OWN), 'df -Pk /data | tail -n 1; df -Pi /data | tail -n 1');
  t.match(df, { code: 0, stderr: '' });
  t.match(
    df.stdout,
    / 8192 +1028 +7164 +13% \/data\n.* 1000 +7 +993 +1% \/data\n/,
    'df and df -i: what it holds, and what is promised below',
  );
  const steps = await podman.start(t, join(m.mnt, OWN));
  t.match(await steps.do('statfs /data'), { size: 8 * MIB, free: (free >> 12) << 12 });
  const { lots } = JSON.parse(String(await steps.do('text /data/.vreserve/report.json'))) as { lots: object[] };
  t.match(lots, [
    { name: '/', path: '/', owner: 'root', usedBytes: 4, dedicatedBytes: 8 * MIB, maxObjects: 1000 },
    { name: '/hosts', path: '/hosts', owner: 'root', usedBytes: 0, dedicatedBytes: MIB },
  ]);
  t.equal(lots.length, 2);
  t.match(await steps.do('text /data/.vreserve/report'), /^\/ +4 B +8\.39 MB +0% +7 .*\n\/hosts +0 B +1\.05 MB/m);
  t.equal(await steps.do('text /data/.vreserve/health'), 'ok\n');
  t.equal(await steps.do('text /data/.vreserve/lots/%2F/children'), '/hosts\n');
  t.equal(await steps.do('text /data/.vreserve/lots/%2Fhosts/parents'), '/\n');
  t.equal(await steps.do('text /data/.vreserve/lots/%2F/parents'), '');
  t.match(await steps.do('text /data/.vreserve/metrics'), /vreserve_lot_used_bytes\{lot="\/"\} 4\n/);
  t.equal(await steps.do('getxattr /data user.vreserve.used'), '4');
  t.equal(await steps.do('getxattr /data/dir/file user.vreserve.grant'), String(8 * MIB));
  t.equal(await steps.do('getxattr /data/hosts user.vreserve.grant'), String(MIB));
  t.match(await steps.do('text /data/.vreserve/ledger'), /^\{[^\n]*"event":"grant"[^\n]*"bytes":8388608/);
  for (const [path, name] of [
    ['/dir/file', '/'],
    ['/hosts', '/hosts'],
  ]) {
    t.match(await steps.do(control(`lot which ${path}`)), { reply: { result: [name] } });
  }
  await steps.end();
}

/** Root of a user namespace, and of a mount namespace of its own, on the host. */
async function mounts(t: Test, { m }: World, before: string): Promise<void> {
  const own = join(m.mnt, OWN);
  const victim = join(m.mnt, VICTIM);
  const inNamespace = (script: string) =>
    shell(script, { within: ['unshare', '--user', '--map-root-user', '--mount', '--pid', '--fork', '--mount-proc'] });
  const cases: [what: string, script: string, stdout: RegExp][] = [
    [
      "another's lot bound over its own",
      `mount --bind ${victim} ${own}; setfattr -n user.vreserve.reserve -v 9M ${own} || echo no
       setfattr -x user.vreserve.reserve ${own} || echo no; getfattr --only-values -n user.vreserve.used ${own}`,
      new RegExp(`^no\nno\n${SECRET_BYTES}$`),
    ],
    [
      'its own lot bound over another',
      `mount --bind ${own} ${victim}; (echo 'extend /hosts 1' > ${victim}/.vreserve/control) 2>&1 | grep -o 'Permission denied'
       (echo 'release /' > ${victim}/.vreserve/control) 2>&1 | grep -o 'Invalid argument'`,
      /^Permission denied\nInvalid argument\n$/,
    ],
    [
      "a lot's control bound over the mount's",
      `mount --bind ${own}/.vreserve/control ${m.mnt}/.vreserve/control 2>/dev/null || echo cannot
       (echo 'release ${VICTIM}' > ${m.mnt}/.vreserve/control) 2>&1 | grep -o 'Permission denied' || echo done`,
      /^(cannot\nPermission denied|done|Permission denied)\n$/,
    ],
    [
      "a tmpfs over its lot is not the mount's",
      `mount -t tmpfs none ${own}; head -c 20000000 /dev/zero > ${own}/f; stat -c %s ${own}/f`,
      /^20000000\n$/,
    ],
  ];
  for (const [what, script, stdout] of cases) t.match(await inNamespace(script), { stdout }, what);
  t.equal(await state(m), before, 'the report of the host is the same');
}

/** What root of a container might do to hold more than the grant of its lot, and where it then writes. */
const ESCAPES: readonly { what: string; at: string; commands: string[] }[] = [
  { what: 'a lot below that is no child', at: 'open/esc', commands: [addLot('esc', at('/open/esc'))] },
  {
    what: 'a lot below that is no child, in JSON',
    at: 'open/esc',
    commands: [
      JSON.stringify({
        cmd: 'lot',
        name: 'add',
        json: { lot_name: 'esc', owner: 'root', parents: ['esc'], management_policy_attrs: POLICY, ...at('/open/esc') },
      }),
    ],
  },
  { what: 'a child by lot add', at: 'open/esc', commands: [addLot('esc', { parents: ['/'], ...at('/open/esc') })] },
  {
    what: "a lot with another lot's name",
    at: 'open/esc',
    commands: [addLot('/quarter/squat', at('/open/esc'))],
  },
  {
    what: 'a lot that leaves its parent',
    at: 'open/esc',
    commands: [
      'reserve /open/esc 1000',
      lot('remove-parents', { lot_name: '/open/esc', parents: ['/'] }),
      'reserve /open/esc 20MiB',
      lot('update', { lot_name: '/open/esc', management_policy_attrs: { opportunistic_GB: 1 } }),
    ],
  },
  {
    what: 'a lot that is its own parent in place of the lot above',
    at: 'open/esc',
    commands: [
      'reserve /open/esc 1000',
      lot('update', { lot_name: '/open/esc', parents: [{ current: '/', new: '/open/esc' }] }),
      lot('update', { lot_name: '/open/esc', management_policy_attrs: { opportunistic_GB: 1 } }),
    ],
  },
  {
    what: 'a foreign lot that takes a path',
    at: 'open/esc',
    commands: [addLot('esc', at('s3://mine')), lot('add-to', { lot_name: 'esc', ...at('/open/esc') })],
  },
  {
    what: 'a path that is turned from a foreign one',
    at: 'open/esc',
    commands: [
      addLot('esc', at('s3://mine')),
      lot('update', { lot_name: 'esc', paths: [{ current: 's3://mine', new: '/open/esc', recursive: true }] }),
    ],
  },
  {
    what: 'an exclusion',
    at: 'open/esc/deep',
    commands: ['reserve /open/esc 1000', lot('add-to', { lot_name: '/open/esc', ...at('/open/esc/deep', { exclude: true }) })],
  },
  {
    what: 'a grant without limit',
    at: 'open/esc',
    commands: ['reserve /open/esc 1000 --opportunistic unlimited'],
  },
];

/** After each, the container writes all it can: what its lot and all below hold must not be more than its grant. */
async function escapes(t: Test, { m, podman, host }: World): Promise<void> {
  const before = await state(m);
  const known = new Set((await report(m.mnt)).lots.map(({ name }) => name));
  for (const user of ['0', '2000001111:2000001111']) {
    const steps = await podman.start(t, join(m.mnt, OWN), user);
    for (const { what, at, commands } of ESCAPES) {
      const said: string[] = [];
      for (const command of commands) said.push(String(endOf(await steps.do(control(command)))));
      await attempt(t, steps, [
        ...at.split('/').flatMap((_, i, all): Try[] => (i === 0 ? [] : [[`mkdir /data/${all.slice(0, i + 1).join('/')}`, 0]])),
        [`open f /data/${at}/f CREAT|WRONLY`, 0],
      ]);
      await steps.do('fill f 12000000 0');
      const held = await bytesIn(join(m.data, OWN));
      t.ok(held <= 8 * MIB, `${what} (${said.join(' ') || 'done'}): ${held} bytes held`);
      const { lots } = JSON.parse(String(await steps.do('text /data/.vreserve/report.json'))) as { lots: { name: string }[] };
      const all = (await report(m.mnt)).lots;
      const made = all.filter(({ name }) => !known.has(name));
      t.equal(made.length, lots.length - 2, `${what}: it sees every lot that it has made`);
      t.ok((all.find(({ name }) => name === OWN)?.usedBytes ?? 0) === held, `${what}: all of it is charged to its lot`);
      const outside = (name: string) => name.startsWith('/') && !name.startsWith(`${OWN}/`);
      t.same(made.map(({ name }) => name).filter(outside), [], `${what}: no name that is another path's`);
      await steps.do('close f');
      await steps.do(`unlink /data/${at}/f`);
      for (const { name } of made) await host(`lot remove ${name} --assign-to-orphans`);
      for (let path = at; path !== 'open'; path = dirname(path)) await steps.do(`rmdir /data/${path}`);
      t.equal(await state(m), before, `${what}: the report of the host is the same`);
    }
    await steps.end();
  }
}

/** A container with the uid of its lot's owner: it owns the lot, and what it may do is said here. */
async function ownersUid(t: Test, { m, podman, host }: World): Promise<void> {
  const before = await state(m);
  const lots = async () =>
    Object.fromEntries(
      (await report(m.mnt)).lots.filter(({ name }) => name.startsWith(UIDS)).map((lot) => [lot.name, lot.dedicatedBytes]),
    );
  const steps = await podman.start(t, join(m.mnt, UIDS), `${USER}:${USER}`);
  await attempt(t, steps, [
    // Through its own .vreserve not the lot itself, as everybody.
    ...commands('EINVAL', ['reserve / 3MiB', 'extend / 1', 'release /', lot('remove-paths', { paths: ['/'] })]),
    ...commands('EACCES', [...changesOf('/', '/below'), ...ADMINISTRATION]),
    ...commands(
      'ENOENT',
      [VICTIM, GUILD, PATHLESS, 'default'].flatMap((name) => changesOf(name, '/below')),
    ),
    // Below it: by control and by the attribute.
    ...commands('', ['reserve /below 1MiB', 'extend /below 1000']),
    ['setxattr /data/below user.vreserve.reserve 1500000', 0],
  ]);
  t.same(await lots(), { [UIDS]: 2 * MIB, [`${UIDS}/below`]: 1_500_000 });
  await attempt(t, steps, [
    ...commands('ENOSPC', ['reserve /below 3MiB']),
    ['setxattr /data/below user.vreserve.reserve 3M', 'ENOSPC'],
    // What is below stays below.
    ...commands('EACCES', [
      lot('remove-parents', { lot_name: '/below', parents: ['/'] }),
      lot('update', { lot_name: '/below', parents: [{ current: '/', new: '/below' }] }),
    ]),
    ...commands('', [lot('update', { lot_name: '/below', management_policy_attrs: { max_num_objects: 9 } })]),
    ['removexattr /data/below user.vreserve.reserve', 0],
    // The attribute on the directory of the lot is no command through its .vreserve: there its owner is its owner.
    ['setxattr /data user.vreserve.reserve 1M', 0],
  ]);
  t.same(await lots(), { [UIDS]: 1_000_000 });
  await host(`reserve ${UIDS} 2MiB`);
  await steps.end();

  const root = await podman.start(t, join(m.mnt, UIDS));
  await attempt(t, root, [
    ['setxattr /data user.vreserve.reserve 3M', 'EACCES'],
    ['removexattr /data user.vreserve.reserve', 'EACCES'],
    // Root of a container without a user namespace may take any uid: then it is that user.
    [`become ${USER} ${USER}`, 0],
    ['setxattr /data user.vreserve.reserve 1M', 0],
  ]);
  await root.end();
  await host(`reserve ${UIDS} 2MiB`);
  t.equal(await state(m), before, 'the report of the host is the same');
}
