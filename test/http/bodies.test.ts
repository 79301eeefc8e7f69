// Parameters as Go finds them, Go's texts, and bodies that are too slow.
import fastify from 'fastify';
import t from 'tap';
import { limitBodies, limitBodyTime, takeJson } from '../../src/http/bodies.js';
import { Form } from '../../src/http/form.js';
import { goString, parseUint } from '../../src/http/go.js';
import { ask, open, until } from '../helpers/http.js';

t.test('urlencoded text', async (t) => {
  const rows: [encoded: string, path: string, isText?: boolean][] = [
    ['', ''],
    ['path', ''],
    ['path=', ''],
    ['path=/a', '/a'],
    ['path=/a&path=/b', '/a'],
    ['path=&path=/b', ''],
    ['&&path=/a&', '/a'],
    ['path=a=b', 'a=b'],
    ['p%61th=%2Fx+y%2B', '/x y+'],
    ['path=%4&path=%zz&path=%&path=ok', 'ok'],
    ['path=a;b&path=c', 'c'],
    ['path;x=1', ''],
    ['path=%C3%A9', 'é'],
    ['path=\u00c3\u00a9', 'é'],
    ['path=%EF%BB%BFx', '\ufeffx'],
    ['path=%C3', '\ufffd', false],
    ['path=a%00b', 'a\0b'],
    ['Path=/a', ''],
    ['__proto__=1&path=/a', '/a'],
  ];
  for (const [encoded, text, isText = true] of rows) {
    const form = new Form();
    form.addEncoded(encoded);
    t.strictSame(form.value('path'), { text, isText }, encoded);
  }
});

t.test('parts', async (t) => {
  const part = (name: string, value: string, more = '') =>
    `--b\r\nContent-Disposition: form-data; name="${name}"${more}\r\n\r\n${value}\r\n`;
  const rows: [type: string, body: string, path: string][] = [
    ['multipart/form-data; boundary=b', `${part('path', '/a')}--b--\r\n`, '/a'],
    ['multipart/form-data; boundary="b"', `${part('other', 'x')}${part('path', '/é')}--b--\r\n`, '/é'],
    ['multipart/form-data; boundary=b', `${part('path', '/file', '; filename="f"')}${part('path', '/a')}--b--\r\n`, '/a'],
    ['multipart/form-data; boundary=b', part('path', '/cut off'), ''],
    ['multipart/form-data; boundary=c', `${part('path', '/a')}--b--\r\n`, ''],
    ['multipart/form-data; x=y', `${part('path', '/a')}--b--\r\n`, ''],
    ['multipart/form-data; boundary=b', '', ''],
  ];
  for (const [type, body, text] of rows) {
    const form = new Form();
    await form.addMultipart(type, Buffer.from(body));
    t.equal(form.value('path').text, text, JSON.stringify(body));
  }
});

t.test('texts and numbers', async (t) => {
  t.equal(
    goString('<a href="x">&\'\u2028\u2029\b\f\n\t\x7f é'),
    '"\\u003ca href=\\"x\\"\\u003e\\u0026\'\\u2028\\u2029\\u0008\\u000c\\n\\t\x7f é"',
  );
  t.equal(goString('\\b'), '"\\\\b"', 'a backslash and a letter are none of the escapes');
  const rows: [string, bigint | null][] = [
    ['0', 0n],
    ['18446744073709551615', 2n ** 64n - 1n],
    ['18446744073709551616', null],
    [`${'0'.repeat(100)}7`, 7n],
    ['9'.repeat(100_000), null],
    ['', null],
    ['٣', null],
  ];
  for (const [text, value] of rows) t.equal(parseUint(text), value, text.slice(0, 30));
});

t.test('a body that is too slow is refused, and nothing is done when the rest comes', async (t) => {
  const app = fastify({ forceCloseConnections: true });
  t.teardown(() => app.close());
  app.removeAllContentTypeParsers();
  takeJson(app);
  limitBodyTime(app, 50);
  let calls = 0;
  app.post('/', async () => {
    calls += 1;
    return 'done';
  });
  app.setErrorHandler((error, _, reply) => reply.code(408).send(String(error)));
  await app.listen({ host: '127.0.0.1', port: 0 });
  const { port } = app.server.address() as { port: number };
  const socket = await open({ host: '127.0.0.1', port });
  const head = 'POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\n';
  socket.write(`${head}tr`);
  let said = '';
  socket
    .on('error', () => {})
    .on('data', (part) => {
      said += part.toString();
      socket.write('ue');
    });
  await new Promise((closed) => socket.on('close', closed));
  t.match(said, /^HTTP\/1\.1 408 .*did not arrive in time/s);
  t.equal(calls, 0);
  const quick = await open({ host: '127.0.0.1', port });
  quick.write(`${head}true`);
  await new Promise((heard) => quick.once('data', heard));
  quick.destroy();
  t.equal(calls, 1);
});

t.test('bodies take up so much and no more', async (t) => {
  const app = fastify({ forceCloseConnections: true });
  t.teardown(() => app.close());
  app.removeAllContentTypeParsers();
  takeJson(app);
  limitBodies(app, 1000);
  app.post('/', async () => 'done');
  app.setErrorHandler((error, _, reply) => reply.code(503).send(String(error)));
  await app.listen({ host: '127.0.0.1', port: 0 });
  const where = app.server.address() as { port: number };
  const to = { host: '127.0.0.1', port: where.port };
  const post = async (body: string) => (await ask(to, '/', { method: 'POST', body })).status;
  const [small, large] = ['1'.padEnd(400), '1'.padEnd(800)];
  t.equal(await post(large), 200);
  const slow = await open(to);
  slow.write(`POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 300\r\n\r\ntr`);
  await until(async () => (await post(large)) === 503, 'it does not fit beside the other');
  t.equal(await post(small), 200, 'a smaller one does');
  slow.destroy();
  await until(async () => (await post(large)) === 200, 'it fits when the other has gone');
  const headers = { 'transfer-encoding': 'chunked' };
  t.match(await ask(to, '/', { method: 'POST', headers, body: '1' }), { status: 503 }, 'one of no length is as long as can be');
});
