// The tree `.vreserve` through a real mount: its names, commands and their errors, who may give them, and the attributes.
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { type Case, COLUMNS, type Column, file, NOBODY, onEachMount, type Place, ROOT_COLUMNS } from '../helpers/columns.js';
import type { ControlOutcome } from '../helpers/fsop.js';

type Test = Parameters<Case[1]>[0];

const USER = { uid: NOBODY, gid: NOBODY };

/** A command through the `.vreserve` of a directory of the case. */
async function scoped(p: Place, directory: string, command: string): Promise<ControlOutcome> {
  return (await p.ops.do(`control ${directory}/.vreserve/control ${command}`)) as ControlOutcome;
}

const TREE: Case[] = [
  [
    'the name is there, is not listed, and cannot be made or taken',
    async (t: Test, p: Place, { uid }: Column) => {
      const root = p.m.mnt;
      // Root is refused by the mount, others by the mode already.
      const denied = uid === undefined ? 'EPERM' : 'EACCES';
      const listed = (await p.ops.do(`list ${root}`)) as string[];
      t.notOk(JSON.stringify(listed).includes('.vreserve'));
      await p.table(t, [
        ...file('f', 5),
        ['mkdir d', 0],
        [`mkdir ${root}/.vreserve`, 'EEXIST'],
        [`open f ${root}/.vreserve CREAT|EXCL|RDWR`, 'EEXIST'],
        [`rename f ${root}/.vreserve`, 'EISDIR'],
        [`rename d ${root}/.vreserve`, 'EPERM'],
        [`rename ${root}/.vreserve e`, denied],
        [`rmdir ${root}/.vreserve`, 'EPERM'],
        [`unlink ${root}/.vreserve/report`, denied],
        [`mkdir ${root}/.vreserve/d`, denied],
        [`open f ${root}/.vreserve/ledger.db RDONLY`, 'ENOENT'],
        [`open f ${root}/.vreserve/lock RDONLY`, 'ENOENT'],
        [`open f ${root}/.vreserve/report WRONLY`, 'EACCES'],
      ]);
    },
  ],
  [
    "a lot's own .vreserve comes and goes with the lot",
    async (t: Test, p: Place) => {
      await p.table(t, [
        ['mkdir d', 0],
        ['mkdir x', 0],
        ...file('f', 5),
        ['stat d/.vreserve', 'ENOENT'],
        ['stat d/.vreserve/report', 'ENOENT'],
        ['stat d/.vreserve', 'ENOENT'],
        ['reserve d 1000', ''],
        ['access d/.vreserve/report R', 0],
        ['list d', []],
        ['mkdir d/.vreserve', 'EEXIST'],
        ['mkdir d/sub', 0],
        ['stat d/sub/.vreserve', 'ENOENT'],
        ['release d', ''],
        ['stat d/.vreserve', 'ENOENT'],
        ['mkdir d/.vreserve', 0],
        ['rmdir d/.vreserve', 0],
        ['reserve d/sub 1000', ''],
        ['access d/sub/.vreserve/report.json R', 0],
      ]);
    },
  ],
  [
    "a lot's own .vreserve shows that lot and what is below, and commands there reach no further",
    async (t: Test, p: Place) => {
      await p.table(t, [['mkdir d', 0], ['mkdir e', 0], ['reserve d 10000', ''], ['reserve e 10000', ''], ...file('d/f', 700)]);
      const seen = JSON.parse(String(await p.ops.do('text d/.vreserve/report.json'))) as {
        lots: { path: string; usedBytes: number }[];
      };
      t.match(seen.lots, [{ path: '/', usedBytes: 700, dedicatedBytes: 10_000 }]);
      t.equal(seen.lots.length, 1);
      t.notMatch(String(await p.ops.do('text d/.vreserve/ledger')), `${p.top}/e`);
      t.match(await scoped(p, 'd', 'reserve /sub 4000'), {
        errno: '',
        reply: { ok: true, lot: { path: '/sub', dedicatedBytes: 4000 } },
      });
      t.equal((await p.lot('d/sub')).dedicatedBytes, 4000);
      t.match(await scoped(p, 'd', 'reserve / 20000'), { errno: 'EINVAL' }, 'never on the lot itself');
      t.match(await scoped(p, 'd', 'release /'), { errno: 'EINVAL' });
      t.match(await scoped(p, 'd', 'reserve /../e 5'), { errno: 'EINVAL' });
      t.match(await scoped(p, 'd', 'reserve /sub 9300'), { errno: '' });
      t.match(await scoped(p, 'd', 'reserve /sub 9301'), { errno: 'ENOSPC' }, 'nor past what is left of the lot');
      await p.table(t, [['symlink ../e d/out', 0]]);
      t.not((await scoped(p, 'd', 'reserve /out/x 5')).errno, '', 'nor out by a symlink');
      t.match(await scoped(p, 'd', 'release /sub'), { errno: '' });
    },
  ],
  [
    'a refused command fails the write with its errno, and the reply says why',
    async (t: Test, p: Place) => {
      const { pool } = await p.report();
      const table: [string, string, object][] = [
        [`reserve ${p.top}/x 1T`, 'ENOSPC', { ok: false, code: 'NO_SPACE', availableBytes: pool.headroomBytes }],
        ['reserve', 'EINVAL', { code: 'BAD_COMMAND' }],
        [`reserve ${p.top}/x -1`, 'EINVAL', { code: 'BAD_BYTES' }],
        [`reserve ${p.top}/x 1.5`, 'EINVAL', { code: 'BAD_BYTES' }],
        [`reserve ${p.top}/x 9007199254740992`, 'EINVAL', { code: 'BAD_BYTES' }],
        [`reserve ${p.top}/../x 5`, 'EINVAL', { code: 'BAD_PATH' }],
        [`reserve /${'x'.repeat(300)} 5`, 'ENAMETOOLONG', { ok: false }],
        ['steal everything', 'EINVAL', { code: 'UNKNOWN_COMMAND' }],
        ['{"cmd":"reserve"}', 'EINVAL', { ok: false }],
        [`extend ${p.top}/x 5`, 'ENOENT', { code: 'NO_SUCH_LOT' }],
        [`release ${p.top}/x`, '', { ok: true, lot: null }],
        [`{"cmd":"reserve","path":"${p.top}/x","bytes":"5k"}`, '', { ok: true, cmd: 'reserve', lot: { dedicatedBytes: 5000 } }],
        [`extend ${p.top}/x 10`, '', { ok: true, lot: { dedicatedBytes: 5010 } }],
        [`release ${p.top}/x`, '', { ok: true, lot: { path: `${p.top}/x` } }],
        ['report', '', { ok: true, pool: { capacityBytes: 64e6 } }],
        ['# nothing', '', {}],
      ];
      for (const [command, errno, reply] of table)
        t.match(await p.control(command), { errno, reply: Object.keys(reply).length === 0 ? null : reply }, command);
      t.equal((await p.report()).lots.length, 1, 'and nothing was changed');
    },
  ],
  [
    'attributes of files and directories; reserving by an attribute',
    async (t: Test, p: Place) => {
      await p.table(t, [
        ['mkdir d', 0],
        ['mkdir d/in', 0],
        ...file('d/in/f', 123),
        ['getxattr d user.vreserve.lot', 'default'],
        ['getxattr d user.vreserve.grant', 'unlimited'],
        ['setxattr d user.vreserve.reserve 5k', 0],
        ['getxattr d user.vreserve.lot', `${p.top}/d`],
        ['getxattr d/in/f user.vreserve.lot', `${p.top}/d`],
        ['getxattr d/in user.vreserve.used', '123'],
        ['getxattr d/in/f user.vreserve.grant', '5000'],
        ['getxattr d user.vreserve.other', 'ENODATA'],
        ['setxattr d user.vreserve.reserve 122', 'ENOSPC'],
        ['setxattr d user.vreserve.reserve many', 'EINVAL'],
        ['setxattr d user.vreserve.used 5', 'EPERM'],
        ['setxattr d user.mine 5', 0],
        ['listxattr d', ['user.mine']],
        ['removexattr d user.vreserve.reserve', 0],
        ['getxattr d user.vreserve.lot', 'default'],
        ['removexattr d user.mine', 0],
      ]);
    },
  ],
];

