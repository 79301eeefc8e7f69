// What is charged, when, and when it comes back: every operation that changes a size or the number of objects, by tables of steps.
import t from 'tap';
import { type Case, COLUMNS, needsOfRows, onEachMount, type Row } from '../helpers/columns.js';
import { whyNotWith } from '../helpers/limits.js';

/** A case that is one table, in a lot of so many bytes at `lot`. */
const inLot = (name: string, bytes: number, rows: readonly Row[]): Case => [
  name,
  async (t, p) => {
    await p.table(t, [['mkdir lot', 0], [`reserve lot ${bytes}`, ''], ['chdir lot', 0], ...rows]);
  },
  needsOfRows(rows),
];

const created: Row = ['open f f CREAT|RDWR', 0];

const WHAT: Case[] = [
  inLot('a hole is charged, and a mapping fills it without asking', 10_000, [
    created,
    ['pwrite f x 4999', 1],
    ['used lot', 5000],
    ['ftruncate f 10000', 0],
    ['used lot', 10_000],
    ['ftruncate f 10001', 'ENOSPC'],
    ['mmap f 10000 shared rw', 0],
    ['poke 7000 filled', 0],
    ['msync', 0],
    ['munmap', 0],
    ['pread f 6 7000', 'filled'],
    ['used lot', 10_000],
    ['objects lot', 1],
    ['close f', 0],
  ]),
  inLot('allocating past the end of file is refused, punching a hole changes nothing', 100_000, [
    created,
    ['fill f 20000 0', 20_000],
    ['fallocate f KEEP 20000 1', 'EOPNOTSUPP'],
    ['fallocate f KEEP 0 20001', 'EOPNOTSUPP'],
    ['fallocate f KEEP 0 20000', 0],
    ['fallocate f ZERO 10000 20000', 'EOPNOTSUPP'],
    ['fallocate f ZERO|KEEP 10000 20000', 'EOPNOTSUPP'],
    ['used lot', 20_000],
    ['fallocate f PUNCH|KEEP 4096 8192', 0],
    ['fallocate f PUNCH|KEEP 16384 90000', 0],
    ['used lot', 20_000],
    ['fallocate f 0 0 30000', 0],
    ['used lot', 30_000],
    ['posix_fallocate f 30000 10000', 0],
    ['used lot', 40_000],
    ['posix_fallocate f 40000 60001', 'ENOSPC'],
    ['used lot', 40_000],
    ['lseek f 0 END', 40_000],
    ['posix_fallocate f 40000 60000', 0],
    ['used lot', 100_000],
    ['close f', 0],
  ]),
  inLot('directories, symlinks, special files and attributes charge no bytes', 100, [
    ['mkdir d', 0],
    ['objects lot', 0],
    ['symlink a-longer-target-than-a-hundred-bytes-a-longer-target-than-a-hundred-bytes-a-longer-target-than-a-hundred s', 0],
    ['mknod p fifo 0600', 0],
    ['mknod q socket 0600', 0],
    ['objects lot', 3],
    created,
    ['setxattr f user.test 0123456789012345678901234567890123456789012345678901234567890123456789', 0],
    ['setxattr f user.more 0123456789012345678901234567890123456789012345678901234567890123456789', 0],
    ['objects lot', 4],
    ['used lot', 0],
    ['link f d/g', 0],
    ['link s d/s', 0],
    ['objects lot', 4],
    ['rmdir d', 'ENOTEMPTY'],
    ['unlink s', 0],
    ['unlink p', 0],
    ['objects lot', 3],
    ['unlink d/s', 0],
    ['unlink q', 0],
    ['unlink f', 0],
    ['unlink d/g', 0],
    ['rmdir d', 0],
    ['close f', 0],
    ['soon objects lot', 0],
  ]),
  inLot('an O_TMPFILE is an object while it is open', 1000, [
    ['open f . TMPFILE|RDWR', 0],
    ['objects lot', 1],
    ['fill f 600 0', 600],
    ['used lot', 600],
    ['open g . TMPFILE|RDWR', 0],
    ['fill g 600 0', 400],
    ['fill g 1 400', 'ENOSPC'],
    ['objects lot', 2],
    ['close g', 0],
    ['soon used lot', 600],
    ['linkproc f named', 0],
    ['close f', 0],
    ['used lot', 600],
    ['objects lot', 1],
    ['unlink named', 0],
    ['used lot', 0],
    ['objects lot', 0],
  ]),
];

