// The ends of a mount, and of its service process, while blobs are written and read: what was not acknowledged is nowhere, and who waits is told.
import { once } from 'node:events';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { serveMount } from '../compat/store/service.js';
import { Place, soon, whyNotRoot } from '../helpers/columns.js';
import { type Steps, startSteps } from '../helpers/fsop.js';
import { ask, open, until } from '../helpers/http.js';
import { gone, type Mounted } from '../helpers/mount.js';
import { payloadFiles } from '../store/blobs.js';
import { servicePid } from '../store/mount-target.js';

type Served = Awaited<ReturnType<typeof serveMount>>;

const storeOf = ({ mnt }: Mounted) => join(mnt, '.vreserve/store');
const blobsOf = ({ data }: Mounted) => join(data, '.vreserve/blobs');

const HALF = ['write f half', 'fstat f'];

/** `kill -9` of the service process; resolves when the next one serves. */
async function killService({ m, where }: Served): Promise<void> {
  const pid = await servicePid(m);
  if (pid === null) throw new Error('there is no service process');
  process.kill(pid, 'SIGKILL');
  await gone(pid);
  await until(async () => (await ask(where, '/store/').catch(() => null))?.status === 200, 'it is served again');
}

/** An upload that has begun, and does not end by itself. */
async function upload(
  { m, where }: Served,
  name: string,
): Promise<{ socket: Socket; heard: () => string; closed: Promise<unknown> }> {
  const socket = await open(where);
  let heard = '';
  socket.on('error', () => {});
  socket.on('data', (part) => {
    heard += part.toString('latin1');
  });
  const closed = once(socket, 'close');
  socket.write(`POST /store/${name} HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf`);
  await until(
    async () => (await m.shell(`getfattr --only-values -n user.vreserve.state .vreserve/store/${name}`)).stdout === 'Pending',
    name,
  );
  return { socket, heard: () => heard, closed };
}

async function nothingElse(t: Test, m: Mounted, names: readonly string[]): Promise<void> {
  t.same(await readdir(storeOf(m)), names);
  await soon(
    () => payloadFiles(blobsOf(m)),
    (files) => files.length === names.length,
  );
  t.equal((await payloadFiles(blobsOf(m))).length, names.length, 'a file each');
  const steps = await startSteps(t, m.mnt);
  await new Place(m, steps).usageEqualsCount(t);
  await steps.end();
  const { code, stdout } = await m.run(['check', m.mnt]);
  t.equal(code, 0, stdout);
}

async function serviceDies(t: Test): Promise<void> {
  const served = await serveMount(t, ['--store-grant', '5MB']);
  const { m, where } = served;
  const [store, steps] = [storeOf(m), await startSteps(t, m.mnt)];
  const p = new Place(m, steps);
  await writeFile(join(store, 'kept'), 'kept');

  // Open for writing, for reading, and to be replaced, when it dies.
  await p.table(t, [
    [`open f ${store}/a CREAT|WRONLY`, 0],
    ['write f half', 4],
    [`open k ${store}/kept WRONLY|TRUNC`, 0],
    ['write k half', 4],
    [`open r ${store}/kept RDONLY`, 0],
  ]);
  await killService(served);
  t.same(await steps.all(['write f more', 'pread r 10 0']), [4, 'kept'], 'who has it open goes on');
  t.same(await readdir(store), ['kept']);
  t.equal((await payloadFiles(blobsOf(m))).length, 1, 'what it had not finished is gone');

  // Its successor has uploads of its own: none is taken for one of before.
  await p.table(t, [
    [`open b ${store}/b CREAT|WRONLY`, 0],
    ['write b half', 4],
    [`open c ${store}/c CREAT|WRONLY`, 0],
    ['write c half', 4],
    ['close f', 'ESHUTDOWN'],
    ['close k', 'ESHUTDOWN'],
    [`stat ${store}/a`, 'ENOENT'],
    [`getxattr ${store}/b user.vreserve.state`, 'Pending'],
    [`getxattr ${store}/c user.vreserve.state`, 'Pending'],
    [`cat ${store}/kept`, 'kept'],
    ['write b +half', 5],
    ['close b', 0],
    ['close c', 0],
    [`cat ${store}/b`, 'half+half'],
    [`cat ${store}/c`, 'half'],
    ['close r', 0],
    [`unlink ${store}/b`, 0],
    [`unlink ${store}/c`, 0],
  ]);

  // Over HTTP: broken off, and the next one is taken.
  const { closed, heard } = await upload(served, 'h');
  await killService(served);
  await closed;
  t.equal(heard(), '', 'nothing was acknowledged');
  t.equal((await ask(where, '/store/h')).status, 404);
  t.equal((await ask(where, '/store/h', { method: 'POST', body: 'whole' })).status, 204);
  t.equal((await ask(where, '/store/h', { method: 'DELETE' })).status, 200);
  t.equal(await p.text('health'), 'ok\n');
  await steps.end();
  await nothingElse(t, m, ['kept']);
  await m.umount();
}

