// The routes of go-storage-server to the byte, and what is there beside them.
import t, { type Test } from 'tap';
import { whyNotRoot } from '../../helpers/columns.js';
import type { Ask } from '../../helpers/http.js';
import { must, run } from '../../helpers/run.js';
import { pieces } from '../../store/blobs.js';
import { type Asked, serve, serveMount } from './service.js';

const TEXT = 'text/plain; charset=utf-8';
const NO_PAGE = '404 page not found\n';

const exists = (name: string) =>
  `{"code":500,"text":"an unexpected internal error has occurred: \\"Blob ${name} already exists\\""}\n`;

interface Case {
  asked: [method: string, path: string, body?: string];
  status: number;
  body: string;
  type?: string | undefined;
  location?: string;
}

/** One after the other. */
const SESSION: Case[] = [
  { asked: ['GET', '/healthz'], status: 200, body: '"Ok!"\n', type: TEXT },
  { asked: ['GET', '/store/foo'], status: 404, body: '' },
  { asked: ['PUT', '/store/foo', 'x'], status: 404, body: '' },
  { asked: ['DELETE', '/store/foo'], status: 404, body: '' },
  { asked: ['POST', '/store/foo', '11111111111111111'], status: 204, body: '' },
  { asked: ['POST', '/store/foo', '2'], status: 500, body: exists('foo'), type: TEXT },
  { asked: ['GET', '/store/foo'], status: 200, body: '11111111111111111', type: TEXT },
  { asked: ['PUT', '/store/foo', '22222222222222222'], status: 200, body: '' },
  { asked: ['GET', '/store/foo'], status: 200, body: '22222222222222222', type: TEXT },
  { asked: ['GET', '/store/foo?x=y'], status: 200, body: '22222222222222222', type: TEXT },
  { asked: ['GET', '/store/foo/'], status: 301, body: '<a href="/store/foo">Moved Permanently</a>.\n\n', location: '/store/foo' },
  { asked: ['POST', '/store/bar/?a=b', 'x'], status: 301, body: '', location: '/store/bar?a=b' },
  { asked: ['DELETE', '/store/foo'], status: 200, body: '' },
  { asked: ['GET', '/store/foo'], status: 404, body: '' },
  { asked: ['POST', '/store/foo', ''], status: 204, body: '' },
  { asked: ['GET', '/store/foo'], status: 200, body: '', type: TEXT },
  { asked: ['POST', '/store/a&b<c>%22%5C%09', 'x'], status: 204, body: '' },
  { asked: ['POST', '/store/a&b<c>%22%5C%09', 'x'], status: 500, body: exists('a\\u0026b\\u003cc\\u003e\\"\\\\\\t') },
  { asked: ['POST', '/store/%F0%9F%98%80%20%25', 'x'], status: 204, body: '' },
  { asked: ['GET', '/store/😀%20%25'.normalize()], status: 200, body: 'x' },
  ...[
    '/store/a/b',
    '/store/a%2Fb',
    '/store/%2F',
    '/store//',
    '/store/a//',
    '/store',
    '/store/.',
    '/store/..',
    '/store/%2e%2e',
  ].flatMap((path): Case[] =>
    ['GET', 'POST', 'DELETE'].map((method) => ({ asked: [method, path], status: 404, body: NO_PAGE, type: TEXT })),
  ),
  ...['PATCH', 'OPTIONS', 'TRACE', 'PROPFIND', 'PURGE', 'LOCK'].map(
    (method): Case => ({ asked: [method, '/store/foo'], status: 404, body: NO_PAGE, type: TEXT }),
  ),
  ...['POST', 'PUT', 'DELETE', 'PATCH'].map(
    (method): Case => ({ asked: [method, '/store/'], status: 404, body: NO_PAGE, type: TEXT }),
  ),
  ...['POST', 'PUT', 'DELETE', 'PATCH'].map(
    (method): Case => ({ asked: [method, '/healthz'], status: 404, body: NO_PAGE, type: TEXT }),
  ),
  { asked: ['GET', '/healthz/'], status: 301, body: '<a href="/healthz">Moved Permanently</a>.\n\n', location: '/healthz' },
];

