// The store of a mount over HTTP and as files: one store, whose contents any lot can pay for.
import { readdir, readFile, stat, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Place, soon, whyNotRoot } from '../../helpers/columns.js';
import { startSteps } from '../../helpers/fsop.js';
import type { Ask } from '../../helpers/http.js';
import { must, vreserve } from '../../helpers/run.js';
import { payloadFiles } from '../../store/blobs.js';
import { type Asked, serveMount } from './service.js';

const GRANT = 1_000_000;
const FULL = (name: string) => `{"code":507,"text":"no space left on device: the grant has no room for blob ${name}"}\n`;

/** What a lot holds by the report, once nothing is on its way. */
async function heldBy(p: Place, name: string): Promise<{ bytes: number; objects: number }> {
  const lot = async () => {
    const found = (await p.report()).lots.find((lot) => lot.name === name);
    if (found === undefined) throw new Error(`no lot ${name}`);
    return found;
  };
  const { usedBytes: bytes, objects } = await soon(lot, ({ pendingObjects }) => pendingObjects === 0);
  return { bytes, objects };
}

const post = (body: string | Buffer, more: Ask = {}): Ask => ({ method: 'POST', body, ...more });
const put = (body: string | Buffer): Ask => ({ method: 'PUT', body });

async function bodyOf({ ask }: Asked, path: string): Promise<[status: number, body: string]> {
  const { status, body } = await ask(path);
  return [status, body];
}

async function listed({ ask }: Asked): Promise<Record<string, string>> {
  const { blobs } = JSON.parse((await ask('/store/')).body) as { blobs: { name: string; state: string; lot?: string | null }[] };
  return Object.fromEntries(blobs.map(({ name, state, lot }) => [name, `${state} ${lot}`]));
}

t.test('what is stored one way is there the other way', { skip: whyNotRoot }, async (t) => {
  const service = await serveMount(t, ['--store-grant', String(GRANT), '--gc-interval', '1h']);
  const { m, ask } = service;
  const store = join(m.mnt, '.vreserve/store');
  t.equal((await ask('/store/a%20b', post('over http', { headers: { 'content-type': 'x/y' } }))).status, 204);
  t.equal(await readFile(join(store, 'a b'), 'utf8'), 'over http');
  t.equal((await must(m.shell(`getfattr --only-values -n user.mime_type '.vreserve/store/a b'`))).stdout, 'x/y');
  const before = await ask('/store/a%20b');
  await writeFile(join(store, 'a b'), '<html>as a file');
  const after = await ask('/store/a%20b');
  t.match(after, { status: 200, body: '<html>as a file', headers: { 'content-type': 'text/html; charset=utf-8' } });
  t.not(after.headers.etag, before.headers.etag);
  t.equal(
    (await ask('/store/a%20b', { method: 'PUT', body: 'x', headers: { 'if-match': String(before.headers.etag) } })).status,
    412,
  );
  t.equal((await stat(join(store, 'a b'))).mtime.toUTCString(), after.headers['last-modified']);
  t.equal((await ask('/store/a%20b', { method: 'DELETE' })).status, 200);
  await t.rejects(readFile(join(store, 'a b')), { code: 'ENOENT' });
  t.match(await readFile(join(store, 'a b.log'), 'utf8'), /^\S+ - Failure - Deleted!\n/);

  await writeFile(join(store, 'f'), 'as a file');
  t.match(await listed(service), { f: 'OK store' });
  t.equal((await ask('/store/f', post('x'))).status, 500, 'it exists');
  await unlink(join(store, 'f'));
  t.same(await bodyOf(service, '/store/f'), [404, '']);

  // A name that cannot be told from bytes that are no UTF-8 is not for files.
  t.equal((await ask('/store/%EF%BF%BD', post('x'))).status, 204);
  t.same(await readdir(store), []);
  t.match((await m.shell(`rm .vreserve/store/$'\\xff'`)).stderr, /No such file/);
  t.same(await bodyOf(service, '/store/%EF%BF%BD'), [200, 'x']);

  // Pending one way, it is so the other way.
  const steps = await startSteps(t, m.mnt);
  t.same(await steps.all([`open f ${store}/pending CREAT|WRONLY`, 'write f half']), [0, 4]);
  t.match(await listed(service), { pending: 'Pending undefined' });
  t.same(await bodyOf(service, '/store/pending'), [404, '']);
  t.equal((await ask('/store/pending', post('x'))).status, 500);
  t.equal((await ask('/store/pending', { method: 'DELETE' })).status, 404);
  t.equal((await ask('/store/pending', put('x'))).status, 404);
  t.equal(await steps.do('close f'), 0);
  t.same(await bodyOf(service, '/store/pending'), [200, 'half']);

  // What HTTP has removed does not stand in the way of a file either.
  const most = GRANT - (await heldBy(new Place(m, steps), 'store')).bytes - 2000;
  t.equal((await ask('/store/big', post(Buffer.alloc(most)))).status, 204);
  t.equal((await ask('/store/big', { method: 'DELETE' })).status, 200);
  await writeFile(join(store, 'big'), Buffer.alloc(most));
  t.equal((await ask('/store/other', post(Buffer.alloc(most)))).status, 507);
  t.equal((await ask('/store/big', { method: 'DELETE' })).status, 200);
  t.equal((await ask('/store/other', post(Buffer.alloc(most)))).status, 204, 'nor of another body');
  await steps.end();
  await m.umount();
  t.match(await m.run(['check', m.data]), { code: 0 });
});

