// Who may do what to which lot: its owner, owners above and below it, strangers, root with and without CAP_SYS_ADMIN in the daemon's user
// namespace, the daemon's own user. The rules are in DESIGN "Who may do what"; each row of the tables is one command of one caller.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { NOBODY, whyNotRoot } from '../helpers/columns.js';
import { type ControlOutcome, type Outcome, type Steps, startSteps } from '../helpers/fsop.js';
import { report } from '../helpers/lots.js';
import { type Mounted, mount, temporaryDirectory } from '../helpers/mount.js';
import { MAIN, must, type RunOptions, run } from '../helpers/run.js';

const NEVER_MS = 9e15;
const POLICY = {
  dedicated_GB: 0,
  opportunistic_GB: 0.001,
  max_num_objects: 1000,
  creation_time: 1,
  expiration_time: NEVER_MS,
  deletion_time: NEVER_MS,
};

const lot = (name: string, json: object) => `lot ${name} ${JSON.stringify(json)}`;
const addLot = (name: string, owner: number | string, parents: readonly string[], more: object = {}) =>
  lot('add', { lot_name: name, owner: String(owner), parents, management_policy_attrs: POLICY, ...more });
const at = (path: string, more: object = {}) => ({ paths: [{ path, recursive: true, ...more }] });

const user = (uid: number): RunOptions => ({ uid, gid: uid });

/** Root without the right that makes it an administrator; it may still write everywhere, as root of a container. */
const NO_ADMIN: RunOptions = { within: ['setpriv', '--bounding-set=-sys_admin', '--inh-caps=-all'] };
const NO_CAPABILITIES: RunOptions = { within: ['setpriv', '--bounding-set=-all', '--inh-caps=-all'] };
/** Root of a user namespace has all capabilities, but not in the daemon's. */
const USER_NAMESPACE: RunOptions = { within: ['unshare', '--user', '--map-root-user'] };
const NOT_MAPPED: RunOptions = { within: ['unshare', '--user'] };

/** Commands of several callers on one mount. */
class Callers {
  readonly #t: Test;
  readonly #steps = new Map<string, Steps>();
  readonly m: Mounted;

  constructor(t: Test, m: Mounted) {
    this.#t = t;
    this.m = m;
  }

