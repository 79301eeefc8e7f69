// The place of a path in a mount, from the text of /proc/self/mountinfo.
import t from 'tap';
import { placeOf, realPathOf, vreserveMounts } from '../../src/cli/mountinfo.js';
import { parseMountinfo } from '../../src/core/mountinfo.js';

const TEXT = `
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 0:40 / /mnt/data rw,nosuid,nodev - fuse.vreserve /data rw,user_id=0,group_id=0
41 22 0:41 / /mnt/with\\040blank\\134 rw shared:2 master:3 - fuse.vreserve /with\\040blank rw
42 40 0:42 / /mnt/data/inner rw - tmpfs tmpfs rw
43 22 0:40 /job1 /srv/job rw - fuse.vreserve /data rw
44 22 0:44 / /mnt/covered rw - fuse.vreserve /a rw
45 44 0:45 / /mnt/covered rw - ext4 /dev/sdb rw
not a line of this format
`;
const mounts = parseMountinfo(TEXT);

t.test('lines', async (t) => {
  t.equal(mounts.length, 7);
  t.match(mounts[2], {
    id: 41,
    parentId: 22,
    device: '0:41',
    mountpoint: '/mnt/with blank\\',
    source: '/with blank',
    type: 'fuse.vreserve',
  });
  t.same(
    vreserveMounts(mounts).map((m) => m.mountpoint),
    ['/mnt/data', '/mnt/with blank\\'],
    'bind mounts and covered mounts are left out',
  );
});

t.test('places', async (t) => {
  const cases: [path: string, place: [mountpoint: string, path: string] | null][] = [
    ['/mnt/data', ['/mnt/data', '/']],
    ['/mnt/data/job1/a b', ['/mnt/data', '/job1/a b']],
    ['/mnt/database', null],
    ['/mnt/with blank\\/x', ['/mnt/with blank\\', '/x']],
    ['/mnt/data/inner/x', null],
    ['/mnt/data/innermost', ['/mnt/data', '/innermost']],
    ['/srv/job/x', ['/srv/job', '/x']],
    ['/mnt/covered/x', null],
    ['/', null],
  ];
  for (const [path, want] of cases) {
    const got = placeOf(path, mounts);
    t.same(got === undefined ? null : [got.mount.mountpoint, got.path], want, path);
  }
});

t.test('paths that do not exist', async (t) => {
  const top = t.testdir({ real: { dir: {} }, link: t.fixture('symlink', 'real') });
  t.equal(realPathOf(`${top}/link/dir/none/at/all`), realPathOf(`${top}/real/dir/none/at/all`));
  t.equal(realPathOf('/none/at/all'), '/none/at/all');
});