async function lotsPay(t: Test): Promise<void> {
  const service = await serveMount(t, ['--store-grant', String(GRANT), '--gc-interval', '50ms']);
  const { m, ask } = service;
  const store = join(m.mnt, '.vreserve/store');
  const steps = await startSteps(t, m.mnt);
  const p = new Place(m, steps);
  const whole = async (name: string) => {
    const { stdout, code } = await m.run(['check', m.mnt]);
    t.equal(code, 0, `${name}: ${stdout}`);
  };
  await must(m.run(['reserve', join(m.mnt, 'job'), '100kB']));

  t.equal((await ask('/store/j?lot=%2Fjob', post('of the job'))).status, 204);
  t.equal((await ask('/store/j2?lot=/job', post(Buffer.alloc(50_000)))).status, 204);
  t.equal((await ask('/store/s?lot=store', post('s'))).status, 204);
  t.equal((await ask('/store/d?lot=default', post('of nobody'))).status, 204);
  t.same(await bodyOf(service, '/store/none?lot=none'), [404, '']);
  for (const method of ['POST', 'PUT']) {
    const refused = await ask(`/store/${method === 'PUT' ? 's' : 'none'}?lot=none`, { method, body: 'x' });
    t.same([refused.status, refused.body], [404, `{"code":404,"text":"no lot 'none'"}\n`]);
  }
  t.same(await listed(service), { d: 'OK default', j: 'OK /job', j2: 'OK /job', s: 'OK store' });
  t.same(await heldBy(p, '/job'), { bytes: 50_010, objects: 2 });
  t.same(await heldBy(p, 'default'), { bytes: 9, objects: 1 });
  await whole('lots');

  // The grant of the lot, and no other, is what is full.
  for (const [asked, what] of [
    [post(Buffer.alloc(60_000)), 'announced'],
    [post('', { headers: { 'content-length': '60000', expect: '100-continue' } }), 'not even sent'],
  ] as const) {
    const full = await ask('/store/more?lot=/job', asked);
    t.same([full.status, full.body], [507, FULL('more')], what);
  }
  t.same(await heldBy(p, '/job'), { bytes: 50_010, objects: 2 });

  // Later contents stay where the name is, unless they say another.
  t.equal((await ask('/store/j', put(Buffer.alloc(20_000)))).status, 200);
  await steps.all([`open f ${store}/j WRONLY|APPEND`, 'write f 12345', 'close f']);
  await writeFile(join(store, 'j2'), Buffer.alloc(7));
  t.same(
    await soon(
      () => heldBy(p, '/job'),
      ({ bytes }) => bytes === 20_012,
    ),
    { bytes: 20_012, objects: 2 },
  );
  await p.table(t, [
    [`open f ${store}/j WRONLY|TRUNC`, 0],
    ['fill f 100000 0', 100_000 - 20_012],
    ['fill f 1 79988', 'ENOSPC'],
    ['close f', 'ENOSPC'],
    [`stat ${store}/j`, { type: 'file', mode: '600', nlink: 1, uid: 0, gid: 0, size: 20_005, rdev: '0:0' }],
  ]);
  t.equal((await ask('/store/j2?lot=store', put('moved'))).status, 200);
  t.match(await listed(service), { j: 'OK /job', j2: 'OK store' });
  t.same(
    await soon(
      () => heldBy(p, '/job'),
      ({ bytes }) => bytes === 20_005,
    ),
    { bytes: 20_005, objects: 1 },
  );
  await whole('moved');

  // A lot that has reasons to be reclaimed keeps its blobs.
  const past = { management_policy_attrs: { dedicated_GB: 0.0001, expiration_time: 1 }, lot_name: '/job' };
  await must(m.run(['lot', 'update', JSON.stringify(past), '--mount', m.mnt]));
  t.match(await m.run(['reclaim', m.mnt, '--apply', '--low-watermark', '0%', '--json']), { code: 0 });
  t.equal((await bodyOf(service, '/store/j'))[1].length, 20_005);

  // Over mounts, and over a death of the daemon.
  t.equal(await steps.do('chdir /'), 0);
  await m.umount();
  t.match(await m.run(['check', m.data]), { code: 0 });
  await m.remount();
  t.same(await heldBy(p, '/job'), { bytes: 20_005, objects: 1 });
  await m.kill();
  await m.remount();
  t.same(await heldBy(p, '/job'), { bytes: 20_005, objects: 1 });
  t.equal((await ask('/store/k?lot=/job', post('once more'))).status, 204);
  t.same(await heldBy(p, '/job'), { bytes: 20_014, objects: 2 });
  await whole('killed');

  // Without the lot its blobs are the store's to pay for.
  await must(vreserve(['release', join(m.mnt, 'job')]));
  t.match(await listed(service), { j: 'OK null', k: 'OK null' });
  t.equal((await bodyOf(service, '/store/j'))[1].length, 20_005);
  t.equal((await ask('/store/j', put('again'))).status, 200);
  await must(m.run(['reserve', join(m.mnt, 'job'), '100kB']));
  t.same(await heldBy(p, '/job'), { bytes: 0, objects: 0 }, 'another lot of that name has nothing of it');
  t.equal((await ask('/store/l?lot=/job', post('of the new one'))).status, 204);
  t.match(await listed(service), { j: 'OK null', l: 'OK /job' });
  await whole('released');
  for (const name of Object.keys(await listed(service))) await ask(`/store/${name}`, { method: 'DELETE' });
  await soon(
    () => payloadFiles(join(m.data, '.vreserve/blobs')),
    (files) => files.length === 0,
  );
  t.same(await payloadFiles(join(m.data, '.vreserve/blobs')), []);
  await whole('removed');
  await steps.end();
  await m.umount();
  t.match(await m.run(['check', m.data]), { code: 0 });
}

t.test('lots that pay', { skip: whyNotRoot, timeout: 60_000 }, lotsPay);
