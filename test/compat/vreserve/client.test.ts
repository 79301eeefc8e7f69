// The original client's own cases (core/volume_client_test.go), and what its texts become: on `vreserve serve`, and on a mount in each way.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { VreserveClient } from '../../../src/client/client.js';
import { clientOf, reach, serveAlone, told, WAYS } from '../../helpers/client.js';
import { temporaryDirectory } from '../../helpers/mount.js';
import { must, run } from '../../helpers/run.js';

const ALONE = ['serve', '-p', '0', '-l', '/dev/null'];

async function serve(t: Test): Promise<string> {
  const { target: port } = await serveAlone(t, ALONE, /port (\d+)\n/);
  return `http://127.0.0.1:${port}`;
}

/** `path`: of a file on the volume. */
async function original(t: Test, client: VreserveClient, path: string): Promise<void> {
  await t.test('reserve', async (t) => {
    await client.reserve(path, 800);
    await t.rejects(client.reserve('', 800), { code: 'BAD_PATH' }, 'path required');
    await t.rejects(client.reserve('', 0), { code: 'BAD_PATH' });
    await t.rejects(client.reserve(path, 0), { code: 'BAD_BYTES' }, 'more than 0 bytes required');
  });
  await t.test('report', async (t) => {
    t.strictSame(await client.reservations(path), new Map([[path, 800]]));
    await t.rejects(client.reservations(''), { code: 'BAD_PATH' }, 'path required');
  });
  await t.test('release', async (t) => {
    await client.release(path);
    await client.release(path);
    t.equal((await client.reservations(path)).size, 0);
    await t.rejects(client.release(''), { code: 'BAD_PATH' }, 'path required');
  });
  await t.test('ping', () => client.ping({ timeoutMs: 20_000 }));
  await t.test('a path of any letters is sent as it is', async (t) => {
    const odd = `${path} a&b=c%2F+名前"<`;
    await client.reserve(odd, 5);
    t.strictSame(await client.reservations(path), new Map([[odd, 5]]));
    await client.release(odd);
  });
}

for (const way of WAYS) {
  t.test(`a mount by ${way}`, async (t) => {
    const { client } = await reach(t, way);
    await original(t, client, '/tmp/some_file');
  });
}

t.test('the service without a mount', async (t) => {
  const target = await serve(t);
  const client = clientOf(t, target);
  t.equal(client.target, target);
  const top = await temporaryDirectory(t);
  await original(t, client, join(top, 'some_file'));
  t.equal(await client.reserve(join(top, 'a'), 5), null, 'it tells no more');
  const not = { code: 'NOT_SUPPORTED', errno: 'EOPNOTSUPP', message: /original API alone/ };
  await t.rejects(client.reserve(join(top, 'a'), 5, { expiresInMs: 5000 }), not);
  await t.rejects(client.extend(join(top, 'a'), 5), not);
  await t.rejects(client.lots.list(), not);
  await t.rejects(client.reserve(join(top, 'a'), 5, { waitMs: null }), { code: 'NOT_SUPPORTED' });
  await t.rejects(client.report(), { code: 'NO_SUCH_ROUTE' });
  await t.rejects(client.store.stat('a'), { code: 'NO_STORE', message: /has no store/ });
  await t.rejects(client.reserve('relative', 5), { code: 'SYSTEM', errno: 'ENOENT', message: /no such file or directory/ });
});

const isRoot = process.getuid?.() === 0;
t.test('a volume that is full', { skip: isRoot ? false : 'needs root, to mount' }, async (t) => {
  const top = await temporaryDirectory(t);
  const volume = join(top, 'v');
  await mkdir(volume);
  await must(run('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'vreserve-test', volume]));
  const client = clientOf(t, await serve(t));
  const path = join(volume, "it's 'x'");
  await client.reserve(path, '1000KiB');
  await t.rejects(client.reserve(join(volume, 'y'), '25KiB'), {
    code: 'NO_SPACE',
    errno: 'ENOSPC',
    message: /^Could not reserve 25600 bytes for file '.*y': requested 25600 bytes on volume, but only 24576 are available$/,
    details: { path: join(volume, 'y'), askedBytes: 25_600, availableBytes: 24_576 },
  });
  await t.rejects(client.reserve(path, '2MiB'), { code: 'NO_SPACE', details: { path, availableBytes: 1024 * 1024 } });
});

t.test('a service that knows no other paths than the original', async (t) => {
  const asked: string[] = [];
  const target = await told(t, async (request, response) => {
    let body = '';
    for await (const part of request) body += part;
    asked.push(`${request.method} ${request.url} ${body}`);
    if (!/^\/(ping|reserve|release|report)\//.test(request.url ?? '')) {
      response.writeHead(404, { 'content-type': 'text/plain; charset=utf-8' }).end('404 page not found\n');
      return;
    }
    const isReport = request.url?.startsWith('/report/');
    response.setHeader('content-type', 'application/json; charset=utf-8');
    response.end(`{"Succeeded":true,"ErrorMessage":"","Data":${isReport ? '{"/a":5}' : 'null'}}`);
  });
  const client = clientOf(t, target);
  await client.ping();
  await client.reserve('/a b', 5);
  await client.reserve('/a', 5);
  await client.release('/a');
  t.strictSame([...(await client.reservations('/a&b'))], [['/a', 5]]);
  t.strictSame(asked, [
    'GET /ping/ ',
    'POST /api/v1.0/command {"cmd":"reserve","path":"/a b","bytes":5}',
    'POST /reserve/ path=%2Fa+b&bytes=5',
    'POST /reserve/ path=%2Fa&bytes=5',
    'POST /release/ path=%2Fa',
    'GET /report/?path=%2Fa%26b ',
  ]);
});
