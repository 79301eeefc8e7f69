// The original service's own cases, to the byte, on a live mount: over a Unix socket and over loopback.
import { readFile, writeFile } from 'node:fs/promises';
import { METHODS } from 'node:http';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type Answer, type Ask, type At, ask, at, raw, until } from '../../helpers/http.js';
import { type Mounted, mount } from '../../helpers/mount.js';
import { must, run } from '../../helpers/run.js';

const OK = '{"Succeeded":true,"ErrorMessage":"","Data":null}';
const NO_PATH = `{"Succeeded":false,"ErrorMessage":"Param 'path' is required.","Data":null}`;
const NO_BYTES = `{"Succeeded":false,"ErrorMessage":"Param 'bytes' must be an integer greater than zero.","Data":null}`;
const refusal = (bytes: string, path: string, reason: string) =>
  `{"Succeeded":false,"ErrorMessage":"Could not reserve ${bytes} bytes for file '${path}': ${reason}","Data":null}`;
const lacking = (bytes: string, path: string, available: number) =>
  refusal(bytes, path, `requested ${bytes} bytes on volume, but only ${available} are available`);
const data = (rows: string) => `{"Succeeded":true,"ErrorMessage":"","Data":{${rows}}}`;

const FORM = { 'content-type': 'application/x-www-form-urlencoded' };
const post = (body: string): Ask => ({ method: 'POST', headers: FORM, body });
const CAPACITY = 10_000_000;
const ARGS = ['--capacity', String(CAPACITY), '--margin', '0'];

const isRoot = process.getuid?.() === 0;
const lacksUserMounts =
  isRoot && (await run('/bin/sh', ['-c', 'command -v fusermount3'])).code === 0
    ? false
    : 'needs root, to become a user, and fusermount3';

interface Case {
  name: string;
  path: string;
  ask?: Ask;
  status?: number;
  body: string;
}

/** The rows in their order, on one mount. */
async function table(t: Test, where: At, rows: readonly Case[]): Promise<void> {
  for (const { name, path, ask: how, status = 200, body } of rows) {
    const got = await ask(where, path, how);
    t.strictSame(
      { status: got.status, body: got.body, type: got.headers['content-type'] },
      { status, body, type: JSON_TYPE },
      name,
    );
  }
}

const JSON_TYPE = 'application/json; charset=utf-8';

async function served(t: Test, over: 'socket' | 'loopback'): Promise<{ m: Mounted; where: At }> {
  const m = await mount(t, { args: [...ARGS, '--http', '127.0.0.1:0'] });
  if (over === 'loopback') return { m, where: at(m.ready.http) };
  await m.umount();
  await m.remount([...ARGS, '--http', `unix:${join(m.data, '..', 's')}`]);
  return { m, where: at(m.ready.http) };
}