async function answers(t: Test, service: Asked): Promise<void> {
  for (const { asked, status, body, type, location } of SESSION) {
    const [method, path, sent] = asked;
    const answer = await service.ask(encodeURI(decodeURI(path)) === path ? path : path.replace(/[^ -~]/gu, encodeURIComponent), {
      method,
      ...(sent === undefined ? {} : { body: sent }),
    });
    const found = {
      status: answer.status,
      body: answer.body,
      type: answer.headers['content-type'],
      location: answer.headers.location,
    };
    t.match(
      found,
      { status, body, ...(type === undefined ? {} : { type }), ...(location === undefined ? {} : { location }) },
      asked.join(' ').slice(0, 60),
    );
    if (body === '' && status !== 301) t.equal(answer.headers['content-type'] === undefined || status === 200, true);
  }
}

async function withCurl(t: Test, { where, ask }: Asked): Promise<void> {
  const headOf = async (name: string) => (await ask(`/store/${name}`, { method: 'HEAD' })).headers;
  const curl = async (...words: string[]) =>
    (await must(run('curl', ['-sS', '--unix-socket', where.socketPath, ...words]))).stdout;
  t.equal(await curl('http://localhost:7777/healthz'), '"Ok!"\n');
  t.equal(await curl('--request', 'POST', 'http://localhost:7777/store/foo', '--data', '1111'), '');
  t.equal((await headOf('foo'))['content-type'], TEXT, 'what curl says of a form is nobody’s choice');
  t.equal(await curl('http://localhost:7777/store/foo'), '1111');
  t.equal(await curl('--request', 'PUT', 'http://localhost:7777/store/foo', '--data-binary', '@/proc/version'), '');
  t.match(await curl('http://localhost:7777/store/foo'), /^Linux version/);
  const words = ['-sS', '--unix-socket', where.socketPath, '-T', '-', '--request', 'POST', 'http://localhost:7777/store/big'];
  await must(run('curl', words, { input: Buffer.alloc(1_000_000, 'big') }));
  t.equal((await headOf('big'))['content-length'], '1000000', 'a body in chunks');
  t.equal(await curl('--request', 'DELETE', 'http://localhost:7777/store/foo'), '');
  t.equal(await curl('http://localhost:7777/store/foo'), '');
}

