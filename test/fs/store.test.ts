// The store as files, step by step on each mount: what opening, writing, closing, listing and removing a blob comes to.
import t from 'tap';
import { type Case, COLUMNS, type Column, file, onEachMount, type Place, soon } from '../helpers/columns.js';
import { testBackings } from '../helpers/mount.js';
import { must } from '../helpers/run.js';

type Test = Parameters<Case[1]>[0];

const GRANT = 2_000_000;
const KIB = 1024;

const storeOf = (p: Place) => `${p.m.mnt}/.vreserve/store`;

const statOf = (size: number, { uid = 0 }: Column = {} as Column) => ({
  type: 'file',
  mode: '600',
  nlink: 1,
  uid,
  gid: uid,
  size,
  rdev: '0:0',
});

const OK_LOG = /^\S+ - OK - Blob Data WR Complete!\n\S+ - Pending - Starting Data WR\n\S+ - OK - Blob Created & Saved!\n/;

async function lotOf(p: Place) {
  const { lots } = await p.report();
  const lot = lots.find(({ name }) => name === 'store');
  if (lot === undefined) throw new Error('there is no lot of the store');
  return lot;
}

/** Bytes that the lot can still take, once no file is open. */
async function roomOf(p: Place): Promise<number> {
  const lot = await soon(
    () => lotOf(p),
    ({ pendingBytes, pendingObjects }) => pendingBytes === 0 && pendingObjects === 0,
  );
  return GRANT - lot.usedBytes;
}

async function clear(p: Place): Promise<void> {
  await must(p.m.shell('rm -rf .vreserve/store/*; ls -A .vreserve/store | (! grep .)'));
}

/** Bytes of a record of a name as short as those that are used here: at least, and at most. */
const [LEAST_RECORD, MOST_RECORD] = [100, 300];