const RESERVE: Case[] = [
  { name: 'no path', path: '/reserve/', status: 400, body: NO_PATH },
  { name: 'an empty path comes first', path: '/reserve/?path=&bytes=0', status: 400, body: NO_PATH },
  ...['', '0', '-1', '1.5', '%2B5', '0x10', '1_0', ' 5', '5 ', '18446744073709551616', '99999999999999999999999', 'abc', '٣'].map(
    (bytes) => ({
      name: `bytes '${bytes}'`,
      path: `/reserve/?path=/a&bytes=${encodeURI(bytes).replace('%252B', '%2B')}`,
      status: 400,
      body: NO_BYTES,
    }),
  ),
  { name: 'bytes are absent', path: '/reserve/?path=/a', status: 400, body: NO_BYTES },
  { name: 'in the URL', path: '/reserve/?path=/a&bytes=1000', body: OK },
  { name: 'leading zeros', path: '/reserve/?path=/zeros&bytes=007', body: OK },
  { name: 'in a form', path: '/reserve/', ask: post('path=/b&bytes=2000'), body: OK },
  { name: 'the form wins over the URL', path: '/reserve/?path=/url&bytes=1', ask: post('path=/form&bytes=3000'), body: OK },
  { name: 'by PUT', path: '/reserve/', ask: { ...post('path=/put&bytes=4'), method: 'PUT' }, body: OK },
  {
    name: 'a form of DELETE does not count',
    path: '/reserve/',
    ask: { method: 'DELETE', headers: { ...FORM, 'content-length': '16' }, body: 'path=/no&bytes=4' },
    status: 400,
    body: NO_PATH,
  },
  {
    name: 'in parts',
    path: '/reserve/',
    ask: multipart({ path: '/parts', bytes: '5' }),
    body: OK,
  },
  { name: 'the URL wins over parts', path: '/reserve/?path=/url2', ask: multipart({ path: '/parts2', bytes: '6' }), body: OK },
  {
    name: 'JSON is not understood',
    path: '/reserve/',
    ask: { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"path":"/j","bytes":5}' },
    status: 400,
    body: NO_PATH,
  },
  {
    name: 'a body without a type',
    path: '/reserve/',
    ask: { method: 'POST', body: 'path=/j&bytes=5' },
    status: 400,
    body: NO_PATH,
  },
  {
    name: 'a type that is none',
    path: '/reserve/',
    ask: { ...post('path=/j&bytes=5'), headers: { 'content-type': ';;' } },
    status: 400,
    body: NO_PATH,
  },
  { name: 'plus is a blank, percent a byte', path: '/reserve/?path=/with+blank%2Fx&bytes=7', body: OK },
  { name: 'what cannot be decoded is passed over', path: '/reserve/?path=%zz&path=/first&path=/second&bytes=8&a;b=1', body: OK },
  { name: 'a path below it', path: '/reserve/deep/down?path=/sub&bytes=9', body: OK },
  { name: 'letters of other scripts', path: `/reserve/?path=${encodeURIComponent('/名前')}&bytes=10`, body: OK },
  {
    name: 'a path that is relative',
    path: '/reserve/?path=rel&bytes=11',
    status: 500,
    body: refusal('11', 'rel', 'no such file or directory'),
  },
  {
    name: 'what Go escapes is escaped',
    path: `/reserve/?path=${encodeURIComponent('r<e>l&"\u2028')}&bytes=12`,
    status: 500,
    body: refusal('12', 'r\\u003ce\\u003el\\u0026\\"\\u2028', 'no such file or directory'),
  },
  {
    name: 'more than there is',
    path: `/reserve/?path=/c&bytes=${CAPACITY}`,
    status: 500,
    body: lacking(String(CAPACITY), '/c', CAPACITY - 1000 - 7 - 2000 - 3000 - 4 - 5 - 6 - 7 - 8 - 9 - 10),
  },
  {
    name: 'more than a double can say',
    path: '/reserve/?path=/c&bytes=18446744073709551615',
    status: 500,
    body: lacking('18446744073709551615', '/c', CAPACITY - 6056),
  },
  {
    name: 'all of it is there',
    path: '/report/?path=/',
    body: data(
      '"/a":1000,"/b":2000,"/first":8,"/form":3000,"/parts":5,"/put":4,"/sub":9,"/url2":6,"/with blank/x":7,"/zeros":7,"/名前":10',
    ),
  },
];

function multipart(fields: Record<string, string>): Ask {
  const parts = Object.entries(fields).map(
    ([name, value]) => `--b0\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`,
  );
  return { method: 'POST', headers: { 'content-type': 'multipart/form-data; boundary=b0' }, body: `${parts.join('')}--b0--\r\n` };
}

