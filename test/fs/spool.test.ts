// Spools in the mount: real directories under `.vreserve/spool`, made whole, charged to a lot of their own.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, mkdir, readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t from 'tap';
import { Lots } from '../../src/client/lots.js';
import type { CheckReport, ReclaimReport } from '../../src/views/host.js';
import {
  type Case,
  COLUMNS,
  type Column,
  file,
  NOBODY,
  onEachMount,
  Place,
  ROOT_COLUMNS,
  whyNotRoot,
} from '../helpers/columns.js';
import { type Outcome, type Steps, startSteps } from '../helpers/fsop.js';
import { codeOf } from '../helpers/lot-mount.js';
import { addTheirs } from '../helpers/lots.js';
import { type Mounted, mount, type Teardown, testBackings } from '../helpers/mount.js';
import { must, ROOT, run, vreserve } from '../helpers/run.js';

type Test = Parameters<Case[1]>[0];

const USER = { uid: NOBODY, gid: NOBODY };
const GRANT = 1_000_000;
const LAYOUT = ['.data directory', '.registry directory', '.tmp directory', 'new directory'];

const spoolOf = (m: Mounted) => join(m.mnt, '.vreserve/spool');

async function spoolLot(p: Place) {
  const { lots } = await p.report();
  const lot = lots.find(({ name }) => name === 'spool');
  if (lot === undefined) throw new Error('there is no lot of the spool');
  return lot;
}

const used = async (p: Place) => (await spoolLot(p)).usedBytes;

/** A process of Node that says lines. */
class Talker {
  readonly child: ChildProcess;
  readonly #lines: AsyncIterableIterator<string>;