const FILES: Case[] = [
  [
    'a blob is pending while it is open, and is there when it is closed',
    async (t: Test, p: Place, column: Column) => {
      const store = storeOf(p);
      const other = await p.another(t);
      await p.table(t, [
        [`stat ${store}/a`, 'ENOENT'],
        [`open f ${store}/a CREAT|EXCL|WRONLY`, 0],
        [`stat ${store}/a`, statOf(0, column)],
        [`getxattr ${store}/a user.vreserve.state`, 'Pending'],
        [`getxattr ${store}/a user.mime_type`, 'ENODATA'],
        [`list ${store}`, ['a file']],
        [`open g ${store}/a RDONLY`, 'EBUSY'],
        [`unlink ${store}/a`, 'EBUSY'],
        [`open g ${store}/a CREAT|EXCL|WRONLY`, 'EEXIST'],
        ['write f hello', 5],
        ['fstat f', statOf(5, column)],
        ['fsync f', 0],
        ['pwrite f J 0', 1],
      ]);
      t.match(await other.all([`stat ${store}/a`, `cat ${store}/a`]), [{ size: 0 }, 'EBUSY'], 'others see no byte of it');
      await p.table(t, [
        ['close f', 0],
        [`cat ${store}/a`, 'Jello'],
        [`stat ${store}/a`, statOf(5, column)],
        [`getxattr ${store}/a user.vreserve.state`, 'OK'],
        [`getxattr ${store}/a user.mime_type`, 'text/plain; charset=utf-8'],
        [`getxattr ${store}/a user.vreserve.nothing`, 'ENODATA'],
        [`listxattr ${store}/a`, 'EOPNOTSUPP'],
      ]);
      t.match(await other.all([`stat ${store}/a`, `cat ${store}/a`]), [{ size: 5 }, 'Jello']);
      t.match(await p.ops.do(`text ${store}/a.log`), OK_LOG);
      await p.table(t, [
        [`list ${store}`, ['a file']],
        [`unlink ${store}/a`, 0],
        [`stat ${store}/a`, 'ENOENT'],
        [`list ${store}`, []],
        [`unlink ${store}/a`, 'ENOENT'],
      ]);
      t.match(await p.ops.do(`text ${store}/a.log`), /^\S+ - Failure - Deleted!\n\S+ - OK - Blob Data WR Complete!\n/);
      await other.end();
    },
  ],
  [
    'another content: the old one is read until the new one is closed, and by who has it open ever after',
    async (t: Test, p: Place, column: Column) => {
      const store = storeOf(p);
      await p.table(t, [
        ...file(`${store}/a`, 3000),
        [`open old ${store}/a RDONLY`, 0],
        [`open f ${store}/a WRONLY|TRUNC`, 0],
        ['write f new', 3],
        [`stat ${store}/a`, statOf(3000, column)],
        [`getxattr ${store}/a user.vreserve.state`, 'OK'],
        [`open between ${store}/a RDONLY`, 0],
        ['fstat between', statOf(3000, column)],
        ['close f', 0],
        [`cat ${store}/a`, 'new'],
        [`stat ${store}/a`, statOf(3, column)],
        ['fstat old', statOf(3000, column)],
        ['fstat between', statOf(3000, column)],
      ]);
      const [first, last] = (await p.ops.all(['pread old 10 0', 'pread between 4000 2990'])) as [string, string];
      t.equal(first.length, 10);
      t.equal(last.length, 10, 'to the end of the content that was there at the open');
      await p.table(t, [
        ['reopen more old RDONLY', 0],
        ['pread more 5 0', first.slice(0, 5)],
        ['close more', 0],
        ['close old', 0],
        ['close between', 0],
      ]);
      t.match(await p.ops.do(`text ${store}/a.log`), /Complete!\n.*Starting.*\n\S+ - OK - Blob Updated & Saved!\n$/);
      await clear(p);
    },
  ],
  [
    'what is not truncated begins with what is there',
    async (t: Test, p: Place, column: Column) => {
      const store = storeOf(p);
      await p.table(t, [
        [`open f ${store}/a CREAT|WRONLY|APPEND`, 0],
        ['write f one', 3],
        ['close f', 0],
        [`open f ${store}/a WRONLY|APPEND`, 0],
        ['fstat f', statOf(3, column)],
        ['write f -two', 4],
        [`cat ${store}/a`, 'one'],
        ['close f', 0],
        [`cat ${store}/a`, 'one-two'],
        [`open f ${store}/a RDWR`, 0],
        ['read f 3', 'one'],
        ['lseek f -3 END', 4],
        ['write f 2!', 2],
        ['pread f 100 0', 'one-2!o'],
        ['ftruncate f 6', 0],
        ['close f', 0],
        [`cat ${store}/a`, 'one-2!'],
        [`open f ${store}/a CREAT|RDWR`, 0],
        ['close f', 0],
        [`cat ${store}/a`, 'one-2!'],
      ]);
      const log = String(await p.ops.do(`text ${store}/a.log`));
      await p.table(t, [
        [`open f ${store}/a WRONLY`, 0],
        ['fsync f', 0],
        ['close f', 0],
        [`open f ${store}/a RDWR`, 0],
        ['pread f 100 0', 'one-2!'],
        ['close f', 0],
        [`cat ${store}/a`, 'one-2!'],
      ]);
      t.ok(String(await p.ops.do(`text ${store}/a.log`)).endsWith(log), 'where nothing was written nothing has become of it');
      await p.table(t, [
        [`open f ${store}/a WRONLY|TRUNC`, 0],
        ['close f', 0],
        [`cat ${store}/a`, ''],
        [`open f ${store}/b CREAT|RDONLY`, 0],
        ['close f', 0],
        [`getxattr ${store}/b user.vreserve.state`, 'OK'],
        [`stat ${store}/b`, statOf(0, column)],
        ...file(`${store}/b`, 10),
        [`open f ${store}/b RDONLY|TRUNC`, 0],
        ['close f', 0],
        [`stat ${store}/b`, statOf(0, column)],
      ]);
      await clear(p);
    },
  ],
  [
    'every way to write a file',
    async (t: Test, p: Place, column: Column) => {
      const store = storeOf(p);
      await p.table(t, [
        ...file('plain', 9000),
        ['open from plain RDWR', 0],
        ['pwrite from start 0', 5],
        [`open f ${store}/fallocated CREAT|WRONLY`, 0],
        ['posix_fallocate f 0 5000', 0],
        ['close f', 0],
        [`stat ${store}/fallocated`, statOf(5000, column)],
        [`open f ${store}/hole CREAT|RDWR`, 0],
        ['ftruncate f 100000', 0],
        ['pwrite f end 99997', 3],
        ['lseek f 0 DATA', 98_304],
        ['close f', 0],
        [`open f ${store}/copied CREAT|RDWR`, 0],
        ['copy from 0 f 0 9000', { copied: 9000, in: 9000, out: 9000 }],
        ['close f', 0],
        [`open g ${store}/copied RDONLY`, 0],
        ['pread g 5 0', 'start'],
        [`open f ${store}/again CREAT|RDWR`, 0],
        ['copy g 0 f 0 9000', { copied: 9000, in: 9000, out: 9000 }],
        ['close f', 0],
        [`stat ${store}/again`, statOf(9000, column)],
        ['open to out CREAT|RDWR', 0],
        ['copy g 0 to 0 9000', { copied: 9000, in: 9000, out: 9000 }],
        ['close to', 0],
        ['open to out2 CREAT|RDWR', 0],
        ['sendfile to g 9000', 9000],
        ['pread to 5 0', 'start'],
        ['close to', 0],
        ['copy from 0 g 0 10', 'EBADF'],
        ['close g', 0],
        [`open f ${store}/sent CREAT|RDWR`, 0],
        ['sendfile f from 9000', 9000],
        ['close f', 0],
        [`stat ${store}/sent`, statOf(9000, column)],
        [`open f ${store}/direct CREAT|WRONLY|DIRECT`, 0],
        ['fill f 8192 0', 8192],
        ['close f', 0],
        [`stat ${store}/direct`, statOf(8192, column)],
        [`open f ${store}/mapped CREAT|RDWR`, 0],
        ['ftruncate f 4096', 0],
        ['close from', 0],
      ]);
      // Whether a shared mapping that can be written is to be had or not: what it wrote is in the blob, or nobody could write it.
      if ((await p.ops.do('mmap f 4096 shared rw')) === 0) {
        await p.table(t, [
          ['poke 10 mapped', 0],
          ['msync', 0],
          ['munmap', 0],
          ['close f', 0],
          [`open f ${store}/mapped RDONLY`, 0],
          ['pread f 6 10', 'mapped'],
        ]);
      }
      await p.table(t, [
        ['close f', 0],
        [`open f ${store}/copied RDONLY`, 0],
        ['mmap f 9000 shared r', 0],
        ['close f', 0],
        ...file(`${store}/copied`, 9000),
        ['peek 0 5', 'start'],
        ['munmap', 0],
        [`open f ${store} TMPFILE|RDWR`, 'EOPNOTSUPP'],
      ]);
      await clear(p);
    },
  ],
  [
    'what a blob does not have',
    async (t: Test, p: Place, column: Column) => {
      const store = storeOf(p);
      const { uid = 0 } = column;
      await p.table(t, [
        ...file(`${store}/a`, 100),
        ...file('f', 5),
        ['mkdir d', 0],
        [`link ${store}/a ${store}/b`, 'EPERM'],
        [`link f ${store}/b`, 'EPERM'],
        [`link ${store}/a b`, 'EXDEV'],
        [`symlink a ${store}/b`, 'EPERM'],
        [`mkdir ${store}/b`, 'EPERM'],
        [`mknod ${store}/b fifo 600`, 'EPERM'],
        [`mknod ${store}/b file 600`, 'EPERM'],
        [`rename ${store}/a ${store}/b`, 'EXDEV'],
        [`rename ${store}/a f2`, 'EXDEV'],
        [`rename f ${store}/a`, 'EXDEV'],
        [`rename f ${store}/b`, 'EXDEV'],
        [`rename f ${store}/a EXCHANGE`, 'EXDEV'],
        [`rename d ${store}/b`, 'EXDEV'],
        [`rename ${store} d/x`, uid === 0 ? 'EPERM' : 'EACCES'],
        [`rmdir ${store}`, uid === 0 ? 'EPERM' : 'EACCES'],
        [`stat ${store}/a/x`, 'ENOTDIR'],
        [`open f ${store}/d/x CREAT|WRONLY`, 'ENOENT'],
        [`truncate ${store}/a 5`, 'EOPNOTSUPP'],
        // All that copies files sets these, and must not fail.
        [`chmod ${store}/a 777`, 0],
        [`chown ${store}/a ${uid} ${uid}`, 0],
        [`utimens ${store}/a 1.5 2.5`, 0],
        [`chown ${store}/a ${uid + 1} -1`, 'EPERM'],
        [`stat ${store}/a`, statOf(100, column)],
        [`setxattr ${store}/a user.vreserve.state OK`, 'EOPNOTSUPP'],
        [`setxattr ${store}/a user.mime_type x/y`, 'EOPNOTSUPP'],
        [`setxattr ${store}/a user.vreserve.reserve 5`, 'EOPNOTSUPP'],
        [`removexattr ${store}/a user.mime_type`, 'EOPNOTSUPP'],
        [`open f ${store}/a RDONLY`, 0],
        ['write f x', 'EBADF'],
        ['ftruncate f 1', 'EINVAL'],
        ['fallocate f 0 0 10', 'EBADF'],
        ['fstat f', statOf(100, column)],
        ['close f', 0],
        [`stat ${store}/a`, statOf(100, column)],
        [`list ${store}`, ['a file']],
      ]);
      const { stdout } = await must(
        p.m.shell('stat -c %Y .vreserve/store; sleep 1.1; touch x; ls -la .vreserve/store >&2; stat -c %Y .vreserve/store'),
      );
      const [before, after] = stdout.trim().split('\n');
      t.equal(after, before, 'a directory that nobody changes has one time');
      await clear(p);
    },
  ],
  [
    'names are those of files',
    async (t: Test, p: Place) => {
      const script = `
        cd .vreserve/store
        long=$(printf 'x%.0s' $(seq 255)); wide=$(printf 'é%.0s' $(seq 127))x
        for name in "$long" "$wide" 'a b' $'new\\nline' .dot ..two ...  '*' '?' '\\' '%2F' -rf -- x.log .log $'\\x01' $'\\x7f' '~' $'\\u202e' $'\\U1F600' store control; do
          printf %s "$name" > ./"$name"
          [ "$(cat ./"$name")" = "$name" ]
          [ "$(getfattr --only-values --absolute-names -n user.vreserve.state ./"$name")" = OK ]
          [ "$(ls -A | wc -c)" = $(( $(printf %s "$name" | wc -c) + 1 )) ]
          # There is no name for the log of a name that is too long.
          [ \${#name} -gt 120 ] || grep -q 'Complete!$' ./"$name".log
          rm ./"$name"
          [ ! -e ./"$name" ]
        done`;
      await must(p.m.shell(script));
      const refused: [name: string, says: string][] = [
        [`"x$(printf 'x%.0s' $(seq 255))"`, 'File name too long'],
        [`"$(printf 'é%.0s' $(seq 128))"`, 'File name too long'],
        [`$'\\xff'`, 'Invalid or incomplete multibyte or wide character'],
        [`$'a\\xc3'`, 'Invalid or incomplete multibyte or wide character'],
        [`$'\\xed\\xa0\\x80'`, 'Invalid or incomplete multibyte or wide character'],
        [`$'\\xc0\\xaf'`, 'Invalid or incomplete multibyte or wide character'],
        // What stands for bytes that are no UTF-8.
        [`$'\\ufffd'`, 'Invalid or incomplete multibyte or wide character'],
      ];
      for (const [name, says] of refused) {
        const { stderr } = await p.m.shell(`LC_ALL=C; echo x > .vreserve/store/${name}`);
        t.match(stderr, says, name);
        t.match((await p.m.shell(`cat .vreserve/store/${name}`)).stderr, /No such file|too long/, name);
        t.match((await p.m.shell(`rm .vreserve/store/${name}`)).stderr, /No such file|too long/, name);
      }
      t.same(await p.ops.do(`list ${storeOf(p)}`), []);
    },
  ],
  [
    'what became of a name is at NAME.log, unless that is the name of a blob',
    async (t: Test, p: Place, column: Column) => {
      const store = storeOf(p);
      await p.table(t, [
        [`stat ${store}/q.log`, 'ENOENT'],
        ...file(`${store}/q`, 7),
        [`stat ${store}/q.log.log`, 'ENOENT'],
        [`unlink ${store}/q.log`, 'ENOENT'],
      ]);
      const log = String(await p.ops.do(`text ${store}/q.log`));
      t.match(log, OK_LOG);
      t.match(await p.ops.do(`stat ${store}/q.log`), { type: 'file', mode: '600', size: log.length });
      await p.table(t, [
        [`open f ${store}/q.log WRONLY|TRUNC`, 0],
        [`getxattr ${store}/q.log user.vreserve.state`, 'Pending'],
        ['write f mine', 4],
        ['close f', 0],
        [`cat ${store}/q.log`, 'mine'],
        [`list ${store}`, ['q file', 'q.log file']],
        [`unlink ${store}/q.log`, 0],
      ]);
      t.equal(await p.ops.do(`text ${store}/q.log`), log, 'it is there again');
      await p.table(t, [
        [`open f ${store}/q.log CREAT|WRONLY`, 'EOPNOTSUPP'],
        [`open f ${store}/q.log CREAT|EXCL|WRONLY`, 'EEXIST'],
        [`unlink ${store}/q`, 0],
        [`stat ${store}/q`, 'ENOENT'],
      ]);
      t.match(await p.ops.do(`text ${store}/q.log`), /^\S+ - Failure - Deleted!\n/);
      t.same(await p.ops.do(`list ${store}`), []);
      await p.table(t, [...file(`${store}/q`, 1), [`stat ${store}/q`, statOf(1, column)]]);
      await clear(p);
    },
  ],
  [
    'two at once',
    async (t: Test, p: Place) => {
      const store = storeOf(p);
      const other = await p.another(t);
      await p.table(t, [
        [`open f ${store}/a CREAT|WRONLY|TRUNC`, 0],
        ['write f mine', 4],
      ]);
      t.same(
        await other.all([`open g ${store}/a CREAT|WRONLY|TRUNC`, 'write g theirs', 'close g', `cat ${store}/a`]),
        [0, 6, 0, 'theirs'],
        'who is complete first is read first',
      );
      await p.table(t, [
        ['close f', 0],
        [`cat ${store}/a`, 'mine'],
      ]);
      t.same(await other.do(`cat ${store}/a`), 'mine', 'who is complete last is what is there');
      await p.table(t, [
        [`open f ${store}/a WRONLY|APPEND`, 0],
        ['write f -appended', 9],
        [`unlink ${store}/a`, 0],
        ['close f', 0],
        [`cat ${store}/a`, 'mine-appended'],
      ]);
      await other.end();

      // In one process, too: the order of closing is what counts.
      for (let i = 0; i < 20; i++) {
        await p.table(t, [
          [`open f ${store}/a WRONLY|APPEND`, 0],
          [`write f +${i}`, `+${i}`.length],
          [`open g ${store}/a WRONLY|TRUNC`, 0],
          ['write g other', 5],
        ]);
        t.same(await p.ops.all(['close g', 'close f']), [0, 0]);
        const expected = `mine-appended${[...Array(i + 1).keys()].map((n) => `+${n}`).join('')}`;
        t.equal(await p.ops.do(`cat ${store}/a`), expected);
      }
      await clear(p);
    },
  ],
  [
    'descriptors of one open file',
    async (t: Test, p: Place) => {
      const store = storeOf(p);
      await p.table(t, [
        [`open f ${store}/a CREAT|WRONLY`, 0],
        ['dup g f', 0],
        ['write f one', 3],
        ['close f', 0],
        [`getxattr ${store}/a user.vreserve.state`, 'Pending'],
        ['write g two', 3],
        ['close g', 0],
        [`cat ${store}/a`, 'onetwo'],
        [`open f ${store}/b CREAT|RDWR`, 0],
        ['reopen g f WRONLY', 0],
        ['reopen h f RDONLY', 0],
        ['write f one', 3],
        ['pwrite g T 2', 1],
        ['pread h 9 0', 'onT'],
        ['close f', 0],
        [`getxattr ${store}/b user.vreserve.state`, 'Pending'],
        ['close g', 0],
        [`cat ${store}/b`, 'onT'],
        ['pread h 9 0', 'onT'],
        ['close h', 0],
        [`open r ${store}/b RDONLY`, 0],
        ['reopen g r WRONLY', 'ESTALE'],
        ['reopen g r RDONLY', 0],
        ['close g', 0],
        ['close r', 0],
        [`open x ${store}/b PATH`, 0],
        ['close x', 0],
      ]);
      await clear(p);
    },
  ],
];