async function conditions(t: Test, service: Asked): Promise<void> {
  const text = '0123456789';
  const created = await service.ask('/store/n', {
    method: 'POST',
    body: text,
    headers: { 'content-type': 'image/x-of-mine; q=1' },
  });
  const etag = String(created.headers.etag);
  t.match(etag, /^"\d{1,20}"$/);
  const get = (headers: Record<string, string>, method = 'GET') => service.ask('/store/n', { method, headers });
  const whole = await get({});
  t.match(whole.headers, { etag, 'content-type': 'image/x-of-mine; q=1', 'content-length': '10', 'accept-ranges': 'bytes' });
  const head = await get({}, 'HEAD');
  t.same([head.status, head.body], [200, '']);
  for (const name of ['etag', 'content-type', 'content-length', 'last-modified', 'accept-ranges']) {
    t.equal(head.headers[name], whole.headers[name], `HEAD has ${name} as GET has it`);
  }
  const modified = String(whole.headers['last-modified']);
  const earlier = new Date(Date.parse(modified) - 5000).toUTCString();
  const table: [headers: Record<string, string>, status: number, body: string, contentRange?: string][] = [
    [{ range: 'bytes=0-3' }, 206, '0123', 'bytes 0-3/10'],
    [{ range: 'bytes=4-' }, 206, '456789', 'bytes 4-9/10'],
    [{ range: 'bytes=-2' }, 206, '89', 'bytes 8-9/10'],
    [{ range: 'bytes=-99' }, 206, text, 'bytes 0-9/10'],
    [{ range: 'bytes=9-99999999999' }, 206, '9', 'bytes 9-9/10'],
    [{ range: 'bytes=10-' }, 416, '{"code":416,"text":"Range Not Satisfiable"}\n', 'bytes */10'],
    [{ range: 'bytes=-0' }, 416, '{"code":416,"text":"Range Not Satisfiable"}\n', 'bytes */10'],
    [{ range: 'bytes=5-2' }, 200, text],
    [{ range: 'bytes=0-1,3-4' }, 200, text],
    [{ range: 'lines=0-1' }, 200, text],
    [{ range: 'bytes=-' }, 200, text],
    [{ range: 'bytes=0-3', 'if-range': etag }, 206, '0123', 'bytes 0-3/10'],
    [{ range: 'bytes=0-3', 'if-range': modified }, 206, '0123', 'bytes 0-3/10'],
    [{ range: 'bytes=0-3', 'if-range': '"other"' }, 200, text],
    [{ 'if-none-match': etag }, 304, ''],
    [{ 'if-none-match': `"a", W/${etag}` }, 304, ''],
    [{ 'if-none-match': '*' }, 304, ''],
    [{ 'if-none-match': '"other"', 'if-modified-since': modified }, 200, text],
    [{ 'if-modified-since': modified }, 304, ''],
    [{ 'if-modified-since': earlier }, 200, text],
    [{ 'if-modified-since': 'no date' }, 200, text],
    [{ 'if-match': etag }, 200, text],
    [
      { 'if-match': '"other"' },
      412,
      '{"code":412,"text":"blob n is not as the request wants it: it is not the one that If-Match has"}\n',
    ],
    [{ 'if-unmodified-since': modified }, 200, text],
    [
      { 'if-unmodified-since': earlier },
      412,
      '{"code":412,"text":"blob n is not as the request wants it: it was modified since the time of If-Unmodified-Since"}\n',
    ],
  ];
  for (const [headers, status, body, contentRange] of table) {
    const answer = await get(headers);
    t.same([answer.status, answer.body, answer.headers['content-range']], [status, body, contentRange], JSON.stringify(headers));
  }
  const change = (method: string, headers: Record<string, string>, path = '/store/n') =>
    service.ask(path, { method, headers, ...(method === 'DELETE' ? {} : { body: method }) });
  t.equal((await change('PUT', { 'if-match': '"other"' })).status, 412);
  t.equal((await change('DELETE', { 'if-match': '"other"' })).status, 412);
  t.equal((await change('PUT', { 'if-none-match': '*' })).status, 412);
  t.equal(
    (await change('PUT', { 'if-match': '*' }, '/store/absent')).status,
    404,
    'what would be refused anyway is answered as ever',
  );
  t.equal((await change('POST', { 'if-none-match': '*' })).status, 500);
  t.equal((await change('PUT', { 'content-range': 'bytes 0-2/10' })).status, 400);
  t.equal((await get({})).body, text);
  const updated = await change('PUT', { 'if-match': etag });
  t.equal(updated.status, 200);
  t.equal((await get({})).headers.etag, updated.headers.etag);
  t.equal((await change('DELETE', { 'if-match': etag })).status, 412, 'a tag is of one content');
  t.equal((await change('DELETE', { 'if-match': String(updated.headers.etag) })).status, 200);
}

async function clear({ ask }: Asked): Promise<void> {
  const { blobs } = JSON.parse((await ask('/store/')).body) as { blobs: { name: string }[] };
  for (const { name } of blobs) await ask(`/store/${encodeURIComponent(name)}`, { method: 'DELETE' });
}

/** The original's place is taken by a store alone, and by the store of a mount. */
const SIDES: [name: string, skip: string | false, serve: (t: Test) => Promise<Asked>][] = [
  ['a store alone', false, (t) => serve(t)],
  ['the store of a mount', whyNotRoot, serveMount],
];