const RIGHTS: Case[] = [
  [
    'who may reserve, and who may release',
    async (t: Test, p: Place) => {
      await p.table(t, [
        ['mkdir own', 0],
        ['chown own 65534 65534', 0],
        ['mkdir theirs', 0],
        ['mkdir theirs/in', 0],
        ['mkdir sticky', 0],
        ['chmod sticky 01777', 0],
        ['mkdir open', 0],
        ['chmod open 0777', 0],
        ['mkdir group', 0],
        ['chown group 0 65534', 0],
        ['chmod group 0775', 0],
        ['reserve own/roots 1000', ''],
      ]);
      const user = await p.another(t, USER);
      const noAdmin = await p.another(t, { within: ['setpriv', '--bounding-set=-sys_admin', '--inh-caps=-all'] });
      t.equal(await p.reserve('own/mine', 1000, user), '', 'in a directory of his own');
      t.equal((await p.lot('own/mine')).usedBytes, 0);
      t.equal(await p.reserve('own/new/deep', 1000, user), '', 'a path that is not there yet');
      t.equal(await p.reserve('open/x', 1000, user), '', 'who may write there may reserve');
      t.equal(await p.reserve('group/x', 1000, user), '', 'by his group too');
      t.equal(await p.reserve('theirs/x', 1000, user), 'EACCES');
      t.equal(await p.reserve('theirs/in', 1000, user), 'EACCES');
      t.equal(await p.reserve('sticky/x', 1000, user), 'EACCES', 'in a sticky directory: only its owner');
      t.equal(await p.reserve('own/roots', 2000, user), 'EACCES', 'what root reserved');
      t.equal(await p.release('own/roots', user), 'EACCES');
      t.equal((await p.control('check --repair', user)).errno, 'EACCES');
      t.equal(await p.release('own/mine', noAdmin), 'EACCES', 'root without CAP_SYS_ADMIN is a stranger');
      t.equal(await p.release('own/roots', noAdmin), 'EACCES', 'also to what root reserved');
      t.equal(await p.reserve('own/roots', 5000, noAdmin), 'EACCES');
      t.equal((await p.control('check', noAdmin)).errno, 'EACCES');
      t.equal(await p.reserve('own/mine', 2000, user), '', 'his own, set anew');
      t.equal(await p.release('own/mine', user), '');
      t.equal(await p.release('open/x'), '', 'root releases all');
      t.equal(await user.do('mkdir own/sub'), 0);
      t.equal(await user.do('setxattr own/sub user.vreserve.reserve 1000'), 0, 'the attribute obeys the same rules');
      t.equal(await user.do('removexattr own/sub user.vreserve.reserve'), 0);
      t.equal(await user.do('setxattr own user.vreserve.reserve 1000'), 'EACCES', 'his directory, but a path in another one');
      t.match(await user.do('setxattr theirs user.vreserve.reserve 1000'), /EACCES|EPERM/);
      t.match(await p.text('report', user), /LOT +USED/, 'everybody may read');
      t.match((await p.journal('refusal')).at(-1), { errno: 'EACCES' });
      await user.end();
      await noAdmin.end();
    },
    ['other-users'],
  ],
  [
    'what is made belongs to who makes it',
    async (t: Test, p: Place) => {
      await p.table(t, [
        ['mkdir open', 0],
        ['chmod open 0777', 0],
        ['mkdir shared', 0],
        ['chown shared 0 4321', 0],
        ['chmod shared 02777', 0],
        ['mkdir acl', 0],
        ['chmod acl 0777', 0],
        ['setacl acl default u:0:7 U:1234:5 g:0:5 m:0:7 o:0:0', 0],
      ]);
      const user = await p.another(t, USER);
      // btrfs counts one link of every directory.
      const links = (await stat(join(p.m.data, p.top, 'shared'))).nlink;
      const owned = (type: string, mode: string, gid: number, size = 0) => ({
        type,
        mode,
        nlink: type === 'directory' ? links : 1,
        uid: NOBODY,
        gid,
        size,
        rdev: '0:0',
      });
      await p.table(
        t,
        [
          ['umask 027', 0],
          ['open f open/f CREAT|RDWR 0666', 0],
          ['stat open/f', owned('file', '640', NOBODY)],
          ['mkdir open/d 0777', 0],
          ['stat open/d', owned('directory', '750', NOBODY)],
          ['symlink f open/s', 0],
          ['lstat open/s', { ...owned('symlink', '777', NOBODY, 1) }],
          ['mknod open/p fifo 0666', 0],
          ['stat open/p', owned('fifo', '640', NOBODY)],
          ['open g shared/f CREAT|RDWR 0666', 0],
          ['stat shared/f', owned('file', '640', 4321)],
          ['mkdir shared/d 0777', 0],
          ['stat shared/d', owned('directory', '2750', 4321)],
          ['open h acl/f CREAT|RDWR 0666', 0],
          ['stat acl/f', owned('file', '660', NOBODY)],
          ['getacl acl/f access', '1:-1:6 2:1234:5 4:-1:5 16:-1:6 32:-1:0 '],
          ['mkdir acl/d 0777', 0],
          ['getacl acl/d default', '1:-1:7 2:1234:5 4:-1:5 16:-1:7 32:-1:0 '],
          ['open x . TMPFILE|RDWR', 'EACCES'],
          ['close f', 0],
          ['close g', 0],
          ['close h', 0],
        ],
        user,
      );
      await user.end();
    },
    ['other-users', 'acl'],
  ],
];

t.test('.vreserve', { timeout: 200_000 }, async (t) => {
  await t.test('the tree', { timeout: 150_000 }, (t) => onEachMount(t, COLUMNS, TREE));
  await t.test('rights', { timeout: 100_000 }, (t) => onEachMount(t, ROOT_COLUMNS, RIGHTS));
});