const EDGE: Case[] = [
  inLot('a write is cut short, then refused; overwriting and reading never are', 1000, [
    created,
    ['fill f 600 0', 600],
    ['fill f 600 600', 400],
    ['fill f 600 1000', 'ENOSPC'],
    ['fill f 1 1000', 'ENOSPC'],
    ['used lot', 1000],
    ['fill f 1000 0', 1000],
    ['fill f 600 700', 300],
    ['pwrite f over 996', 4],
    ['pread f 10 990', 'bcdefgover'],
    ['used lot', 1000],
    ['open a f APPEND|WRONLY', 0],
    ['write a more', 'ENOSPC'],
    ['ftruncate f 998', 0],
    ['write a more', 2],
    ['write a more', 'ENOSPC'],
    ['used lot', 1000],
    ['close a', 0],
    ['close f', 0],
  ]),
  inLot('a write far past the end pays for the hole, or fails whole', 1000, [
    created,
    ['pwrite f abcdef 1000', 'ENOSPC'],
    ['pwrite f abcdef 999999', 'ENOSPC'],
    ['used lot', 0],
    ['lseek f 0 END', 0],
    ['pwrite f abcdef 997', 3],
    ['used lot', 1000],
    ['close f', 0],
  ]),
  inLot('large writes are cut to the byte', 3_000_001, [
    created,
    ['fill f 2m 0', 2_097_152],
    ['fill f 2m 2097152', 902_849],
    ['fill f 2m 3000001', 'ENOSPC'],
    ['used lot', 3_000_001],
    ['close f', 0],
  ]),
  inLot('copy_file_range is cut short, then refused', 1000, [
    created,
    ['fill f 600 0', 600],
    ['open g g CREAT|RDWR', 0],
    ['copy f 0 g 0 600', { copied: 400, in: 400, out: 400 }],
    ['copy f 400 g 400 200', 'ENOSPC'],
    ['used lot', 1000],
    ['copy f 100 g 0 400', { copied: 400, in: 500, out: 400 }],
    ['copy f 600 g 0 400', { copied: 0, in: 600, out: 0 }],
    ['copy f 0 g 9000 1', 'ENOSPC'],
    ['used lot', 1000],
    ['close f', 0],
    ['close g', 0],
  ]),
  inLot('truncate and fallocate fit or fail whole', 1000, [
    created,
    ['ftruncate f 1001', 'ENOSPC'],
    ['fallocate f 0 0 1001', 'ENOSPC'],
    ['fallocate f 0 999 2', 'ENOSPC'],
    ['lseek f 0 END', 0],
    ['used lot', 0],
    ['fallocate f 0 0 900', 0],
    ['truncate f 1001', 'ENOSPC'],
    ['truncate f 1000', 0],
    ['used lot', 1000],
    ['fallocate f 0 0 1000', 0],
    ['truncate f 1000', 0],
    ['open n new CREAT|EXCL|RDWR', 0],
    ['write n x', 'ENOSPC'],
    ['used lot', 1000],
    ['objects lot', 2],
    ['close n', 0],
    ['close f', 0],
  ]),
  inLot('a failed O_DIRECT write charges nothing', 8192, [
    ['open f f CREAT|RDWR|DIRECT', 0],
    ['fill f 4096 0', 4096],
    ['fill f 8192 4096', 4096],
    ['fill f 4096 8192', 'ENOSPC'],
    ['fill f 4096 8192', 'ENOSPC'],
    ['used lot', 8192],
    ['lseek f 0 END', 8192],
    ['close f', 0],
  ]),
];