/** Opened for writing with half a content, and one that is read. */
async function opened(t: Test, m: Mounted): Promise<Steps> {
  const steps = await startSteps(t, '/');
  const store = storeOf(m);
  t.same(await steps.all([`open f ${store}/a CREAT|WRONLY`, 'write f half', `open r ${store}/kept RDONLY`, 'pread r 2 0']), [
    0,
    4,
    0,
    'ke',
  ]);
  return steps;
}

async function umounts(t: Test): Promise<void> {
  const served = await serveMount(t, ['--store-grant', '5MB']);
  const { m, where } = served;
  await writeFile(join(storeOf(m), 'kept'), 'kept');
  const steps = await opened(t, m);
  const upload1 = await upload(served, 'h');
  const busy = await m.run(['umount', m.mnt]);
  t.match(busy, { code: 1, stderr: /is busy, held by .*fsop/ });
  // And nothing has become of it.
  upload1.socket.write('+half!');
  await until(() => upload1.heard() !== '', 'it is answered');
  t.match(upload1.heard(), /^HTTP\/1\.1 204/);
  t.same(await steps.all(['write f +half', 'close f', 'pread r 10 0', 'close r']), [5, 0, 'kept', 0]);
  t.equal((await ask(where, '/store/a')).body, 'half+half');
  upload1.socket.destroy();
  await nothingElse(t, m, ['a', 'h', 'kept']);
  const service = await servicePid(m);
  await m.umount();
  await gone(service ?? 0);

  // Detached: no upload outlives it, whoever reads goes on, and the daemon ends when the last one is through.
  await m.remount();
  t.same(await readdir(storeOf(m)), ['a', 'h', 'kept']);
  await ask(where, '/store/a', { method: 'DELETE' });
  await ask(where, '/store/h', { method: 'DELETE' });
  const again = await opened(t, m);
  const { pid } = m.ready;
  t.match(await m.run(['umount', '--lazy', m.mnt]), { code: 0 });
  t.same((await again.all([...HALF, 'pread r 10 0']))[2], 'kept');
  t.match(await again.do('close f'), /^E/, 'who writes is told');
  t.equal(await again.do('close r'), 0);
  await gone(pid);
  await again.end();
  await m.remount();
  await nothingElse(t, m, ['kept']);
  await m.umount();
}

async function terminated(t: Test): Promise<void> {
  const served = await serveMount(t, ['--store-grant', '5MB']);
  const { m } = served;
  await writeFile(join(storeOf(m), 'kept'), 'kept');
  const [service, { pid }] = [await servicePid(m), m.ready];
  const steps = await opened(t, m);
  const [never, soonOver] = [await upload(served, 'never'), await upload(served, 'soon')];
  process.kill(pid, 'SIGTERM');
  soonOver.socket.write('+half!');
  await soonOver.closed;
  t.match(soonOver.heard(), /^HTTP\/1\.1 204/, 'what is over soon is waited for');
  await never.closed;
  t.equal(never.heard(), '', 'what is not is broken off, without a word');
  t.match(await steps.do('close f'), /^E/, 'who writes a file is told');
  t.same(await steps.all(['pread r 10 0', 'close r']), ['kept', 0]);
  await gone(pid);
  await gone(service ?? 0);
  await steps.end();
  await m.remount();
  await nothingElse(t, m, ['kept', 'soon']);
  t.equal(await readFile(join(storeOf(m), 'soon'), 'utf8'), 'half+half!');

  // Killed: what was open is lost, and nothing else is.
  const after = await opened(t, m);
  const killed = await upload(served, 'killed');
  await m.kill();
  await killed.closed;
  t.equal(killed.heard(), '');
  t.same(await after.all(['write f x', 'close f']), ['ENOTCONN', 'ENOTCONN']);
  await after.end();
  await m.remount();
  await nothingElse(t, m, ['kept', 'soon']);
  await m.umount();
  t.equal(await servicePid(m), null, 'no process is left');
}

t.test('the service process dies', { skip: whyNotRoot, timeout: 60_000 }, serviceDies);
t.test('umount', { skip: whyNotRoot, timeout: 60_000 }, umounts);
t.test('SIGTERM and SIGKILL', { skip: whyNotRoot, timeout: 60_000 }, terminated);