  constructor(t: Teardown, script: string, args: readonly string[]) {
    this.child = spawn(process.execPath, ['-e', script, ...args], {
      env: { PATH: process.env.PATH },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    if (this.child.stdout === null) throw new Error('no pipe');
    this.#lines = createInterface(this.child.stdout)[Symbol.asyncIterator]();
    t.teardown(async () => {
      if (this.child.exitCode !== null || this.child.signalCode !== null) return;
      const closed = once(this.child, 'close');
      this.child.kill('SIGKILL');
      await closed;
    });
  }

  /** The next line; '' at its end. */
  async line(): Promise<string> {
    const { value, done } = await this.#lines.next();
    return done ? '' : value;
  }

  async rest(): Promise<string[]> {
    const lines: string[] = [];
    for (let line = await this.line(); line !== ''; line = await this.line()) lines.push(line);
    return lines;
  }
}

const MAKING: Case[] = [
  [
    'a spool and a queue are made whole, and taken away as directories are',
    async (t: Test, p: Place) => {
      const spool = `${spoolOf(p.m)}/a`;
      await p.table(t, [
        [`mkdir ${spool}`, 0],
        [`list ${spool}`, LAYOUT],
        [`list ${spool}/new`, ['.checkout directory']],
        [`list ${spool}/new/.checkout`, []],
        [`mkdir ${spool}/done`, 0],
        [`list ${spool}/done`, ['.checkout directory']],
        [`mkdir ${spool}/.own`, 0],
        [`list ${spool}/.own`, []],
        [`mkdir ${spool}/new/plain`, 0],
        [`list ${spool}/new/plain`, []],
        [`mkdir ${spool}/.data/plain`, 0],
        [`list ${spool}/.data/plain`, []],
        [`mkdir ${spoolOf(p.m)}/.dot`, 0],
        [`list ${spoolOf(p.m)}/.dot`, []],
        [`mkdir ${spool}`, 'EEXIST'],
        [`mkdir ${spool}/new`, 'EEXIST'],
        [`mkdir ${spool}/.tmp`, 'EEXIST'],
        ...file(`${spool}/f`, 3),
        [`mkdir ${spool}/f`, 'EEXIST'],
        [`mkdir ${spoolOf(p.m)}/${'x'.repeat(255)}`, 0],
        [`list ${spoolOf(p.m)}/${'x'.repeat(255)}`, LAYOUT],
        [`mkdir ${spoolOf(p.m)}/${'x'.repeat(256)}`, 'ENAMETOOLONG'],
        [`rmdir ${spool}/done`, 'ENOTEMPTY'],
        [`rmdir ${spool}/done/.checkout`, 0],
        [`rmdir ${spool}/done`, 0],
        [`rename ${spool} ${spool}2`, 0],
        [
          `list ${spool}2`,
          ['.data directory', '.own directory', '.registry directory', '.tmp directory', 'f file', 'new directory'],
        ],
        [`mkdir ${spool}2/late`, 0],
        [`list ${spool}2/late`, ['.checkout directory']],
        [`rename ${spool}2 ${spool}`, 0],
      ]);
      await must(p.m.shell('cd .vreserve/spool && mkdir -p a a/new a/deep/er b/new && rm -r a b .dot x*'));
      t.same(await p.ops.do(`list ${spoolOf(p.m)}`), ['requests directory']);
      t.equal(await used(p), 0);
    },
  ],
  [
    'a program that makes a spool step by step gets along',
    async (t: Test, p: Place) => {
      const parts = ['.registry', '.tmp', '.data', 'new', 'new/.checkout', 'old', 'old/.checkout'];
      const script = `
        const fs = require('node:fs');
        for (const part of ['', ...${JSON.stringify(parts)}]) {
          try { fs.mkdirSync(process.argv[1] + '/' + part, 0o777); } catch (error) { if (error.code !== 'EEXIST') throw error; }
        }`;
      for (let times = 0; times < 2; times++) {
        await must(run(process.execPath, ['-e', script, `${spoolOf(p.m)}/steps`], p.m.identity));
        t.same(await p.ops.do(`list ${spoolOf(p.m)}/steps`), [...LAYOUT, 'old directory']);
      }
      await must(p.m.shell('rm -r .vreserve/spool/steps'));
    },
  ],
  [
    'what is being made is out of sight, and nobody can make such a name',
    async (t: Test, p: Place) => {
      const making = `${spoolOf(p.m)}/.vreserve-making-77`;
      await p.table(t, [
        [`mkdir ${spoolOf(p.m)}/s`, 0],
        [`stat ${making}`, 'ENOENT'],
        [`mkdir ${making}`, 'EPERM'],
        [`mkdir ${spoolOf(p.m)}/s/.vreserve-making-`, 'EPERM'],
        [`open f ${making} CREAT|WRONLY`, 'EPERM'],
        [`symlink x ${making}`, 'EPERM'],
        [`rename ${spoolOf(p.m)}/s ${making}`, 'EPERM'],
        [`mkdir ${spoolOf(p.m)}/s/new/.vreserve-making-1`, 0],
        [`mkdir ${p.m.mnt}${p.top}/.vreserve-making-1`, 0],
      ]);
      await must(p.m.shell('rm -r .vreserve/spool/s'));
    },
  ],
  [
    'the name spool itself stays, and leads nowhere else',
    async (t: Test, p: Place, { uid }: Column) => {
      const { mnt } = p.m;
      const spool = spoolOf(p.m);
      const denied = uid === undefined ? 'EPERM' : 'EACCES';
      const listed = (await p.ops.do(`list ${mnt}/.vreserve`)) as string[];
      t.same(
        listed.filter((name) => name.startsWith('spool')),
        ['spool directory'],
      );
      const { stdout } = await must(p.m.shell(`ls -ai .vreserve | grep ' spool$'; stat -c '%i spool' .vreserve/spool`));
      const [inListing, inStat] = stdout.trim().split('\n');
      t.equal(inListing?.trim(), inStat, 'the listing has its inode number');
      await p.table(t, [
        ['mkdir d', 0],
        ...file('f', 5),
        [`mkdir ${spool}`, 'EEXIST'],
        [`rmdir ${spool}`, denied],
        [`unlink ${spool}`, uid === undefined ? 'EISDIR' : denied],
        [`rename ${spool} d/x`, denied],
        [`rename ${spool} ${mnt}/.vreserve/x`, denied],
        [`rename d ${spool}`, denied],
        [`rename f ${mnt}/.vreserve/x`, denied],
        [`rename d ${spool} EXCHANGE`, denied],
        [`link f ${mnt}/.vreserve/x`, denied],
        // The kernel keeps users from linking what they may not write.
        [`link ${mnt}/.vreserve/report r`, uid === undefined ? 'EXDEV' : 'EPERM'],
        [`rename ${mnt}/.vreserve/report r`, denied],
        [`mkdir ${mnt}/.vreserve/x`, denied],
        ['rename d .vreserve', 0],
        ['rename .vreserve d', 0],
        ['reserve d 1000', ''],
        ['stat d/.vreserve/spool', 'ENOENT'],
        ['mkdir d/.vreserve/spool', denied],
        ['release d', ''],
        [`stat ${mnt}/.vreserve/store`, 'ENOENT'],
      ]);
      t.notOk(JSON.stringify(await p.ops.do(`list ${mnt}`)).includes('vreserve'));
      // Where the spool is a lot's own directory, it shows that lot.
      t.match(await p.ops.do(`text ${spool}/.vreserve/report.json`), /"name":"spool"/);
      await p.table(t, [
        [`stat ${spool}/.vreserve/spool`, 'ENOENT'],
        [`mkdir ${spool}/.vreserve`, 'EEXIST'],
      ]);
    },
  ],
  [
    'nothing in the spool can be reserved',
    async (t: Test, p: Place) => {
      await p.table(t, [[`mkdir ${spoolOf(p.m)}/s`, 0]]);
      t.equal((await p.control('reserve /.vreserve/spool/s 1000')).errno, 'EINVAL');
      t.equal((await p.control('release /.vreserve/spool')).errno, 'EINVAL');
      await p.table(t, [
        [`setxattr ${spoolOf(p.m)}/s user.vreserve.reserve 5`, 'EINVAL'],
        [`removexattr ${spoolOf(p.m)} user.vreserve.reserve`, 'EINVAL'],
        [`getxattr ${spoolOf(p.m)}/s user.vreserve.lot`, 'spool'],
        [`getxattr ${spoolOf(p.m)} user.vreserve.grant`, String(GRANT)],
        [`setxattr ${spoolOf(p.m)}/s user.mine 5`, 0],
        [`getxattr ${spoolOf(p.m)}/s user.mine`, '5'],
      ]);
      await must(p.m.shell('rm -r .vreserve/spool/s'));
    },
  ],
];

const FILES: Case[] = [
  [
    'the grant is exact to the byte',
    async (t: Test, p: Place) => {
      const queue = `${spoolOf(p.m)}/s/new`;
      await p.table(t, [
        [`mkdir ${spoolOf(p.m)}/s`, 0],
        [`open f ${queue}/a CREAT|EXCL|WRONLY`, 0],
        [`fill f ${GRANT - 1} 0`, GRANT - 1],
        [`fill f 2 ${GRANT - 1}`, 1],
        [`fill f 1 ${GRANT}`, 'ENOSPC'],
        ['fill f 100 0', 100],
        ['close f', 0],
        [`open f ${queue}/a CREAT|EXCL|WRONLY`, 'EEXIST'],
        [`truncate ${queue}/a ${GRANT + 1}`, 'ENOSPC'],
        [`rename ${queue}/a ${spoolOf(p.m)}/s/.tmp/a`, 0],
        [`statfs ${queue}`, { size: Math.ceil(GRANT / 4096) * 4096, free: 0, available: 0 }],
      ]);
      t.equal(await used(p), GRANT);
      t.match((await p.report()).pool, { headroomBytes: 63_000_000 }, 'others keep what is theirs');
      await p.table(t, [
        [`truncate ${spoolOf(p.m)}/s/.tmp/a 10`, 0],
        [`open f ${queue} TMPFILE|RDWR`, 0],
        [`fill f ${GRANT} 0`, GRANT - 10],
        [`linkfd f ${queue}/tmp`, 0],
        ['close f', 0],
        [`stat ${queue}/tmp`, { type: 'file', mode: '644', nlink: 1, uid: 0, gid: 0, size: GRANT - 10, rdev: '0:0' }],
        [`unlink ${queue}/tmp`, 0],
      ]);
      t.equal(await used(p), 10);
      await must(p.m.shell('rm -r .vreserve/spool/s'));
    },
    ['tmpfile'],
  ],
  [
    'what moves in and out takes its charge along',
    async (t: Test, p: Place) => {
      const queue = `${spoolOf(p.m)}/s/new`;
      await p.table(t, [
        [`mkdir ${spoolOf(p.m)}/s`, 0],
        ['mkdir d', 0],
        ...file('half', GRANT / 2),
        ...file('more', GRANT / 2 + 1),
        ...file('over', 10),
        [`rename half ${queue}/half`, 0],
        [`rename more ${queue}/more`, 'ENOSPC'],
        [`link over ${queue}/over`, 'EXDEV'],
        [`link ${queue}/half out`, 'EXDEV'],
        [`link ${queue}/half ${spoolOf(p.m)}/s/.data/half`, 0],
        [`rename ${queue}/half out`, 'EXDEV'],
        [`unlink ${spoolOf(p.m)}/s/.data/half`, 0],
        [`rename d ${queue}/d`, 'EXDEV'],
        [`rename ${spoolOf(p.m)}/s s`, 'EXDEV'],
        [`rename more ${queue}/half EXCHANGE`, 0],
        ['rename over d/over', 0],
      ]);
      t.equal(await used(p), GRANT / 2 + 1);
      await p.table(t, [[`rename ${queue}/half out`, 0]]);
      t.equal(await used(p), 0);
      await must(p.m.shell(`cd '${p.m.mnt}${p.top}' && mv d ../.vreserve/spool/copied && rm -r ../.vreserve/spool/*`));
    },
    ['rename-flags'],
  ],
  [
    'a file that another process puts in a queue is seen by inotify',
    async (t: Test, p: Place) => {
      const spool = `${spoolOf(p.m)}/s`;
      await p.table(t, [[`mkdir ${spool}`, 0], ...file(`${spool}/.tmp/job`, 3)]);
      const watcher = new Talker(
        t,
        `const fs = require('node:fs');
         fs.watch(process.argv[1], (event, name) => console.log(event + ' ' + name));
         fs.watch(process.argv[2], (event, name) => console.log(event + ' ' + name));
         console.log('ready');`,
        [`${spool}/new`, spoolOf(p.m)],
      );
      t.equal(await watcher.line(), 'ready');
      await p.table(t, [[`rename ${spool}/.tmp/job ${spool}/new/job`, 0]]);
      t.equal(await watcher.line(), 'rename job');
      await p.table(t, [[`mkdir ${spoolOf(p.m)}/other`, 0]]);
      t.equal(await watcher.line(), 'rename other', 'of a new spool the name alone is seen');
      await must(p.m.shell('rm -r .vreserve/spool/*'));
    },
  ],
  [
    'who makes a spool owns all of it, with the mode of a plain directory',
    async (t: Test, p: Place) => {
      const all = ['', '/.registry', '/.tmp', '/.data', '/new', '/new/.checkout'];
      const user = await p.another(t, USER);
      const modes = async (spool: string, parts = all) => {
        const stats = await Promise.all(parts.map((part) => stat(`${spoolOf(p.m)}/${spool}${part}`)));
        return [...new Set(stats.map(({ mode, uid, gid }) => `${(mode & 0o7777).toString(8)} ${uid}:${gid}`))];
      };
      const as = (who: Steps, steps: readonly string[], expected: readonly Outcome[]) =>
        who.all(steps).then((found) => t.same(found, expected, steps.join('; ')));
      await as(
        user,
        ['umask 027', `mkdir ${spoolOf(p.m)}/mine 0777`, 'umask 0', `mkdir ${spoolOf(p.m)}/open 0777`],
        [0, 0, 0, 0],
      );
      t.same(await modes('mine'), [`750 ${NOBODY}:${NOBODY}`]);
      t.same(await modes('open'), [`777 ${NOBODY}:${NOBODY}`]);
      await p.table(t, [
        [`mkdir ${spoolOf(p.m)}/roots 0700`, 0],
        ['umask 077', 0],
        [`mkdir ${spoolOf(p.m)}/open/q 0777`, 0],
        ['umask 022', 0],
      ]);
      t.same(await modes('open/q', ['', '/.checkout']), ['700 0:0']);
      await as(
        user,
        [`mkdir ${spoolOf(p.m)}/roots/q`, `rmdir ${spoolOf(p.m)}/roots`, `rename ${spoolOf(p.m)}/roots ${spoolOf(p.m)}/x`],
        ['EACCES', 'EPERM', 'EPERM'],
      );
      t.notOk((await readdir(join(p.m.data, '.vreserve/spool'))).includes('x'), 'the spool is sticky');
      // Without any right for its owner it is made all the same, as by mkdir.
      await as(user, [`mkdir ${spoolOf(p.m)}/none 0`], [0]);
      t.same(await modes('none'), [`0 ${NOBODY}:${NOBODY}`]);

      await p.table(t, [
        [`mkdir ${spoolOf(p.m)}/group`, 0],
        [`chown ${spoolOf(p.m)}/group 0 4321`, 0],
        [`chmod ${spoolOf(p.m)}/group 02777`, 0],
        [`mkdir ${spoolOf(p.m)}/acl`, 0],
        [`chmod ${spoolOf(p.m)}/acl 0777`, 0],
        [`setacl ${spoolOf(p.m)}/acl default u:0:7 U:1234:5 g:0:5 m:0:7 o:0:0`, 0],
      ]);
      await as(user, [`mkdir ${spoolOf(p.m)}/group/q 0755`, `mkdir ${spoolOf(p.m)}/acl/q 0777`], [0, 0]);
      t.same(await modes('group/q', ['', '/.checkout']), [`2755 ${NOBODY}:4321`], 'set-group-id goes down');
      for (const part of ['', '/.checkout']) {
        t.equal(
          await p.ops.do(`getacl ${spoolOf(p.m)}/acl/q${part} default`),
          '1:-1:7 2:1234:5 4:-1:5 16:-1:7 32:-1:0 ',
          'so do default ACLs',
        );
      }
      await user.end();
      await must(p.m.shell('rm -r .vreserve/spool/*'));
    },
    ['other-users'],
  ],
  [
    'of many that make one name, one does, and nobody sees a half',
    async (t: Test, p: Place) => {
      const script = `
        const fs = require('node:fs');
        const [spool, count] = [process.argv[1], Number(process.argv[2])];
        const parts = ['.registry', '.tmp', '.data', 'new/.checkout'];
        let won = 0;
        const half = [];
        const look = (path, parts) => { for (const part of parts) if (!fs.existsSync(path + '/' + part)) half.push(path + '/' + part); };
        for (let i = 0; i < count; i++) {
          for (const [path, of] of [[spool + '/s' + i, parts], [spool + '/s' + i + '/q', ['.checkout']]]) {
            try { fs.mkdirSync(path); won++; } catch (error) { if (error.code !== 'EEXIST') throw error; }
            look(path, of);
          }
          for (const name of fs.readdirSync(spool)) if (!/^s[0-9]+$/.test(name)) half.push(name);
        }
        console.log(JSON.stringify({ won, half }));`;
      const runs = Array.from({ length: 8 }, () => must(run(process.execPath, ['-e', script, spoolOf(p.m), '60'], p.m.identity)));
      const found = (await Promise.all(runs)).map(({ stdout }) => JSON.parse(stdout) as { won: number; half: string[] });
      t.equal(
        found.reduce((sum, { won }) => sum + won, 0),
        120,
      );
      t.same(
        found.flatMap(({ half }) => half),
        [],
      );
      await must(p.m.shell('rm -r .vreserve/spool/*'));
    },
  ],
];

t.test('on each mount', { timeout: 300_000 }, async (t) => {
  const args = ['--capacity', '64MB', '--margin', '0', '--spool-grant', String(GRANT)];
  await t.test('names', { timeout: 150_000 }, (t) => onEachMount(t, COLUMNS, MAKING, args));
  await t.test('files', { timeout: 150_000 }, (t) => onEachMount(t, ROOT_COLUMNS, FILES, args));
});

// --- one mount after another -------------------------------------------------------------------------------------

const SMALL = ['--capacity', '100MB', '--margin', '0'];

async function lotOf(m: Mounted) {
  const { lots } = JSON.parse(await readFile(join(m.mnt, '.vreserve/report.json'), 'utf8')) as {
    lots: { name: string; usedBytes: number; dedicatedBytes: number; objects: number; owner: string; path: string }[];
  };
  return lots.find(({ name }) => name === 'spool');
}

async function journalOf(m: Mounted): Promise<Record<string, unknown>[]> {
  const text = await readFile(join(m.mnt, '.vreserve/ledger'), 'utf8');
  const lines = text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  return lines.filter(({ lot }) => lot === 'spool');
}

async function grants(t: Test, on: 'disk' | 'tmpfs'): Promise<void> {
  const m = await mount(t, { on, args: SMALL, spool: true });
  const path = spoolOf(m);
  const again = async (...args: string[]) => {
    await m.umount();
    await m.remount([...SMALL, ...args]);
  };
  t.same(
    m.ready.spool,
    { path, grantBytes: 1_000_000, dedicatedBytes: 1_000_000, askedBytes: 1_000_000 },
    'by itself 1 % of the capacity',
  );
  t.match(m.ready, { reservations: 0, spoolReason: '' });
  t.match(await lotOf(m), { usedBytes: 0, dedicatedBytes: 1_000_000, owner: 'root', path: '/.vreserve/spool' });
  t.match(await journalOf(m), [{ event: 'grant', bytes: 1_000_000, path: '/.vreserve/spool', owner: '0', pid: m.ready.pid }]);
  t.equal((await stat(join(m.data, '.vreserve/spool'))).mode & 0o7777, 0o1777);

  await new Lots(m.mnt).update({ lot_name: 'spool', management_policy_attrs: { dedicated_GB: 0.005 } });
  await m.umount();
  const words = await vreserve(['mount', m.data, m.mnt, ...SMALL]);
  t.match(words, { code: 0, stdout: /^ {2}spool +5 MB set aside$/m });
  await again('--spool-grant', '2%');
  t.match(m.ready.spool, { grantBytes: 2_000_000, askedBytes: 2_000_000 }, 'what is asked for');
  t.match((await journalOf(m)).at(-1), { event: 'extension', bytes: 2_000_000, previousBytes: 5_000_000 });

  await must(m.run(['reserve', `${m.mnt}/job`, '90MB']));
  await again('--spool-grant=50MB');
  t.match(m.ready.spool, { grantBytes: 10_000_000, askedBytes: 50_000_000 }, 'or what fits of it');
  await m.umount();
  t.match(await vreserve(['mount', m.data, m.mnt, ...SMALL, '--spool-grant', '50MB']), {
    stdout: /^ {2}spool +10 MB of the 50 MB asked for: no more is available$/m,
  });
  await mkdir(join(path, 's'));
  await writeFile(join(path, 's/new/held'), Buffer.alloc(3_000_000));
  await again('--spool-grant', '2MB');
  t.match(m.ready.spool, { grantBytes: 3_000_000, askedBytes: 2_000_000 }, 'never less than it holds');
  t.match(await lotOf(m), { usedBytes: 3_000_000, dedicatedBytes: 3_000_000 });

  await again('--spool-grant', '0');
  t.match(m.ready, { spool: { grantBytes: 0, askedBytes: 0 }, spoolReason: '' }, 'without a grant what is there is served');
  t.match(await lotOf(m), { usedBytes: 3_000_000, dedicatedBytes: 0 });
  await t.rejects(appendFile(join(path, 's/new/held'), 'x'), { code: 'ENOSPC' });
  await rename(join(path, 's/new/held'), join(path, 's/.tmp/held'));
  t.equal((await readFile(join(path, 's/.tmp/held'))).length, 3_000_000);
  await again();
  t.match(m.ready.spool, { grantBytes: 0, askedBytes: null }, 'and it stays so until a grant is asked for');
  await rm(join(path, 's'), { recursive: true });
  await again('--spool-grant', '0');
  t.match(m.ready, { spool: null, spoolReason: '' }, 'and nothing where nothing is there');
  t.equal(await lotOf(m), undefined);
  t.match((await journalOf(m)).at(-1), { event: 'release' });
  await t.rejects(stat(path), { code: 'ENOENT' });
  t.notOk((await readdir(join(m.mnt, '.vreserve'))).includes('spool'));
  await again();
  t.match(m.ready.spool, { grantBytes: 1_000_000, askedBytes: 1_000_000 }, 'then it begins anew');
  t.match(await m.run(['check', m.mnt]), { code: 0 });
  await m.umount();
}

/** What is there before there is a lot: from an older ledger, or made behind the mount. */
async function found(t: Test, on: 'disk' | 'tmpfs'): Promise<void> {
  const fill = async (data: string) => {
    await mkdir(join(data, '.vreserve/spool/s/new'), { recursive: true });
    await writeFile(join(data, '.vreserve/spool/s/new/f'), Buffer.alloc(1_500_000));
    await mkdir(join(data, '.vreserve/spool/.vreserve-making-3/new/.checkout'), { recursive: true });
    await mkdir(join(data, '.vreserve/spool/s/.vreserve-making-4'));
    await mkdir(join(data, '.vreserve/spool/s/.vreserve-making-1/.checkout'), { recursive: true });
    await writeFile(join(data, '.vreserve/spool/s/.vreserve-making-1/.checkout/somebodys'), 'x');
  };
  const m = await mount(t, { on, args: SMALL, spool: true, fill });
  t.match(m.ready, { counted: true, spool: { grantBytes: 1_500_001, askedBytes: 1_000_000 } });
  t.match(await lotOf(m), { usedBytes: 1_500_001, objects: 2 });
  t.same((await readdir(join(m.data, '.vreserve/spool'))).sort(), ['requests', 's'], 'what a crash left half made is gone');
  t.same((await readdir(join(m.data, '.vreserve/spool/s'))).sort(), ['.vreserve-making-1', 'new'], 'but for what is in it');
  t.same(await readdir(join(spoolOf(m), 's')), ['new']);
  await mkdir(join(spoolOf(m), 's/q'));
  t.match(await m.run(['check', m.mnt]), { code: 0 });

  await m.umount();
  await m.remount([...SMALL, '--read-only']);
  t.match(m.ready, { spool: { grantBytes: 1_500_001, askedBytes: null }, readOnly: true, reservations: 0 });
  t.equal((await readFile(join(spoolOf(m), 's/new/f'))).length, 1_500_000);
  await t.rejects(mkdir(join(spoolOf(m), 'x')), { code: 'EROFS' });
  await m.umount();
}

async function inTheWay(t: Test, on: 'disk' | 'tmpfs'): Promise<void> {
  const fresh = await mount(t, { on, args: [...SMALL, '--read-only'], spool: true });
  t.match(fresh.ready, { spool: null, spoolReason: '' }, 'nothing is made on a read-only mount');
  t.same(await readdir(fresh.data), []);
  await fresh.umount();

  const m = await mount(t, {
    on,
    args: SMALL,
    spool: true,
    fill: async (data) => {
      await mkdir(join(data, '.vreserve'), { mode: 0o700 });
      await writeFile(join(data, '.vreserve/spool'), 'a file');
    },
  });
  t.match(m.ready, { spool: null, spoolReason: '/.vreserve/spool of the backing is not a directory' });
  t.equal(await lotOf(m), undefined);
  await t.rejects(stat(spoolOf(m)), { code: 'ENOENT' });
  await m.umount();
  await rm(join(m.data, '.vreserve/spool'));
  await symlink('..', join(m.data, '.vreserve/spool'));
  await mkdir(join(m.data, '.vreserve-making-1'));
  const said = await vreserve(['mount', m.data, m.mnt, ...SMALL]);
  t.match(said, { code: 0, stdout: /^ {2}spool +off: .* is not a directory$/m });
  t.ok((await readdir(m.mnt)).includes('.vreserve-making-1'), 'and it is not cleared there');
  t.match(await m.run(['check', m.mnt]), { code: 0 });
  await m.umount();
  await rm(join(m.data, '.vreserve/spool'));
  await m.remount([...SMALL, '--spool-grant', '0']);
  await addTheirs(m.mnt, 'spool');
  await m.umount();
  await m.remount([...SMALL, '--spool-grant', '5MB']);
  t.match(m.ready, { spool: null, spoolReason: "there is another lot of the name 'spool'", reservations: 1 });
  t.match(await lotOf(m), { dedicatedBytes: 1_000_000, path: '/theirs' }, 'it is left alone');
  await new Lots(m.mnt).remove('spool');
  await m.umount();
}

async function lotKept(t: Test): Promise<void> {
  const m = await mount(t, { args: [...SMALL, '--spool-grant', '2MB'] });
  const lots = new Lots(m.mnt);
  const policy = { opportunistic_GB: 0, max_num_objects: 100, creation_time: 0, expiration_time: Number.MAX_SAFE_INTEGER };
  const other = { ...policy, dedicated_GB: 0, deletion_time: Number.MAX_SAFE_INTEGER };
  await lots.add({ lot_name: 'other', owner: 'root', parents: ['other'], paths: [], management_policy_attrs: other });
  const add = { owner: 'root', parents: ['new'], paths: [], management_policy_attrs: other };
  const before = await lots.show('spool');
  const spool = '/.vreserve/spool';
  const refused: [string, () => Promise<unknown>, string][] = [
    ['remove', () => lots.remove('spool'), 'LOT_IS_SPOOL'],
    ['remove, orphans assigned', () => lots.remove('spool', { assignToOrphans: true, assignToNonOrphans: true }), 'LOT_IS_SPOOL'],
    ['remove, recursive', () => lots.removeRecursive('spool'), 'LOT_IS_SPOOL'],
    ['another path', () => lots.addTo({ lot_name: 'spool', paths: [{ path: '/x', recursive: true }] }), 'LOT_IS_SPOOL'],
    ['another parent', () => lots.addTo({ lot_name: 'spool', parents: ['other'] }), 'LOT_IS_SPOOL'],
    ['below a new lot', () => lots.add({ ...add, lot_name: 'new', children: ['spool'] }), 'LOT_IS_SPOOL'],
    ['its parent', () => lots.update({ lot_name: 'spool', parents: [{ current: 'spool', new: 'other' }] }), 'LOT_IS_SPOOL'],
    ['without a parent', () => lots.removeParents({ lot_name: 'spool', parents: ['spool'] }), 'LOT_ORPHANS'],
    ['without its path', () => lots.removePaths({ paths: [spool] }), 'BAD_PATH'],
    ['its path', () => lots.update({ lot_name: 'spool', paths: [{ current: spool, new: '/x', recursive: true }] }), 'BAD_PATH'],
    ['its path, by another lot', () => lots.addTo({ lot_name: 'other', paths: [{ path: spool, recursive: true }] }), 'BAD_PATH'],
  ];
  for (const [name, done, code] of refused) t.equal(await codeOf(done()), code, name);
  t.same(await lots.show('spool'), before);
  t.match((await m.run(['lot', 'remove', 'spool', '--mount', m.mnt])).stderr, /stays as long as there is a spool/);
  await lots.update({ lot_name: 'spool', management_policy_attrs: { dedicated_GB: 0.003, max_num_objects: 7 } });
  t.match(await lotOf(m), { dedicatedBytes: 3_000_000 });
  t.same(await lots.which('/.vreserve/spool/s/new/f'), ['spool']);

  // Nothing of it is reclaimed, whatever its policy comes to be.
  await mkdir(join(spoolOf(m), 's'));
  await writeFile(join(spoolOf(m), 's/new/f'), Buffer.alloc(2_000_000));
  const past = { dedicated_GB: 0.0001, opportunistic_GB: 0.0019, expiration_time: 1, deletion_time: 2, max_num_objects: 0 };
  await lots.update({ lot_name: 'spool', management_policy_attrs: past });
  await writeFile(join(m.mnt, 'else'), 'gone');
  for (const how of ['--plan', '--apply']) {
    const reclaimed = await m.run(['reclaim', m.mnt, how, '--json', '--low-watermark', '0%']);
    const { list } = JSON.parse(reclaimed.stdout) as ReclaimReport;
    t.same(
      list.map(({ path, deleted }) => [path, deleted]),
      [['/else', how === '--apply']],
      how,
    );
  }
  t.equal((await stat(join(spoolOf(m), 's/new/f'))).size, 2_000_000);
  await m.umount();
}

/** Each directory that is seen in the backing is whole. */
async function halves(data: string): Promise<string[]> {
  const wrong: string[] = [];
  const spool = join(data, '.vreserve/spool');
  for (const name of await readdir(spool)) {
    if (name.startsWith('.')) wrong.push(name);
    // That of the daemon has other queues.
    const first = name === 'requests' ? 'pending/.checkout' : 'new/.checkout';
    for (const part of ['.registry', '.tmp', '.data', first]) {
      await stat(join(spool, name, part)).catch(() => wrong.push(`${name}/${part}`));
    }
    for (const queue of await readdir(join(spool, name))) {
      if (queue.startsWith('.vreserve')) wrong.push(`${name}/${queue}`);
      if (!queue.startsWith('.')) await stat(join(spool, name, queue, '.checkout')).catch(() => wrong.push(`${name}/${queue}`));
    }
  }
  return wrong;
}

async function killed(t: Test, on: 'disk' | 'tmpfs'): Promise<void> {
  const args = [...SMALL, '--spool-grant', '5MB'];
  const m = await mount(t, { on, args });
  const script = `
    const fs = require('node:fs');
    const [spool, who] = process.argv.slice(1);
    try {
      for (let i = 0; ; i++) {
        const path = spool + '/' + who + '-' + i;
        fs.mkdirSync(path);
        fs.mkdirSync(path + '/q');
        fs.writeFileSync(path + '/.tmp/f', 'x'.repeat(i % 700));
        fs.renameSync(path + '/.tmp/f', path + '/q/f');
        if (i === 20) console.log('running');
      }
    } catch (error) {
      console.log(error.code);
    }`;
  for (let round = 0; round < 4; round++) {
    const makers = ['a', 'b', 'c'].map((who) => new Talker(t, script, [spoolOf(m), `${who}${round}`]));
    for (const maker of makers) t.equal(await maker.line(), 'running');
    await m.kill();
    for (const maker of makers) t.match((await maker.rest()).at(-1), /^(ENOTCONN|ECONNABORTED)$/);
    await m.remount(args);
    t.equal(m.ready.counted, true);
    t.same(await halves(m.data), [], `round ${round}: every spool and queue is whole`);
    const { stdout } = await must(run('find', [join(m.data, '.vreserve/spool'), '-type', 'f', '-printf', '%s\\n']));
    const sizes = stdout.split('\n').filter(Boolean).map(Number);
    t.match(await lotOf(m), { usedBytes: sizes.reduce((a, b) => a + b, 0), objects: sizes.length }, 'usage is what find counts');
    t.match(await m.run(['check', m.mnt]), { code: 0 });
  }
  // At rest, and after a change behind the mount.
  await m.umount();
  t.match(await m.run(['check', m.data]), { code: 0 });
  await appendFile(join(m.data, '.vreserve/spool/a0-5/q/f'), 'more');
  const at = await m.run(['check', m.data, '--json']);
  t.equal(at.code, 1);
  const { lots, differences } = JSON.parse(at.stdout) as CheckReport;
  t.equal(differences, 1);
  const spool = lots.find(({ name }) => name === 'spool');
  t.equal(spool?.countedBytes, (spool?.recordedBytes ?? 0) + 4);
  t.match(await m.run(['check', m.data, '--repair']), { code: 1 });
  t.match(await m.run(['check', m.data]), { code: 0 });
  await m.remount(args);
  t.match(await m.run(['check', m.mnt]), { code: 0 });
  await m.umount();
}

for (const on of testBackings()) {
  t.test(`on ${on}`, { skip: whyNotRoot, timeout: 200_000 }, async (t) => {
    await t.test('the grant over mounts', (t) => grants(t, on));
    await t.test('what is there before', (t) => found(t, on));
    await t.test('what is in the way', (t) => inTheWay(t, on));
    await t.test('kill -9 while spools are made', { timeout: 100_000 }, (t) => killed(t, on));
  });
}

t.test('the lot of the spool', { skip: whyNotRoot }, lotKept);

t.test('in place', { skip: whyNotRoot }, async (t) => {
  const m = await mount(t, { inPlace: true, args: [...SMALL, '--spool-grant', '1MB'] });
  const p = new Place(m, await startSteps(t, m.mnt));
  await p.table(t, [[`mkdir ${spoolOf(m)}/s`, 0], ...file(`${spoolOf(m)}/s/new/f`, 70)]);
  t.equal(await used(p), 70);
  await p.ops.end();
  await m.umount();
  t.match(await m.run(['check', m.data]), { code: 0 });
});

t.test('as an ordinary user', { skip: COLUMNS.find(({ uid }) => uid !== undefined)?.skip ?? 'no such column' }, async (t) => {
  const m = await mount(t, { uid: NOBODY, args: SMALL, spool: true });
  t.match(m.ready.spool, { grantBytes: 1_000_000 });
  await must(
    m.shell('mkdir .vreserve/spool/s && echo hi > .vreserve/spool/s/new/f && stat -c %u .vreserve/spool/s/new/.checkout'),
  );
  await m.umount();
  t.match(await m.run(['check', m.data]), { code: 0 });
});

t.test('who is interrupted while the control plane has its question', { skip: whyNotRoot }, async (t) => {
  const m = await mount(t, { args: SMALL });
  await m.umount();
  const script = `
    import(process.argv[1]).then(async ({ createNativeEngine }) => {
      const [backing, mountpoint] = process.argv.slice(2);
      const engine = createNativeEngine();
      const options = { passthrough: false, threads: 0, suid: false, dev: false, exec: false, charging: true, readOnly: false };
      engine.openBacking({ backing, mountpoint, source: backing, allowOther: false, ...options });
      engine.setPool(null, null);
      engine.addLot({ id: 1, name: 'default', parents: [], dedicatedBytes: 0, opportunisticBytes: -1, maxObjects: -1, setsAside: true, mayGrow: true }, 0, 0);
      const say = (what) => console.log(JSON.stringify(what));
      const answers = {
        lookup: () => ({ node: { kind: 'control', mode: 0o666, mtimeMs: 1 } }),
        open: () => ({ handle: 7 }),
        flush: () => ({}),
        release: () => ({}),
      };
      await engine.mount((request) => {
        if (request.op === 'write' || request.op === 'interrupt') return say({ op: request.op, token: request.token });
        engine.reply(request.token, answers[request.op]());
      }, () => engine.stop().then(() => say({ op: 'end' })));
      say({ op: 'ready' });
      process.stdin.once('data', () => engine.unmount(true));
    });`;
  const plane = new Talker(t, script, [`${ROOT}/build/src/engine/native.js`, m.data, m.mnt]);
  // An ending process closes its descriptors, and is interrupted in that too.
  const heard = async (isAwaited: (said: { op: string; token?: number }) => boolean) => {
    for (;;) {
      const said = JSON.parse(await plane.line()) as { op: string; token?: number };
      if (isAwaited(said)) return said;
    }
  };
  await heard(({ op }) => op === 'ready');
  for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
    const writer = spawn('/bin/bash', ['-c', `echo wait > '${m.mnt}/.vreserve/control'`], { stdio: 'ignore' });
    const closed = once(writer, 'close');
    const question = await heard(({ op }) => op === 'write');
    writer.kill(signal);
    t.same(await closed, [null, signal], 'it ends although nobody has answered');
    const told = await heard(({ token }) => token === question.token);
    t.equal(told.op, 'interrupt', 'and the control plane is told which question it was');
  }
  plane.child.stdin?.write('end\n');
  t.ok(await heard(({ op }) => op === 'end'));
});