const ROOM: Case[] = [
  [
    'the grant is exact to the byte, and what does not fit leaves what was there',
    async (t: Test, p: Place, column: Column) => {
      const store = storeOf(p);
      const { pool } = await p.report();
      await p.table(t, file(`${store}/old`, 1000));
      const room = await roomOf(p);
      for (const name of ['old', 'new']) {
        await p.table(t, [
          [`open f ${store}/${name} CREAT|WRONLY|TRUNC`, 0],
          [`fill f ${room - 1} 0`, room - 1],
          [`fill f 2 ${room - 1}`, 1],
          [`fill f 1 ${room}`, 'ENOSPC'],
          [`fill f 10 0`, 10],
          ['close f', 'ENOSPC'],
        ]);
        t.equal(await roomOf(p), room, 'nothing of it is left');
        t.match(await p.ops.do(`text ${store}/${name}.log`), /^\S+ - Failure - .* not all of it could be written: ENOSPC\n/);
      }
      await p.table(t, [
        [`stat ${store}/old`, statOf(1000, column)],
        [`stat ${store}/new`, 'ENOENT'],
        // All of the bytes, but none for the record.
        [`open f ${store}/new CREAT|WRONLY`, 0],
        [`fill f ${room - LEAST_RECORD} 0`, room - LEAST_RECORD],
        ['close f', 'ENOSPC'],
        [`stat ${store}/new`, 'ENOENT'],
        // A step that fails is no write that fails: nothing that was to be kept is lost.
        [`open f ${store}/old RDWR`, 0],
        [`posix_fallocate f 0 ${GRANT}`, 'ENOSPC'],
        [`ftruncate f ${GRANT}`, 'ENOSPC'],
        ['write f x', 1],
        ['close f', 0],
        [`stat ${store}/old`, statOf(1000, column)],
      ]);
      const rest = await roomOf(p);
      await p.table(t, [
        [`open f ${store}/new CREAT|WRONLY`, 0],
        [`fill f ${rest - MOST_RECORD} 0`, rest - MOST_RECORD],
        ['close f', 0],
        [`stat ${store}/new`, statOf(rest - MOST_RECORD, column)],
        [`statfs ${store}`, { size: Math.ceil(GRANT / 4096) * 4096, free: 0, available: 0 }],
        [`statfs ${store}/old`, { size: Math.ceil(GRANT / 4096) * 4096, free: 0, available: 0 }],
      ]);
      t.match((await p.report()).pool, { headroomBytes: pool.headroomBytes }, 'others keep what is theirs');
      await clear(p);
    },
  ],
  [
    'rm and cp at the edge: what was removed or replaced is free at once',
    async (t: Test, p: Place) => {
      const store = storeOf(p);
      for (let i = 0; i < 5; i++) {
        const most = (await roomOf(p)) - 10 * MOST_RECORD;
        await p.table(t, [...file(`${store}/big`, most), [`unlink ${store}/big`, 0], ...file(`${store}/other`, most)]);
        await p.table(t, [[`unlink ${store}/other`, 0]]);
      }
      const half = Math.floor((await roomOf(p)) / 2) - 10 * MOST_RECORD;
      for (let i = 0; i < 5; i++) await p.table(t, file(`${store}/replaced`, half));
      // Nor does who looked at it stand in the way.
      await p.table(t, [
        [`open r ${store}/replaced RDONLY`, 0],
        ['close r', 0],
        [`unlink ${store}/replaced`, 0],
      ]);
      await p.table(t, file(`${store}/big`, 2 * half));
      await clear(p);
    },
  ],
  [
    'copying begins with what is there: there must be room for both',
    async (t: Test, p: Place, column: Column) => {
      const store = storeOf(p);
      const size = GRANT - 500 * KIB;
      await p.table(t, [
        ...file(`${store}/a`, size),
        [`open f ${store}/a WRONLY|APPEND`, 'ENOSPC'],
        [`stat ${store}/a`, statOf(size, column)],
        [`getxattr ${store}/a user.vreserve.state`, 'OK'],
      ]);
      t.equal(await roomOf(p), GRANT - (await lotOf(p)).usedBytes);
      await clear(p);
    },
  ],
];