const REFUNDS: Case[] = [
  inLot('truncate, O_TRUNC and the last unlink give back', 1000, [
    created,
    ['fill f 1000 0', 1000],
    ['ftruncate f 400', 0],
    ['used lot', 400],
    ['open g g CREAT|RDWR', 0],
    ['fill g 1000 0', 600],
    ['truncate f 0', 0],
    ['used lot', 600],
    ['close g', 0],
    ['open g g TRUNC|RDWR', 0],
    ['used lot', 0],
    ['fill g 1000 0', 1000],
    ['close g', 0],
    ['link g h', 0],
    ['unlink g', 0],
    ['used lot', 1000],
    ['unlink h', 0],
    ['used lot', 0],
    ['close f', 0],
  ]),
  inLot('an unlinked open file stays charged until its last close', 1000, [
    created,
    ['fill f 700 0', 700],
    ['dup g f', 0],
    ['open h f RDONLY', 0],
    ['unlink f', 0],
    ['used lot', 700],
    ['objects lot', 1],
    ['fill f 700 700', 300],
    ['fill f 1 1000', 'ENOSPC'],
    ['close f', 0],
    ['close g', 0],
    ['pread h 3 0', 'abc'],
    ['used lot', 1000],
    ['objects lot', 1],
    ['close h', 0],
    ['soon used lot', 0],
    ['soon objects lot', 0],
  ]),
  inLot('a replaced open file stays charged too', 1000, [
    created,
    ['fill f 700 0', 700],
    ['open g g CREAT|RDWR', 0],
    ['fill g 300 0', 300],
    ['rename g f', 0],
    ['used lot', 1000],
    ['fill g 1 300', 'ENOSPC'],
    ['close f', 0],
    ['soon used lot', 300],
    ['fill g 700 300', 700],
    ['close g', 0],
  ]),
];

// Each round ends as it began: the grant is full but for what the round itself frees.
const ROUNDS: readonly [name: string, rows: readonly Row[]][] = [
  [
    'rm big; cp new',
    [
      ['unlink a', 0],
      ['open f a CREAT|EXCL|WRONLY', 0],
      ['fill f 9000 0', 9000],
      ['close f', 0],
    ],
  ],
  [
    'rm big while it is open; close it; cp new',
    [
      ['open g a RDWR', 0],
      ['unlink a', 0],
      ['close g', 0],
      ['open f a CREAT|EXCL|WRONLY', 0],
      ['fill f 9000 0', 9000],
      ['close f', 0],
    ],
  ],
  [
    'unlinked before it is closed, by two descriptors',
    [
      ['open g a RDONLY', 0],
      ['open h a RDWR', 0],
      ['unlink a', 0],
      ['close h', 0],
      ['close g', 0],
      ['open f a CREAT|EXCL|WRONLY', 0],
      ['ftruncate f 9000', 0],
      ['close f', 0],
    ],
  ],
  [
    'cp over it',
    [
      ['open f a TRUNC|WRONLY', 0],
      ['fill f 9000 0', 9000],
      ['close f', 0],
    ],
  ],
  [
    'truncate, then fallocate another',
    [
      ['truncate a 0', 0],
      ['open f b CREAT|RDWR', 0],
      ['fallocate f 0 0 9000', 0],
      ['close f', 0],
      ['unlink b', 0],
      ['truncate a 9000', 0],
    ],
  ],
  [
    'replace it while it is open',
    [
      ['open g a RDONLY', 0],
      ['open f b CREAT|WRONLY', 0],
      ['rename b a', 0],
      ['close g', 0],
      ['fill f 9000 0', 9000],
      ['close f', 0],
    ],
  ],
];

const AGAIN: Case = [
  'at the edge of the grant, 200 times: what was just freed is there for the next',
  async (t, p) => {
    await p.table(t, [
      ['mkdir lot', 0],
      ['reserve lot 9999', ''],
      ['chdir lot', 0],
      ['open f a CREAT|WRONLY', 0],
      ['fill f 9000 0', 9000],
      ['close f', 0],
    ]);
    for (const [name, rows] of ROUNDS) {
      const cannot = whyNotWith(p.m.ready.engine, needsOfRows(rows));
      if (cannot !== false) {
        await t.test(name, { skip: cannot }, () => {});
        continue;
      }
      const expected = rows.map(([, value]) => value);
      const steps = rows.map(([step]) => step);
      let wrong: unknown = null;
      for (let round = 0; round < 200 && wrong === null; round++) {
        const found = await p.ops.all(steps);
        if (JSON.stringify(found) !== JSON.stringify(expected)) wrong = { round, found };
      }
      t.equal(wrong, null, name);
      await p.table(t, [
        ['soon used lot', 9000],
        ['soon objects lot', 1],
      ]);
    }
  },
];

t.test('what is charged', { timeout: 200_000 }, (t) => onEachMount(t, COLUMNS, [...WHAT, ...EDGE, ...REFUNDS, AGAIN]));