const RELEASE_AND_REPORT: Case[] = [
  { name: 'no path to release', path: '/release/', status: 400, body: NO_PATH },
  { name: 'no path to report', path: '/report/', status: 400, body: NO_PATH },
  { name: 'nothing yet', path: '/report/?path=/', body: data('') },
  { name: 'never reserved', path: '/release/?path=/nothing', body: OK },
  // The session of the original's README.
  { name: 'abc', path: '/reserve/', ask: post('path=/abc&bytes=1000'), body: OK },
  { name: 'def', path: '/reserve/', ask: post('path=/def&bytes=2000'), body: OK },
  { name: 'xyz', path: '/reserve/', ask: post('path=/xyz&bytes=3000'), body: OK },
  { name: 'all three', path: '/report/?path=/', body: data('"/abc":1000,"/def":2000,"/xyz":3000') },
  { name: 'whatever path of the volume', path: '/report/?path=/abc/nowhere', body: data('"/abc":1000,"/def":2000,"/xyz":3000') },
  { name: 'of no volume', path: '/report/?path=abc', body: data('') },
  { name: 'back', path: '/release/', ask: post('path=/abc'), body: OK },
  { name: 'back, in the URL', path: '/release/?path=/def', body: OK },
  { name: 'and again', path: '/release/?path=/def', body: OK },
  { name: 'one is left', path: '/report/?path=/', body: data('"/xyz":3000') },
  { name: 'nothing where nothing can be', path: '/release/?path=/../x', body: OK },
  { name: 'nor at a name that is too long', path: `/release/?path=/${'x'.repeat(300)}`, body: OK },
  { name: 'nor at one that is no text', path: '/release/?path=/%ff', body: OK },
];

for (const over of ['socket', 'loopback'] as const) {
  t.test(`requests and answers over ${over}`, async (t) => {
    const { m, where } = await served(t, over);
    await t.test('ping, and what is not there', async (t) => {
      for (const method of METHODS.filter((each) => !['CONNECT', 'HEAD', 'QUERY'].includes(each))) {
        t.match(
          await ask(where, '/ping/', { method }),
          { status: 200, body: OK, headers: { 'content-type': JSON_TYPE } },
          method,
        );
      }
      const headers = { 'content-type': JSON_TYPE, 'content-length': String(OK.length) };
      t.match(await ask(where, '/ping/', { method: 'HEAD' }), { status: 200, body: '', headers });
      t.match(await ask(where, '/ping/sub/sub'), { status: 200, body: OK });
      const moved: [string, string][] = [
        ['/ping', '/ping/'],
        ['/reserve?path=/a&bytes=1', '/reserve/?path=/a&bytes=1'],
      ];
      for (const [path, location] of moved) {
        const body = `<a href="${location.replace('&', '&amp;')}">Moved Permanently</a>.\n\n`;
        const expected = { status: 301, body, headers: { location, 'content-type': 'text/html; charset=utf-8' } };
        t.match(await ask(where, path), expected, path);
        t.match(await ask(where, path, { method: 'POST' }), { status: 301, body: '', headers: { location } }, `POST ${path}`);
      }
      const nowhere = { status: 404, body: '404 page not found\n' };
      const plain = { 'content-type': 'text/plain; charset=utf-8', 'x-content-type-options': 'nosniff' };
      for (const path of ['/', '/Ping/', '/pingx', '/x', '/reserved/']) {
        t.match(await ask(where, path), { ...nowhere, headers: plain }, path);
        t.match(await ask(where, path, { method: 'POST', body: 'x' }), nowhere, `POST ${path}`);
      }
    });
    await t.test('release and report', (t) => table(t, where, RELEASE_AND_REPORT));
    await ask(where, '/release/?path=/xyz');
    await t.test('reserve', (t) => table(t, where, RESERVE));
    await t.test('HEAD reserves too', async (t) => {
      t.match(await ask(where, '/reserve/?path=/head&bytes=1', { method: 'HEAD' }), { status: 200, body: '' });
      t.match(await ask(where, '/report/?path=/'), { body: /"\/head":1,/ });
    });
    await t.test('a path of the host below the mountpoint', async (t) => {
      await table(t, where, [
        { name: 'as the host has it', path: `/reserve/?path=${m.mnt}/host&bytes=5`, body: OK },
        { name: 'released by the other name', path: '/release/?path=/host', body: OK },
        { name: 'a neighbour is none', path: `/reserve/?path=${m.mnt}2/x&bytes=5`, body: OK },
      ]);
      const report = await ask(where, `/report/?path=${m.mnt}`);
      t.match(report.body, `"${m.mnt}/a":1000`, 'told in the way that was asked');
      t.notMatch(report.body, '/host');
      t.match((await ask(where, '/report/?path=/')).body, `"${m.mnt}2/x":5`);
    });
  });
}