for (const [name, skip, begin] of SIDES) {
  t.test(name, { skip }, async (t) => {
    const service = await begin(t);
    await t.test('the answers of the original', (t) => answers(t, service));
    await clear(service);
    await t.test('curl, as in the scripts of the original', (t) => withCurl(t, service));
    await clear(service);
    await t.test('content types, HEAD, ranges and conditions', (t) => conditions(t, service));
  });
}

t.test('listing, lots and refusals', async (t) => {
  const prepareLot = async (lot: string) => {
    if (lot !== 'ops') throw Object.assign(new Error('no such lot'), { code: 'ENOENT' });
  };
  const service = await serve(t, {}, { prepareLot });
  const post = (path: string, asked: Ask = {}) => service.ask(path, { method: 'POST', body: 'x', ...asked });
  for (const name of ['b', 'a', 'c']) t.equal((await post(`/store/${name}?lot=${name === 'a' ? 'ops' : 'store'}`)).status, 204);
  const list = async (query: string) => {
    const answer = await service.ask(`/store/${query}`);
    return { ...answer, json: JSON.parse(answer.body) as { blobs: Record<string, unknown>[]; next: string | null } };
  };
  const all = await list('');
  t.match(all.headers['content-type'], 'application/json; charset=utf-8');
  t.match(all.json.blobs[0], {
    name: 'a',
    state: 'OK',
    bytes: 1,
    contentType: TEXT,
    lot: 'ops',
    id: /^\d+$/,
    modifiedAtMs: Number,
  });
  t.same(
    all.json.blobs.map(({ name, lot }) => `${name} ${lot}`),
    ['a ops', 'b store', 'c store'],
  );
  t.equal(all.json.next, null);
  const first = await list('?limit=2');
  t.same([first.json.blobs.length, first.json.next], [2, 'b']);
  t.same(
    (await list('?limit=2&after=b')).json.blobs.map(({ name }) => name),
    ['c'],
  );
  t.equal((await service.ask('/store/', { method: 'HEAD' })).headers['content-length'], all.headers['content-length']);
  t.same(await service.ask('/store/?limit=0').then(({ status, body }) => [status, body]), [
    400,
    '{"code":400,"text":"limit must be a number from 1 to 10000"}\n',
  ]);

  t.equal((await post('/store/d?lot=none')).status, 500);
  const plain = await serve(t);
  t.same(await plain.ask('/store/d?lot=none', { method: 'POST', body: 'x' }).then(({ status, body }) => [status, body]), [
    404,
    `{"code":404,"text":"there is no lot 'none' here"}\n`,
  ]);
  const full = await service.ask('/store/full', {
    method: 'POST',
    headers: { 'content-length': String(2 ** 52), expect: '100-continue' },
  });
  t.same(
    [full.status, full.body, full.headers.connection],
    [507, '{"code":507,"text":"no space left on device: the grant has no room for blob full"}\n', 'close'],
  );
  for (const [path, reason] of [
    [`/store/${'x'.repeat(256)}`, 'it is longer than 255 bytes'],
    ['/store/a%00b', 'it contains a NUL'],
  ]) {
    const answer = await post(path ?? '');
    t.equal(answer.status, 400);
    t.match(answer.body, reason);
    t.equal((await service.ask(path ?? '')).status, 404);
  }
  for (const path of ['/store/%FF', '/store/%C3', '/store/%zz', '/store/%']) t.equal((await post(path)).status, 400, path);
  await service.store.create('half', pieces('x', new Error('broken'))).catch(() => {});
  t.match((await list('?after=d')).json.blobs, [
    { name: 'full', state: 'Failure' },
    { name: 'half', state: 'Failure' },
  ]);
  await service.store.close();
  t.same(await post('/store/z').then(({ status, body }) => [status, body]), [503, '{"code":503,"text":"the store is closed"}\n']);
});