const TOOLS: Case[] = [
  [
    'programs that copy, move, edit and archive',
    async (t: Test, p: Place) => {
      const steps: [name: string, script: string][] = [
        [
          'cp',
          'cp "$F" s/a; cmp "$F" s/a; cp "$F" s/a; cp -p "$F" s/b; cp -a "$F" s/c; cp s/a s/d; cp -r "$D/." s/; cmp s/d s/one',
        ],
        [
          'cat and tee',
          'cat "$F" > s/a; cmp "$F" s/a; cat "$F" | tee s/b > s/c; cmp s/b s/c; cat s/a s/b | cat - "$F" > s/d; [ $(stat -c %s s/d) = 90000 ]',
        ],
        [
          '>>',
          'echo 1 > s/a; for i in 2 3 4; do echo $i >> s/a; done; [ "$(echo $(cat s/a))" = "1 2 3 4" ]; echo new >> s/b; [ "$(cat s/b)" = new ]',
        ],
        [
          'a block of a shell',
          '{ echo 1; (echo 2; /bin/echo 3); /bin/echo 4; } > s/a; [ "$(echo $(cat s/a))" = "1 2 3 4" ]; ( exec > s/b; echo 5; /bin/echo 6 & wait ); [ "$(echo $(cat s/b))" = "5 6" ]',
        ],
        [
          'mv',
          'cp "$F" x; mv x s/a; [ ! -e x ]; cmp "$F" s/a; mv s/a s/b; [ ! -e s/a ]; cmp "$F" s/b; mv s/b y; [ ! -e s/b ]; cmp "$F" y; mv y s/; cmp "$F" s/y; ! mv "$PWD" s/dir',
        ],
        ['install', 'install -m 644 "$F" s/a; cmp "$F" s/a; install "$F" s/a; cmp "$F" s/a'],
        [
          'dd',
          'dd if="$F" of=s/a bs=1000 status=none; cmp "$F" s/a; dd if="$F" of=s/a bs=1k count=1 seek=1 conv=notrunc,fsync status=none; [ $(stat -c %s s/a) = 30000 ]; dd if=/dev/zero of=s/b bs=4096 count=3 oflag=direct status=none; [ $(stat -c %s s/b) = 12288 ]',
        ],
        ['touch', 'touch s/a; [ -f s/a -a ! -s s/a ]; echo x > s/a; touch s/a; touch -d 2001-01-01 s/a; [ "$(cat s/a)" = x ]'],
        [
          'truncate',
          'cp "$F" s/a; truncate -s 100 s/a; cmp -n 100 "$F" s/a; [ $(stat -c %s s/a) = 100 ]; truncate -s 50000 s/a; [ $(stat -c %s s/a) = 50000 ]; : > s/a; [ ! -s s/a ]',
        ],
        [
          'rsync',
          'rsync -a "$D/" s/; diff -r "$D" s; rsync --inplace "$F" s/one; cmp "$F" s/one; mkdir out; rsync -a s/ out/; diff -r s out; rsync -rc --itemize-changes s/ out/ | (! grep .)',
        ],
        [
          'tar',
          'tar -C "$D" -cf - one two | tar -C s -xf -; diff -r "$D" s; tar -C s -cf x.tar .; tar -tf x.tar | grep -q two; tar -C "$D" -cf - . | tar -C s -xf -; diff -r "$D" s',
        ],
        [
          'a program that writes beside and renames',
          'cp "$F" s/a; cp "$F" s/.a.tmp; mv s/.a.tmp s/a; cmp "$F" s/a; ! sed -i s/x/y/ s/a; cmp "$F" s/a; [ "$(ls -A s)" = a ]',
        ],
        [
          'a program that edits in place',
          'printf "one\\ntwo\\n" > s/a; printf "1i\\nzero\\n.\\nw\\nq\\n" | if command -v ed > /dev/null; then ed -s s/a; else sed 1izero s/a > x; cat x > s/a; fi; [ "$(echo $(cat s/a))" = "zero one two" ]',
        ],
        ['a program that reads all and writes then', 'cp "$F" s/a; sort -o s/a s/a; sort "$F" | cmp - s/a'],
        ['a file with holes', 'truncate -s 1M x; printf end >> x; cp --sparse=always x s/a; cmp x s/a'],
        [
          'find, grep, du, wc, sha256sum',
          'cp "$F" s/a; [ "$(find s/ -type f -size +10k)" = s/a ]; grep -rq line s/; du -b s/ > /dev/null; [ $(wc -c < s/a) = 30000 ]; [ "$(sha256sum < "$F")" = "$(sha256sum < s/a)" ]',
        ],
        [
          'rm',
          'cp "$F" s/a; cp "$F" s/b; rm s/a; [ "$(ls s/)" = b ]; ! rm s/a; rm -f s/a; ! rm -r s/ 2> /dev/null; [ -d s/ -a ! -e s/b ]',
        ],
      ];
      const prepare = `
        cd '${p.m.mnt}${p.top}'; ln -s '${storeOf(p)}' s
        D=$PWD/d; F=$D/one; mkdir "$D"; seq -f 'line number %015g end' 1000 | head -c 30000 > "$F"; echo two > "$D/two"
        set -o pipefail`;
      for (const [name, script] of steps) {
        const outcome = await p.m.shell(`${prepare}\n${script}`);
        t.equal(outcome.code, 0, `${name}: ${outcome.stdout}${outcome.stderr}`);
        t.match(await p.ops.do(`text ${p.m.mnt}/.vreserve/health`), 'ok\n');
        await must(p.m.shell(`cd '${p.m.mnt}${p.top}'; rm -rf ./*`));
        await clear(p);
      }
    },
  ],
  [
    'many names are listed, and removed while they are listed',
    async (t: Test, p: Place) => {
      const count = 700;
      await must(p.m.shell(`cd .vreserve/store; for i in $(seq ${count}); do echo $i > name-$i; done`));
      t.equal(((await p.ops.do(`list ${storeOf(p)}`)) as string[]).length, count);
      const { stdout } = await must(p.m.shell('ls -l .vreserve/store | wc -l; cat .vreserve/store/* | sort -n | uniq | wc -l'));
      t.same(stdout.trim().split(/\s+/), [String(count + 1), String(count)]);
      t.same(await p.ops.do(`empty ${storeOf(p)}`), { gone: count, left: 0 });
      t.same(await p.ops.do(`list ${storeOf(p)}`), []);
    },
  ],
];

t.test('on each mount', { timeout: 400_000 }, async (t) => {
  const args = ['--capacity', '64MB', '--margin', '0', '--store-grant', String(GRANT)];
  // An interval so long that only what is asked for is collected.
  args.push('--gc-interval', '1h');
  const native = COLUMNS.filter(({ engine }) => engine === undefined);
  await onEachMount(t, native, [...FILES, ...ROOM], args);
  // What programs do with files is the same on every backing.
  const [on] = testBackings().slice(-1);
  await onEachMount(
    t,
    native.filter((column) => column.on === on),
    TOOLS,
    args,
  );
});