const said = ({ status, body }: Answer) => `${status} ${body}`;

t.test('where it is better than the original, on purpose', async (t) => {
  const { m, where } = await served(t, 'loopback');
  const reserve = async (path: string, bytes: number) => said(await ask(where, `/reserve/?path=${path}&bytes=${bytes}`));
  const third = Math.floor(CAPACITY / 3);
  await t.test('the volume: a third and a third, not two thirds, and again after a release', async (t) => {
    t.equal(await reserve('/one', third), `200 ${OK}`);
    t.equal(await reserve('/two', third), `200 ${OK}`);
    t.equal(await reserve('/three', 2 * third), `500 ${lacking(String(2 * third), '/three', CAPACITY - 2 * third)}`);
    t.equal(said(await ask(where, '/release/?path=/two')), `200 ${OK}`);
    t.equal(await reserve('/three', 2 * third), `200 ${OK}`);
    for (const path of ['/one', '/three']) await ask(where, `/release/?path=${path}`);
  });
  await t.test('an exact fit is granted, and not a byte more', async (t) => {
    t.equal(await reserve('/all', CAPACITY + 1), `500 ${lacking(String(CAPACITY + 1), '/all', CAPACITY)}`);
    t.equal(await reserve('/all', CAPACITY), `200 ${OK}`);
    t.equal(await reserve('/more', 1), `500 ${lacking('1', '/more', 0)}`);
  });
  await t.test('reserving again replaces: nothing leaks', async (t) => {
    for (const bytes of [1, CAPACITY, 5, CAPACITY, 7]) t.equal(await reserve('/all', bytes), `200 ${OK}`);
    t.equal(said(await ask(where, '/report/?path=/')), `200 ${data('"/all":7')}`);
    t.equal(await reserve('/rest', CAPACITY - 7), `200 ${OK}`);
    for (const path of ['/all', '/rest']) await ask(where, `/release/?path=${path}`);
    t.equal(await reserve('/all', CAPACITY), `200 ${OK}`, 'all of it came back');
  });
  await t.test('what its holder has written is not counted twice, and nothing underflows', async (t) => {
    await must(run('dd', ['if=/dev/zero', `of=${join(m.mnt, 'all')}`, 'bs=1000000', 'count=10', 'status=none']));
    t.equal(await reserve('/other', 900_000_000), `500 ${lacking('900000000', '/other', 0)}`);
    t.match(await reserve('/all', 5), /^500 .*'\/all': 5 B asked for \/all, which holds 10 MB already/);
    await must(run('rm', [join(m.mnt, 'all')]));
    t.equal(await reserve('/all', 5), `200 ${OK}`);
  });
  await t.test('it is enforced', async (t) => {
    const outcome = await run('dd', ['if=/dev/zero', `of=${join(m.mnt, 'all')}`, 'bs=10', 'count=1', 'status=none']);
    t.match(outcome.stderr, /No space left/);
    t.equal((await readFile(join(m.mnt, 'all'))).length, 5);
    await writeFile(join(m.mnt, 'elsewhere'), 'x'.repeat(1000));
  });
  await t.test('many at once: exactly what there is', async (t) => {
    await m.shell('rm -f all elsewhere');
    await ask(where, '/release/?path=/all');
    const answers = await Promise.all(Array.from({ length: 40 }, (_, i) => reserve(`/racer${i}`, CAPACITY / 20)));
    t.equal(answers.filter((each) => each === `200 ${OK}`).length, 20);
    const rows = JSON.parse((await ask(where, '/report/?path=/')).body) as { Data: Record<string, number> };
    t.equal(
      Object.values(rows.Data).reduce((sum, bytes) => sum + bytes, 0),
      CAPACITY,
    );
  });
  await t.test('it survives a crash', async (t) => {
    await m.kill();
    await m.remount([...ARGS, '--http', '127.0.0.1:0']);
    const rows = JSON.parse((await ask(at(m.ready.http), '/report/?path=/')).body) as { Data: Record<string, number> };
    t.equal(Object.keys(rows.Data).length, 20);
  });
  await t.test('a path of a lot that is no reservation is not released', async (t) => {
    const now = at(m.ready.http);
    await must(m.run(['release', join(m.mnt, 'racer1')]));
    const lot = { lot_name: 'ops', owner: 'root', parents: ['ops'], paths: [{ path: '/ops', recursive: true }] };
    const policy = {
      dedicated_GB: 0,
      opportunistic_GB: 0,
      max_num_objects: 1,
      creation_time: 0,
      expiration_time: 9e15,
      deletion_time: 9e15,
    };
    await must(m.run(['lot', 'add', JSON.stringify({ ...lot, management_policy_attrs: policy }), '--mount', m.mnt]));
    t.match(await ask(now, '/release/?path=/ops'), {
      status: 500,
      body: /"Could not release '\/ops': \/ops is a path of lot 'ops'/,
    });
  });
});