  async of(who: RunOptions): Promise<Steps> {
    const key = JSON.stringify(who);
    const known = this.#steps.get(key);
    if (known !== undefined) return known;
    const steps = await startSteps(this.#t, '/', who);
    this.#steps.set(key, steps);
    return steps;
  }

  /** '' or the errno. `directory`: whose `.vreserve`. */
  async control(who: RunOptions, command: string, directory = ''): Promise<string> {
    const outcome = await (await this.of(who)).do(`control ${this.m.mnt}${directory}/.vreserve/control ${command}`);
    return typeof outcome === 'object' ? (outcome as ControlOutcome).errno : String(outcome);
  }

  /** A step, in which `@` is the mountpoint. */
  async do(who: RunOptions, step: string): Promise<Outcome> {
    return (await this.of(who)).do(step.replaceAll('@', this.m.mnt));
  }

  /** As the administrator; throws where a command is refused. */
  async must(...commands: string[]): Promise<void> {
    for (const command of commands) {
      const errno = await this.control({}, command);
      if (errno !== '') throw new Error(`${command}: ${errno}`);
    }
  }

  /** Rows of who, what and how it ends: commands, or steps where they have an `@`. */
  async table(
    t: Test,
    rows: readonly (readonly [who: RunOptions, what: string, end: Outcome, directory?: string])[],
  ): Promise<void> {
    for (const [who, what, end, directory] of rows) {
      const got = what.includes('@') ? await this.do(who, what) : await this.control(who, what, directory);
      t.same(got, end, `${nameOf(who)}: ${what}${directory === undefined ? '' : ` in ${directory}`}`);
    }
  }
}

const nameOf = ({ uid, within }: RunOptions) => (uid === undefined ? (within?.join(' ') ?? 'administrator') : `user ${uid}`);

const [GRAND, PARENT, OWNER, CHILD, STRANGER] = [3001, 3002, 3003, 3004, 3005].map(user) as [
  RunOptions,
  RunOptions,
  RunOptions,
  RunOptions,
  RunOptions,
];
const ADMIN: RunOptions = {};
const EVERYBODY = [ADMIN, GRAND, PARENT, OWNER, CHILD, STRANGER, NO_ADMIN, USER_NAMESPACE, NOT_MAPPED];
const ABOVE: readonly RunOptions[] = [ADMIN, GRAND, PARENT];

/** `self` is a parent of its own, `kept` is not; the owner of both is the same. */
const FAMILY = [
  addLot('grand', 3001, ['grand']),
  addLot('parent', 3002, ['grand']),
  addLot('self', 3003, ['self', 'parent'], at('/free/self')),
  addLot('kept', 3003, ['parent'], at('/free/kept')),
  addLot('kid', 3004, ['self', 'kept']),
  addLot('tally-self', 3003, ['tally-self', 'parent'], at('s3://self')),
  addLot('tally-kept', 3003, ['parent'], at('s3://kept')),
];
const NAMES = ['over', 'under', 'within', 'tally-self', 'tally-kept', 'kid', 'kept', 'self', 'parent', 'grand'];

interface Deed {
  what: string;
  command: (target: string) => string;
  /** Who may; by default who may change the lot: those above it, and its owner where it is a parent of its own. */
  may?: (target: string) => readonly RunOptions[];
  /** How it ends for who may. */
  end?: (target: string) => Outcome;
}

const changers = (target: string) => (target === 'self' ? [...ABOVE, OWNER] : ABOVE);

const DEEDS: readonly Deed[] = [
  { what: 'owner', command: (target) => lot('update', { lot_name: target, owner: '3003' }) },
  { what: 'another owner', command: (target) => lot('update', { lot_name: target, owner: '3005' }) },
  { what: 'objects', command: (target) => lot('update', { lot_name: target, management_policy_attrs: { max_num_objects: 5 } }) },
  { what: 'grant', command: (target) => lot('update', { lot_name: target, management_policy_attrs: { dedicated_GB: 0.001 } }) },
  { what: 'end', command: (target) => lot('update', { lot_name: target, management_policy_attrs: { deletion_time: 5 } }) },
  {
    what: 'properties of a path',
    command: (target) =>
      lot('update', { lot_name: target, paths: [{ current: `/free/${target}`, new: `/free/${target}`, recursive: false }] }),
  },
  {
    what: 'another path in place of one',
    command: (target) =>
      lot('update', { lot_name: target, paths: [{ current: `/free/${target}`, new: `/free/${target}2`, recursive: true }] }),
  },
  { what: 'another path', command: (target) => lot('add-to', { lot_name: target, ...at(`/free/${target}2`) }) },
  {
    what: 'an exclusion',
    command: (target) => lot('add-to', { lot_name: target, ...at(`/free/${target}/ex`, { exclude: true }) }),
  },
  { what: 'a path less', command: (target) => lot('remove-paths', { paths: [`/free/${target}`] }) },
  { what: 'reserve', command: (target) => `reserve /free/${target} 1000` },
  { what: 'reserve for another', command: (target) => `reserve /free/${target} 1000 --owner 3005` },
  { what: 'extend', command: (target) => `extend /free/${target} 1` },
  { what: 'release', command: (target) => `release /free/${target}`, end: () => 'EOPNOTSUPP' },
  { what: 'attribute', command: (target) => `setxattr @/free/${target} user.vreserve.reserve 1000`, end: () => 0 },
  { what: 'measured usage', command: (target) => lot('usage set', { lot_name: target, self_GB: 0 }), end: () => 'EINVAL' },
  { what: 'reported usage', command: (target) => lot('usage set', { lot_name: `tally-${target}`, self_GB: 0.0005 }) },
  {
    what: 'reported difference',
    command: (target) => `lot usage set --delta ${JSON.stringify({ lot_name: `tally-${target}`, self_GB: 0 })}`,
  },
  {
    what: 'usage by directory',
    command: (target) => lot('usage set-by-dir', [{ path: `s3://${target}`, size_GB: 0.0001, includes_subdirs: false }]),
  },
  { what: 'remove', command: (target) => `lot remove ${target}` },
  { what: 'remove with all below', command: (target) => `lot remove ${target} --recursive` },
  // The lot that is left is asked, too: its promise covers it.
  {
    what: 'a parent less',
    command: (target) => lot('remove-parents', { lot_name: target, parents: ['parent'] }),
    may: () => ABOVE,
    end: (target) => (target === 'self' ? '' : 'EBUSY'),
  },
  {
    what: 'itself in place of a parent',
    command: (target) => lot('update', { lot_name: target, parents: [{ current: 'parent', new: target }] }),
    may: () => ABOVE,
  },
  {
    what: "a parent that is not the caller's",
    command: (target) => lot('add-to', { lot_name: target, parents: ['strange'] }),
    may: () => [ADMIN],
  },
  {
    what: 'as the child of a new lot',
    command: (target) => addLot('over', 3005, ['over'], { children: [target], ...at('/free/over') }),
  },
  // Whoever owns a lot, or one above it, may put others below it.
  {
    what: 'as the parent of a new lot',
    command: (target) => addLot('under', 3005, [target], at('/free/under')),
    may: () => [...ABOVE, OWNER],
  },
  // Where the path lies in it this is what `reserve` does: who may write there may.
  {
    what: 'as the parent of a new lot in its path',
    command: (target) => addLot('within', 3005, [target], at(`/free/${target}/in`)),
    may: () => EVERYBODY,
  },
];

async function whoChanges(t: Test, c: Callers): Promise<void> {
  await c.must(addLot('strange', 3005, ['strange']));
  let isBuilt = false;
  for (const { what, command, may = changers, end = () => '' } of DEEDS) {
    await t.test(what, async (t) => {
      for (const target of ['self', 'kept']) {
        for (const who of EVERYBODY) {
          if (!isBuilt) {
            for (const name of NAMES) await c.control(ADMIN, `lot remove ${name} --recursive`);
            await c.must(...FAMILY);
          }
          const allowed = may(target).includes(who);
          const before = allowed ? '' : JSON.stringify((await report(c.m.mnt)).lots);
          await c.table(t, [[who, command(target), allowed ? end(target) : 'EACCES']]);
          isBuilt = !allowed;
          if (!allowed) t.equal(JSON.stringify((await report(c.m.mnt)).lots), before, 'and nothing is changed');
        }
      }
    });
  }
  for (const name of [...NAMES, 'strange']) await c.control(ADMIN, `lot remove ${name} --recursive`);
}

/** What only administrators may. */
async function administration(t: Test, c: Callers): Promise<void> {
  for (const command of [
    'check',
    'check --repair',
    'reclaim --plan',
    'reclaim --apply',
    lot('update', { lot_name: 'default', owner: '3005' }),
    lot('update', { lot_name: 'default', management_policy_attrs: { opportunistic_GB: 1 } }),
    lot('add-to', { lot_name: 'default', ...at('/free/default') }),
    lot('add-to', { lot_name: 'default', ...at('/free/default', { exclude: true }) }),
    addLot('under', 3005, ['default'], at('/closed/under')),
    addLot('over', 3005, ['over'], { children: ['default'] }),
    addLot('loose', 3005, ['loose']),
    addLot('loose', 3005, ['loose'], at('s3://loose')),
  ]) {
    for (const who of EVERYBODY.slice(1)) {
      // Root that is no administrator may write to these directories as anybody may to theirs.
      const mayWrite = /"loose"|"under"/.test(command) && (who === NO_ADMIN || who === USER_NAMESPACE || who === NOT_MAPPED);
      if (!mayWrite) await c.table(t, [[who, command, 'EACCES']]);
    }
  }
  await c.table(t, [
    [STRANGER, 'lot remove default', 'EACCES'],
    [ADMIN, 'lot remove default', 'EPERM'],
    [ADMIN, 'check', ''],
    [ADMIN, 'reclaim --plan', ''],
    [ADMIN, 'reclaim --apply', ''],
  ]);
}

/** Who may reserve, or bind by `lot add`, where. */
async function whoReserves(t: Test, c: Callers): Promise<void> {
  const { m } = c;
  await must(
    m.shell(`
      mkdir -p theirs/deep sticky/mine free/others group closed/dir acl
      chown 3004:3004 theirs theirs/deep free/others; chown 3005:3005 sticky/mine; chown 3004 sticky; chmod 1777 sticky; chmod 700 closed/dir
      chgrp 3005 group; chmod 775 group; echo secret > closed/dir/file; chmod 711 closed`),
  );
  await c.table(t, [[ADMIN, 'setacl @/acl access u:0:7 U:3005:7 g:0:5 m:0:7 o:0:0', 0]]);
  const places: [path: string, may: readonly RunOptions[]][] = [
    ['/free/x', EVERYBODY],
    ['/free/not/there/yet', EVERYBODY],
    ['/theirs/x', [ADMIN, CHILD, NO_ADMIN]],
    ['/theirs/deep', [ADMIN, CHILD, NO_ADMIN]],
    ['/theirs/deep/x', [ADMIN, CHILD, NO_ADMIN]],
    ['/acl/x', [ADMIN, STRANGER, NO_ADMIN, USER_NAMESPACE, NOT_MAPPED, NO_CAPABILITIES]],
    ['/group/x', [ADMIN, STRANGER, NO_ADMIN, USER_NAMESPACE, NOT_MAPPED, NO_CAPABILITIES]],
    ['/x', [ADMIN, NO_ADMIN, USER_NAMESPACE, NOT_MAPPED, NO_CAPABILITIES]],
    ['/closed/dir/x', [ADMIN, NO_ADMIN, USER_NAMESPACE, NOT_MAPPED, NO_CAPABILITIES]],
    // In a sticky directory only its owner, of what is below it whoever may write there.
    ['/sticky/x', [ADMIN, CHILD]],
    ['/sticky/mine', [ADMIN, CHILD]],
    // Of what is there already it is not enough to write to the directory around.
    ['/free/others', [ADMIN, CHILD, NO_ADMIN]],
    ['/sticky/mine/x', [ADMIN, STRANGER, NO_ADMIN]],
    ['/sticky/not/there', [ADMIN, CHILD]],
  ];
  for (const [path, may] of places) {
    for (const who of [...EVERYBODY, NO_CAPABILITIES]) {
      const allowed = may.includes(who) || (who === NO_CAPABILITIES && may === EVERYBODY);
      const end = allowed ? '' : 'EACCES';
      await c.table(t, [
        [who, `reserve ${path} 1000`, end],
        ...(allowed ? ([[who, `release ${path}`, '']] as const) : []),
        [who, addLot('bound', 3005, ['bound'], at(path)), end],
        ...(allowed ? ([[ADMIN, 'lot remove bound', '']] as const) : []),
      ]);
    }
  }
  await t.test('by the functions that bind a path', async (t) => {
    await c.must(addLot('own', 3005, ['own'], at('/free/own')), addLot('away', 3005, ['away'], at('s3://away')));
    for (const path of ['/closed/new', '/closed/dir', '/theirs/x', '/sticky/x', '/x']) {
      await c.table(t, [
        [STRANGER, lot('add-to', { lot_name: 'own', ...at(path) }), 'EACCES'],
        [STRANGER, lot('add-to', { lot_name: 'own', paths: [{ path, recursive: false }] }), 'EACCES'],
        [STRANGER, lot('update', { lot_name: 'own', paths: [{ current: '/free/own', new: path, recursive: true }] }), 'EACCES'],
        [STRANGER, lot('update', { lot_name: 'away', paths: [{ current: 's3://away', new: path, recursive: true }] }), 'EACCES'],
      ]);
    }
    for (const path of ['/closed/dir', '/free', '/free/elsewhere']) {
      const both = { paths: [...at('/free/both').paths, ...at(path, { exclude: true }).paths] };
      t.match(await c.control(STRANGER, addLot('both', 3005, ['both'], both)), /^(EACCES|EINVAL)$/, `${path}, with lot add`);
      for (const name of ['own', 'away']) {
        const end = await c.control(STRANGER, lot('add-to', { lot_name: name, ...at(path, { exclude: true }) }));
        t.match(end, /^(EACCES|EINVAL)$/, `an exclusion of ${path} that is in no path of '${name}'`);
      }
    }
    await c.table(t, [
      [STRANGER, lot('add-to', { lot_name: 'own', ...at('/free/own/ex', { exclude: true }) }), ''],
      [ADMIN, 'reserve /closed/dir 1000', ''],
      [ADMIN, 'release /closed/dir', ''],
      [ADMIN, 'rename @/closed/dir @/closed/moved', 0],
      [ADMIN, 'rename @/closed/moved @/closed/dir', 0],
      [ADMIN, 'lot remove own', ''],
      [ADMIN, 'lot remove away', ''],
    ]);
  });
  await t.test('nothing is told of what a caller may not see', async (t) => {
    for (const command of [
      (path: string) => `lot which ${path}`,
      (path: string) => `reserve ${path} 1`,
      (path: string) => `release ${path}`,
    ]) {
      const [there, not] = [command('/closed/dir/file/x'), command('/closed/dir/none/x')];
      t.equal(await c.control(STRANGER, there), await c.control(STRANGER, not), `${there}, and where there is no such file`);
    }
  });
}

/** To whom lots are given, and who may change them then. */
async function giving(t: Test, c: Callers): Promise<void> {
  const nobody = user(NOBODY);
  const owner = async (path: string) => (await report(c.m.mnt)).lots.find((each) => each.path === path)?.owner;
  await c.table(t, [
    [STRANGER, 'reserve /free/a 1000 --owner nobody', ''],
    [STRANGER, 'extend /free/a 1', 'EACCES'],
    [STRANGER, 'release /free/a', 'EACCES'],
    [nobody, 'extend /free/a 1', ''],
    [nobody, 'reserve /free/a 1000 --owner 3005', ''],
    [nobody, 'release /free/a', 'EACCES'],
    [STRANGER, 'release /free/a', ''],
    [STRANGER, `{"cmd":"reserve","path":"/free/a","bytes":1000,"owner":"3004"}`, ''],
    [CHILD, 'extend /free/a 1', ''],
    [CHILD, lot('update', { lot_name: '/free/a', owner: 'nobody' }), ''],
    [CHILD, lot('update', { lot_name: '/free/a', owner: '3004' }), 'EACCES'],
    [nobody, 'release /free/a', ''],
    [STRANGER, 'reserve /free/a 1000 --owner', 'EINVAL'],
    [STRANGER, '{"cmd":"reserve","path":"/free/a","bytes":1000,"owner":""}', 'EINVAL'],
    [STRANGER, '{"cmd":"reserve","path":"/free/a","bytes":1000,"owner":0}', 'EINVAL'],
  ]);

  // A name that nobody has: the lot is nobody's until somebody is called so.
  await c.table(t, [[STRANGER, 'reserve /free/ghost 1000 --owner vreserve-ghost', '']]);
  t.equal(await owner('/free/ghost'), 'vreserve-ghost');
  for (const who of EVERYBODY.slice(1)) await c.table(t, [[who, 'extend /free/ghost 1', 'EACCES']]);
  await c.table(t, [[ADMIN, 'release /free/ghost', '']]);
  for (const name of ['00', '03005', '+3005', ' 3005', '3005 ', '0x0', 'ROOT']) {
    const made = await c.control(CHILD, JSON.stringify({ cmd: 'reserve', path: '/free/odd', bytes: 1000, owner: name }));
    if (made !== '') t.equal(made, 'EINVAL', `'${name}' is refused`);
    for (const who of [STRANGER, NO_ADMIN, USER_NAMESPACE]) {
      if (made === '') await c.table(t, [[who, 'extend /free/odd 1', 'EACCES']]);
    }
    await c.control(ADMIN, 'release /free/odd');
  }

  // Root that is no administrator is another one than host's root, whatever it is called.
  for (const who of [NO_ADMIN, USER_NAMESPACE, NOT_MAPPED]) {
    for (const name of ['root', '0']) {
      await c.table(t, [
        [who, `reserve /free/r 1000 --owner ${name}`, ''],
        [who, 'extend /free/r 1', ''],
        [STRANGER, 'release /free/r', 'EACCES'],
        [who, 'release /free/r', ''],
        [ADMIN, 'reserve /free/r 1000', ''],
        [who, 'extend /free/r 1', 'EACCES'],
        [who, 'release /free/r', 'EACCES'],
        [ADMIN, `reserve /free/r 1000 --owner ${name}`, ''],
        [who, 'release /free/r', 'EACCES'],
        [ADMIN, 'release /free/r', ''],
        [STRANGER, `reserve /free/r 1000 --owner ${name}`, ''],
        [who, 'release /free/r', 'EACCES'],
        [STRANGER, 'release /free/r', 'EACCES'],
        [ADMIN, 'release /free/r', ''],
      ]);
    }
  }
}

/** Who asks is who the kernel says that opened `control`, in whatever namespace. */
async function whoAsks(t: Test, c: Callers): Promise<void> {
  const becomes = (uid: number): RunOptions => ({ within: ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups'] });
  const inNamespace = (uid: number): RunOptions => ({
    within: [...(becomes(uid).within ?? []), 'unshare', '--user', '--map-root-user', '--pid', '--fork'],
  });
  // Root of a user namespace that an ordinary user has made is that user.
  await c.table(t, [
    [inNamespace(3005), 'reserve /free/a 1000', ''],
    [CHILD, 'extend /free/a 1', 'EACCES'],
    [inNamespace(3004), 'extend /free/a 1', 'EACCES'],
    [USER_NAMESPACE, 'extend /free/a 1', 'EACCES'],
    [STRANGER, 'extend /free/a 1', ''],
    [inNamespace(3005), 'reserve /x 1000', 'EACCES'],
    [inNamespace(3005), 'reserve /theirs/x 1000', 'EACCES'],
    [inNamespace(3005), 'check', 'EACCES'],
    [inNamespace(3005), 'release /free/a', ''],
  ]);
  // A descriptor is a right, as everywhere: it keeps that of who opened it, and gives no other.
  await c.must('reserve /free/a 1000');
  const opener = await startSteps(t, '/');
  const extend = '{"cmd":"extend","path":"/free/a","bytes":1}';
  t.same(await opener.all([`open c ${c.m.mnt}/.vreserve/control RDWR`, 'become 3005 3005']), [0, 0]);
  t.equal(await opener.do(`write c ${extend}`), extend.length);
  t.equal(await opener.do('close c'), 0);
  t.same(await opener.all([`open c ${c.m.mnt}/.vreserve/control RDWR`, `write c ${extend}`]), [0, extend.length]);
  t.equal(await opener.do('close c'), 'EACCES');
  await opener.end();
  await c.must('release /free/a');
}

/** Files that reclaiming would delete, if it were for all of them. */
async function reclaimable(c: Callers): Promise<{ path: string; lot: string }[]> {
  const { reply } = (await c.do(ADMIN, 'control @/.vreserve/control reclaim --plan --low-watermark 0%')) as ControlOutcome;
  return (reply?.list ?? []) as { path: string; lot: string }[];
}

/** Ways round a lot's rights that are no change of the lot itself. */
async function roundabout(t: Test, c: Callers): Promise<void> {
  const names = async () => (await report(c.m.mnt)).lots.map(({ name }) => name);
  await must(
    c.m.shell(
      'mkdir -p around victim; chmod 777 around; mkdir free/k1 free/k2 two two/inner; chown 3005 free/k1; chown -R 3003 two',
    ),
  );

  await t.test('out from below the lot that a path lies in', async (t) => {
    await c.must('reserve /around 1MB');
    await c.table(t, [
      [STRANGER, 'reserve /around/x 1000', ''],
      [STRANGER, lot('remove-parents', { lot_name: '/around/x', parents: ['/around'] }), 'EACCES'],
      [STRANGER, lot('update', { lot_name: '/around/x', parents: [{ current: '/around', new: '/around/x' }] }), 'EACCES'],
      [STRANGER, 'reserve /around/x 2MB', 'ENOSPC'],
      [STRANGER, addLot('out', 3005, ['out'], at('/around/y')), 'EACCES'],
      [STRANGER, addLot('out', 3005, ['out'], at('/free/out')), ''],
      [STRANGER, lot('add-to', { lot_name: 'out', ...at('/around/y') }), 'EACCES'],
      [
        STRANGER,
        lot('update', { lot_name: 'out', paths: [{ current: '/free/out', new: '/around/y', recursive: true }] }),
        'EACCES',
      ],
      [
        STRANGER,
        lot('update', { lot_name: '/around/x', paths: [{ current: '/around/x', new: '/free/x', recursive: true }] }),
        'EINVAL',
      ],
      [ADMIN, 'lot remove /around/x', ''],
      [STRANGER, 'lot remove out', ''],
      [ADMIN, 'release /around', ''],
    ]);
  });
  await t.test("a lot's name cannot be that of another path", async (t) => {
    t.match(await c.control(STRANGER, addLot('/victim', 3005, ['/victim'], at('/free/squat'))), /^E/);
    t.match(await c.control(STRANGER, addLot('/free/name', 3005, ['/free/name'], at('s3://squat'))), /^E/);
    await c.table(t, [
      [ADMIN, 'reserve /victim 1000', ''],
      [ADMIN, 'release /victim', ''],
    ]);
  });
  await t.test('a symlink in the place of a bound path', async (t) => {
    for (const target of ['k2', '../victim', '/etc']) {
      await c.must('reserve /free/k1 1000 --owner 3005', 'reserve /free/k2 1000');
      await c.table(t, [
        [STRANGER, 'rmdir @/free/k1', 0],
        [STRANGER, `symlink ${target} @/free/k1`, 0],
        [ADMIN, 'reserve /free/k1 2000', ''],
        [ADMIN, 'extend /free/k1 500', ''],
      ]);
      const granted = (await report(c.m.mnt)).lots.map(({ name, dedicatedBytes }) => `${name} ${dedicatedBytes}`);
      t.ok(granted.includes('/free/k1 2500'), `${target}: the lot of the path that was named`);
      t.ok(granted.includes('/free/k2 1000'), `${target}: and not the one that the link leads to`);
      await c.table(t, [[ADMIN, 'release /free/k1', '']]);
      t.ok((await names()).includes('/free/k2'));
      t.notOk((await names()).includes('/free/k1'));
      for (const name of ['/free/k1', '/free/k2']) await c.control(ADMIN, `lot remove ${name}`);
      await c.table(t, [
        [STRANGER, 'unlink @/free/k1', 0],
        [STRANGER, 'mkdir @/free/k1', 0],
      ]);
    }
  });
  await t.test('a directory that is gone', async (t) => {
    const before = await names();
    await c.table(t, [
      [STRANGER, 'mkdir @/free/k1/dead', 0],
      [STRANGER, 'chdir @/free/k1/dead', 0],
      [STRANGER, 'rmdir @/free/k1/dead', 0],
    ]);
    const here = await c.of(STRANGER);
    t.match(await here.do('setxattr . user.vreserve.reserve 1000'), /^(ENOENT|ESTALE)$/);
    await c.table(t, [[STRANGER, 'mkdir @/free/k1/dead', 0]]);
    t.match(await here.do('setxattr . user.vreserve.reserve 1000'), /^(ENOENT|ESTALE)$/, 'and another has its name');
    await c.table(t, [[STRANGER, 'open f @/free/k1/file CREAT|RDWR', 0]]);
    await c.table(t, [[STRANGER, 'unlink @/free/k1/file', 0]]);
    t.match(
      await here.do('setxattr /proc/self/fd/3 user.vreserve.reserve 1000'),
      /^(ENOENT|ESTALE|EBADF)$/,
      'a file that is gone',
    );
    t.same(await names(), before);
    t.same(await here.all(['close f', 'chdir /']), [0, 0]);
  });
  await t.test('what somebody reports deletes nothing, and shows in nothing that is measured', async (t) => {
    await must(c.m.shell('mkdir -p sum/open; chmod 777 sum/open; head -c 400000 /dev/zero > sum/kept'));
    await c.must('reserve /sum 800000 --objects 10');
    const before = JSON.stringify((await report(c.m.mnt)).lots.find(({ name }) => name === '/sum'));
    // Each may be refused.
    await c.control(STRANGER, 'reserve /sum/open/x 0');
    await c.control(
      STRANGER,
      lot('update', { lot_name: '/sum/open/x', paths: [{ current: '/sum/open/x', new: 's3://x', recursive: true }] }),
    );
    await c.control(STRANGER, lot('usage set', { lot_name: '/sum/open/x', self_GB: 1000, self_objects: 1000 }));
    await c.control(STRANGER, addLot('far', 3005, ['/sum'], at('s3://far')));
    await c.control(STRANGER, lot('usage set', { lot_name: 'far', self_GB: 1000, self_objects: 1000 }));
    await c.control(STRANGER, lot('usage set-by-dir', [{ path: 's3://x', size_GB: 1000, includes_subdirs: false }]));
    t.equal(JSON.stringify((await report(c.m.mnt)).lots.find(({ name }) => name === '/sum')), before);
    const list = (await reclaimable(c)).map(({ path }) => path);
    t.notOk(list.includes('/sum/kept'), 'a file within what was promised to its lot');
    for (const name of ['far', '/sum/open/x', '/sum']) await c.control(ADMIN, `lot remove ${name} --recursive`);
    await c.table(t, [
      [ADMIN, 'reserve /sum/open/x 1000', ''],
      [ADMIN, 'release /sum/open/x', ''],
    ]);
  });
  await t.test('reclaim deletes for nobody what that one may not delete', async (t) => {
    // In no lot, and in one of the administrator.
    await must(c.m.shell('mkdir -p held; chmod 777 held'));
    await c.must('reserve /held 3MB');
    for (const directory of ['free', 'held']) {
      const secret = (name: string) =>
        must(
          c.m.shell(`cd ${directory}; mkdir -p ${name}; echo secret > ${name}/file; chown -R 3004 ${name}; chmod 700 ${name}`),
        );
      await secret('theirs');
      // Each may be refused.
      for (const path of [`/${directory}/theirs`, `/${directory}/future`]) {
        await c.control(STRANGER, `reserve ${path} 1MB --expires 1ms`);
        await c.control(STRANGER, lot('update', { lot_name: path, management_policy_attrs: { expiration_time: 1 } }));
      }
      await secret('future');
      for (const name of ['theirs', 'future']) {
        const path = `/${directory}/${name}`;
        await c.control(STRANGER, lot('update', { lot_name: path, management_policy_attrs: { max_num_objects: 0 } }));
        // The files of the default lot, which is promised nothing, may go.
        const list = (await reclaimable(c)).filter((file) => file.lot !== 'default').map((file) => file.path);
        t.notOk(list.includes(`${path}/file`), `what is in a directory of another's: ${path}`);
        await c.control(ADMIN, `lot remove ${path}`);
      }
      await must(c.m.shell(`rm -r ${directory}/theirs ${directory}/future`));
    }
    await c.must('release /held');
  });
  await t.test('a lot is not changed through its own .vreserve, by no path of its own', async (t) => {
    await c.must(addLot('two', 3003, ['two'], { paths: ['/two', '/two/inner'].map((path) => ({ path, recursive: true })) }));
    const before = JSON.stringify((await report(c.m.mnt)).lots);
    for (const who of [OWNER, ADMIN]) {
      for (const directory of ['/two', '/two/inner']) {
        for (const command of [
          'extend / 1',
          'reserve / 5000',
          'release /',
          'lot remove two',
          lot('update', { lot_name: 'two', management_policy_attrs: { max_num_objects: 1 } }),
          lot('remove-paths', { paths: ['/'] }),
          ...(directory === '/two'
            ? ['extend /inner 1', 'reserve /inner 5000', 'release /inner', lot('remove-paths', { paths: ['/inner'] })]
            : []),
        ]) {
          t.match(
            await c.control(who, command, directory),
            /^(EINVAL|EACCES|EOPNOTSUPP)$/,
            `${nameOf(who)}: ${command} in ${directory}`,
          );
        }
      }
    }
    t.equal(JSON.stringify((await report(c.m.mnt)).lots), before);
    await c.must('lot remove two');
  });
}

const RESERVE_BY: readonly [mode: string, rows: readonly (readonly [RunOptions, string, string])[]][] = [
  [
    'owners',
    [
      [OWNER, 'reserve /writable/x 1000', 'EACCES'],
      [OWNER, addLot('x', 3003, ['x'], at('/writable/x')), 'EACCES'],
      [OWNER, 'setxattr @/writable/in user.vreserve.reserve 1000', 'EACCES'],
      [OWNER, 'reserve /owned/x 1000', ''],
      [OWNER, 'reserve /owned/x/deeper 500', ''],
      [OWNER, 'setxattr @/owned/in user.vreserve.reserve 1000', ''],
      [STRANGER, 'reserve /owned/y 1000', 'EACCES'],
      [NO_ADMIN, 'reserve /owned/y 1000', 'EACCES'],
      [OWNER, 'extend /owned 1', ''],
      [ADMIN, 'reserve /writable/x 1000 --owner 3005', ''],
      [STRANGER, 'reserve /writable/x/in 10', ''],
    ],
  ],
  [
    'root',
    [
      [OWNER, 'reserve /writable/x 1000', 'EACCES'],
      [OWNER, addLot('x', 3003, ['x'], at('/writable/x')), 'EACCES'],
      [OWNER, 'setxattr @/writable/in user.vreserve.reserve 1000', 'EACCES'],
      [OWNER, 'reserve /owned/x 1000', 'EACCES'],
      [OWNER, lot('add-to', { lot_name: '/owned', ...at('/owned/x') }), 'EACCES'],
      [NO_ADMIN, 'reserve /writable/x 1000', 'EACCES'],
      [USER_NAMESPACE, 'reserve /writable/x 1000', 'EACCES'],
      // What they own stays theirs.
      [OWNER, 'extend /owned 1', ''],
      [OWNER, 'release /owned', ''],
      [ADMIN, 'reserve /writable/x 1000', ''],
    ],
  ],
];

async function reserveBy(t: Test, mode: string, rows: readonly (readonly [RunOptions, string, string])[]): Promise<void> {
  const m = await mount(t, { args: ['--capacity', '64MB', '--margin', '0', '--reserve-by', mode] });
  await must(m.shell('mkdir -p writable/in owned/in; chmod 777 writable owned; chown 3003 owned/in writable/in'));
  const c = new Callers(t, m);
  await c.must('reserve /owned 1MB --owner 3003');
  await c.table(
    t,
    rows.map(([who, what, end]) => [who, what, what.includes('@') && end === '' ? 0 : end] as const),
  );
}

/** The daemon runs as an ordinary user, who is its administrator. */
async function ordinaryUser(t: Test): Promise<void> {
  const m = await mount(t, { uid: NOBODY, args: ['--capacity', '64MB', '--margin', '0'] });
  const c = new Callers(t, m);
  const me = m.identity;
  const { within = [] } = me;
  const inNamespace = { ...me, within: [...within, 'unshare', '--user', '--map-root-user'] };
  await c.table(t, [
    [me, 'mkdir @/d', 0],
    [me, 'reserve /d 1000 --owner root', ''],
    [me, 'extend /d 1', ''],
    [me, 'check', ''],
    [me, 'reclaim --apply', ''],
    [me, lot('update', { lot_name: 'default', management_policy_attrs: { max_num_objects: 1000 } }), ''],
    [me, addLot('loose', 3005, ['loose']), ''],
    [me, 'lot remove loose', ''],
    [me, 'setxattr @/d user.vreserve.reserve 2000', 0],
    [me, 'reserve /e 1000', ''],
    // Root of his own user namespace, such as that of his containers, is he himself, the owner of his lots, and no administrator.
    [inNamespace, 'extend /e 1', ''],
    [inNamespace, 'extend /d 1', 'EACCES'],
    [inNamespace, 'release /d', 'EACCES'],
    [inNamespace, 'check', 'EACCES'],
    [inNamespace, 'reclaim --apply', 'EACCES'],
    [inNamespace, addLot('loose', 3005, ['loose'], { children: ['/d'] }), 'EACCES'],
    [me, 'release /d', ''],
    [me, 'release /e', ''],
  ]);
  // Nobody else sees the mount, and root neither.
  const nsenter = within.slice(0, 2);
  for (const [name, who] of [
    ['root', { within: nsenter }],
    ['another user', { within: [...nsenter, 'setpriv', '--reuid=3005', '--regid=3005', '--clear-groups'] }],
  ] as const) {
    t.equal(await c.control(who, 'reserve /d 1'), 'EACCES', name);
  }
}

/** A daemon in a pid namespace of its own does not see callers outside of it. */
async function pidNamespace(t: Test): Promise<void> {
  const top = await temporaryDirectory(t);
  await chmod(top, 0o755);
  const [data, mnt] = [join(top, 'data'), join(top, 'mnt')];
  for (const directory of [data, mnt]) await mkdir(directory);
  const keeper = spawn(
    'unshare',
    ['--mount', '--pid', '--fork', '--kill-child', '--mount-proc', '/bin/sh', '-c', 'echo ready; read -r line'],
    {
      stdio: ['pipe', 'pipe', 'inherit'],
    },
  );
  const closed = once(keeper, 'close');
  t.teardown(async () => {
    keeper.stdin.end();
    await closed;
  });
  await once(keeper.stdout, 'data');
  const mounts = `--mount=/proc/${keeper.pid}/ns/mnt`;
  const pids = `--pid=/proc/${keeper.pid}/ns/pid_for_children`;
  const inside: RunOptions = { within: ['nsenter', mounts, pids] };
  const outside: RunOptions = { within: ['nsenter', mounts] };
  await must(run(process.execPath, [MAIN, 'mount', data, mnt, '--capacity', '64MB', '--margin', '0'], inside));
  t.teardown(async () => {
    await must(run(process.execPath, [MAIN, 'umount', mnt], inside));
  });

  const at = (who: RunOptions) => startSteps(t, '/', who);
  const control = async (steps: Steps, command: string) => {
    const outcome = await steps.do(`control ${mnt}/.vreserve/control ${command}`);
    return typeof outcome === 'object' ? (outcome as ControlOutcome).errno : outcome;
  };
  const [seen, unseen] = [await at(inside), await at(outside)];
  t.equal(await seen.do(`mkdir ${mnt}/d`), 0);
  t.equal(await control(seen, 'reserve /d 1000'), '', 'inside, its administrator');
  for (const command of ['extend /d 1', 'release /d', 'reserve /e 1', 'check', 'reclaim --plan', 'lot list', 'report']) {
    t.equal(await control(unseen, command), 'EACCES', `outside: ${command}`);
  }
  t.equal(await unseen.do(`setxattr ${mnt}/d user.vreserve.reserve 1`), 'EACCES');
  t.equal(await unseen.do(`removexattr ${mnt}/d user.vreserve.reserve`), 'EACCES');
  t.equal(await unseen.do(`getxattr ${mnt}/d user.vreserve.grant`), '1000', 'it may read');
  t.match(await unseen.do(`text ${mnt}/.vreserve/report`), /^\/d /m);
  t.match(await unseen.do(`text ${mnt}/.vreserve/ledger`), /"grant"/);
  for (const steps of [seen, unseen]) await steps.end();
}

t.test('rights', { skip: whyNotRoot, timeout: 240_000 }, async (t) => {
  await t.test('on a mount that everybody sees', async (t) => {
    const m = await mount(t, { args: ['--capacity', '64MB', '--margin', '0'] });
    await must(m.shell('mkdir -p free/self free/kept closed; chmod 777 free free/self free/kept; chmod 711 closed'));
    const c = new Callers(t, m);
    await t.test('who may change a lot', (t) => whoChanges(t, c));
    await t.test('what only administrators may', (t) => administration(t, c));
    await t.test('who may reserve', (t) => whoReserves(t, c));
    await t.test('whom a lot is given', (t) => giving(t, c));
    await t.test('who asks', (t) => whoAsks(t, c));
    await t.test('ways round', (t) => roundabout(t, c));
    t.match(await m.run(['check', m.mnt]), { code: 0 });
  });
  for (const [mode, rows] of RESERVE_BY) await t.test(`--reserve-by ${mode}`, (t) => reserveBy(t, mode, rows));
  await t.test("the daemon's user", (t) => ordinaryUser(t));
  await t.test('a caller in another pid namespace', (t) => pidNamespace(t));
});
