// The mount that covers its own backing directory: the ledger is out of reach, and a daemon that was killed is replaced.
import t from 'tap';
import { COLUMNS, file, NOBODY, Place, soon } from '../helpers/columns.js';
import { startSteps } from '../helpers/fsop.js';
import { whyNotWith } from '../helpers/limits.js';
import { mount } from '../helpers/mount.js';

const ARGS = ['--capacity', '64MB', '--margin', '0'];

for (const column of COLUMNS) {
  t.test(`in place: ${column.name}`, { skip: column.skip, timeout: 60_000 }, async (t) => {
    const m = await mount(t, { ...column, inPlace: true, args: [...(column.args ?? []), ...ARGS] });
    const first = new Place(m, await startSteps(t, m.mnt, m.identity));
    await first.table(t, [
      ['mkdir job', 0],
      ['reserve job 100000', ''],
      ...file('job/f', 60_000),
      ['text .vreserve/health', 'ok\n'],
      ['open l .vreserve/ledger.db RDONLY', 'ENOENT'],
      ['open l .vreserve/lock RDONLY', 'ENOENT'],
      ['open l .vreserve/ledger.db-wal RDWR', 'ENOENT'],
      ['access .vreserve/ledger R', 0],
      ['open l .vreserve/ledger WRONLY', 'EACCES'],
      ['open l .vreserve/new CREAT|WRONLY', column.uid === undefined ? 'EPERM' : 'EACCES'],
    ]);
    const names = JSON.stringify(await first.ops.do('list .vreserve'));
    t.notMatch(names, /ledger\.db|ballast|lock|daemon\.log/);
    t.notMatch(JSON.stringify(await first.ops.do('list .')), /vreserve/);
    if (column.uid === undefined && whyNotWith(column.engine, ['other-users']) === false) {
      const user = await first.another(t, { uid: NOBODY, gid: NOBODY });
      t.equal(await user.do('open l .vreserve/ledger.db RDONLY'), 'ENOENT');
      await user.end();
    }

    // Killed while a file is open and grows, and one that is unlinked is held.
    await first.table(t, [
      ['open g job/g CREAT|RDWR', 0],
      ['fill g 30000 0', 30_000],
      ['open u job/u CREAT|RDWR', 0],
      ['fill u 9000 0', 9000],
      ['unlink job/u', 0],
      ['used job', 99_000],
      ['reserve late 5000', ''],
    ]);
    await m.kill();
    t.match(await first.ops.do('fill g 10 0'), /^(ENOTCONN|ECONNABORTED)$/);
    await first.ops.end();
    await m.remount();

    const second = new Place(m, await startSteps(t, m.mnt, m.identity));
    const rows = (await second.report()).lots.map(({ path, dedicatedBytes }) => [path, dedicatedBytes]);
    t.same(
      rows,
      [
        ['/', 0],
        ['/job', 100_000],
        ['/late', 5000],
      ],
      'every grant that was acknowledged',
    );
    t.ok(
      (
        await soon(
          () => second.journal('recovery'),
          (lines) => lines.length > 0,
        )
      ).length > 0,
      'the recovery is in the journal',
    );
    await second.table(t, [
      ['used job', 90_000],
      ['objects job', 2],
      ['open g job/g RDWR', 0],
      ['fill g 20000 30000', 10_000],
      ['fill g 1 40000', 'ENOSPC'],
      ['used job', 100_000],
      ['close g', 0],
      ['open l .vreserve/ledger.db RDONLY', 'ENOENT'],
    ]);
    await second.ops.end();
    await m.umount();
    t.match(await m.run(['check', m.data]), { code: 0, stdout: /no difference: 100 kB, 2 objects/ });
  });
}