t.test('a path that is no text, a NUL, dots', async (t) => {
  const { where } = await served(t, 'loopback');
  const rows: [string, RegExp][] = [
    ['/%ff', /'\/\ufffd': '\/\ufffd' cannot be a path in the mount: it is not valid UTF-8/],
    ['/a%00b', /cannot be a path in the mount: it contains a NUL/],
    ['/a/../b', /the component '\.\.'/],
    ['/a//b', /an empty component/],
    ['/', /the root of the mount belongs to the default lot/],
    [`/${'x'.repeat(300)}`, /a component has 300 bytes/],
    [`/${'x/'.repeat(3000)}`, /the path is too long/],
    ['/.vreserve/spool', /\.vreserve is vreserve's own/],
  ];
  for (const [path, reason] of rows) {
    t.match(await ask(where, `/reserve/?path=${path}&bytes=1`), { status: 500, body: reason }, path.slice(0, 30));
  }
  // Node.js takes no other bytes in a URL than those of ASCII.
  t.match(await raw(where, 'GET /reserve/?path=/\u00e9&bytes=3 HTTP/1.0\r\n\r\n'), /^HTTP\/1.1 400 .*"BAD_REQUEST"/s);
  t.equal((await ask(where, '/report/?path=/')).body, data(''));
});

t.test('those who wait are before it, and what it gives back is theirs', async (t) => {
  const m = await mount(t, { spool: true, args: [...ARGS, '--http', '127.0.0.1:0'] });
  const where = at(m.ready.http);
  t.match(await ask(where, '/reserve/?path=/a&bytes=9000000'), { status: 200 });
  const waiter = m.run(['reserve', join(m.mnt, 'b'), '5MB', '--wait=1m']);
  const waiting = async () => (JSON.parse((await ask(where, '/api/v1.0/report')).body) as { waiting: unknown[] }).waiting;
  await until(async () => (await waiting()).length === 1, 'it waits');
  t.match(await ask(where, '/reserve/?path=/c&bytes=1000'), { status: 500, body: /for file '\/c': .*before it/ });
  t.match(await ask(where, '/release/?path=/a'), { status: 200 });
  t.match(await waiter, { code: 0 });
  t.match(await ask(where, '/reserve/?path=/c&bytes=1000'), { status: 200 });
  t.equal((await ask(where, '/report/?path=/')).body, data('"/b":5000000,"/c":1000'), 'the spool is no reservation');
});

t.test('on the mount of an ordinary user', { skip: lacksUserMounts }, async (t) => {
  const m = await mount(t, { uid: 65534, args: [...ARGS, '--http', '127.0.0.1:0'] });
  const where = at(m.ready.http);
  t.equal(said(await ask(where, '/reserve/?path=/a&bytes=5')), `200 ${OK}`);
  t.equal(said(await ask(where, '/reserve/?path=/a&bytes=6')), `200 ${OK}`);
  t.match(await ask(where, '/api/v1.0/report'), { body: /"name":"\/a".*"owner":"nobody"/ });
  t.equal(said(await ask(where, '/release/?path=/a')), `200 ${OK}`);
});
