// What clients cannot do to the namespaces of a mount: fill more than their lot, hold up others, or leave anything behind.
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import type { NamespaceInfo } from '../../src/core/namespace-layout.js';
import { descriptors, servicePid, until } from '../helpers/http.js';
import { type Mounted, mount } from '../helpers/mount.js';
import { command, type Reply, RespClient } from '../helpers/resp.js';

const NO_ROOM = '-Cannot write data right now';

async function infoOf(m: Mounted, name: string): Promise<NamespaceInfo> {
  const { stdout } = await m.run(['ns', 'info', name, '--json', '--mount', m.mnt]);
  return (JSON.parse(stdout) as { namespace: NamespaceInfo }).namespace;
}

/** Many commands at once; their answers. */
async function all(client: RespClient, commands: (string | Buffer)[][]): Promise<Reply[]> {
  client.socket.write(Buffer.concat(commands.map((each) => command(...each))));
  const answers: Reply[] = [];
  for (const _ of commands) answers.push(await client.next());
  return answers;
}

t.test('a full lot: refused whole, readable, and deleting makes room', async (t) => {
  const m = await mount(t, { args: ['--zdb', '127.0.0.1:0', '--capacity', '24MB', '--margin', '0'] });
  t.match(await m.run(['ns', 'reserve', 'full', '10MB', '--mount', m.mnt]), { code: 0 });
  // Whatever is left belongs to others now, so that nothing opportunistic is to be had.
  const report = JSON.parse(await readFile(join(m.mnt, '.vreserve/report.json'), 'utf8')) as { pool: { headroomBytes: number } };
  t.match(await m.run(['reserve', join(m.mnt, 'others'), String(report.pool.headroomBytes)]), { code: 0 });
  const client = await RespClient.connect(m.ready.zdb);
  await client.ask('SELECT', 'full');
  const value = Buffer.alloc(4096, 'v');
  const stored: string[] = [];
  let refused = 0;
  for (let n = 0; n < 3200; n += 16) {
    const keys = Array.from({ length: 16 }, (_, i) => `key${n + i}`);
    const answers = await all(
      client,
      keys.map((key) => ['SET', key, value]),
    );
    answers.forEach((answer, i) => {
      if (answer === NO_ROOM) refused += 1;
      else stored.push(keys[i] ?? '');
      t.ok(answer === NO_ROOM || answer === `$${keys[i]}`, 'stored or refused');
    });
  }
  t.ok(refused > 0, 'it was full before the limit of its values');
  t.ok(stored.length > 2000, `${stored.length} of 4 KiB went into 10 MB`);
  t.equal(await client.ask('DBSIZE'), stored.length);
  t.equal(await client.ask('GET', stored.at(-1) ?? ''), `$${value.toString()}`);
  const { lots } = JSON.parse(await readFile(join(m.mnt, '.vreserve/report.json'), 'utf8')) as {
    lots: { name: string; usedBytes: number; dedicatedBytes: number }[];
  };
  const lot = lots.find(({ name }) => name === 'ns/full');
  t.ok(lot !== undefined && lot.usedBytes <= lot.dedicatedBytes, 'not a byte more than was set aside');
  // Over a restart too.
  await m.kill();
  await m.remount();
  const again = await RespClient.connect(m.ready.zdb);
  await again.ask('SELECT', 'full');
  t.equal(await again.ask('DBSIZE'), stored.length);
  const half = stored.splice(0, stored.length >> 1);
  for (let at = 0; at < half.length; at += 100) {
    const answers = await all(
      again,
      half.slice(at, at + 100).map((key) => ['DEL', key]),
    );
    t.ok(
      answers.every((answer) => answer === '+OK'),
      'deleting is never refused',
    );
  }
  await until(async () => (await again.ask('SET', 'new', value)) !== NO_ROOM, 'there is room again');
  let more = 0;
  await until(async () => {
    more += (
      await all(
        again,
        Array.from({ length: 16 }, (_, i) => ['SET', `more${more}-${i}`, value]),
      )
    ).filter((answer) => answer !== NO_ROOM).length;
    return more > half.length / 2;
  }, 'what was deleted can be stored anew');
  t.equal(await again.ask('GET', stored[0] ?? ''), `$${value.toString()}`);
  t.match(await m.run(['check', m.mnt]), { code: 0, stdout: /^no difference/ });
});

t.test('what is replaced and deleted is given back, by itself, to less than 20 % beside the values', async (t) => {
  const m = await mount(t, { args: ['--zdb', '127.0.0.1:0'] });
  const client = await RespClient.connect(m.ready.zdb);
  const text = 'x'.repeat(1000);
  const sets = (round: number, from: number, to: number) =>
    Array.from({ length: to - from }, (_, i) => [
      'SET',
      `key${String(from + i).padStart(9, '0')}`,
      `${text}${round}:${from + i}`.padEnd(1024),
    ]);
  for (let round = 0; round < 4; round++) {
    for (let at = 0; at < 20_000; at += 500) await all(client, sets(round, at, at + 500));
  }
  for (let at = 0; at < 20_000; at += 2) client.socket.write(command('DEL', `key${String(at).padStart(9, '0')}`));
  for (let at = 0; at < 20_000; at += 2) await client.next();
  const beside = async () => {
    const { fileBytes, payloadBytes, keyBytes } = await infoOf(m, 'default');
    return (fileBytes - payloadBytes - keyBytes) / payloadBytes;
  };
  await until(async () => (await beside()) < 0.2 + 1 / 10, 'it is little again (1 MiB of 10 MiB is fixed)');
  t.equal(await client.ask('DBSIZE'), 10_000);
  for (const n of [1, 777, 9999, 19_999]) {
    t.equal(await client.ask('GET', `key${String(n).padStart(9, '0')}`), `$${`${text}3:${n}`.padEnd(1024)}`);
  }
  let cursor: string | null = null;
  const seen = new Set<string>();
  for (;;) {
    const reply: Reply = await (cursor === null ? client.ask('SCAN') : client.ask('SCAN', Buffer.from(cursor, 'latin1')));
    if (!Array.isArray(reply)) break;
    cursor = String(reply[0]).slice(1);
    for (const item of reply[1] as Reply[][]) seen.add(String(item[0]));
  }
  t.equal(seen.size, 10_000, 'all are found');
  const used = async () => {
    const files = (await m.shell(`find ${m.data}/.vreserve/namespaces/default -type f -printf '%s\\n'`)).stdout;
    return files
      .trim()
      .split('\n')
      .reduce((sum, size) => sum + Number(size), 0);
  };
  t.ok((await used()) < 10_000 * 1024 * 1.35, 'and so are the files of the backing');
  t.match(await m.run(['check', m.mnt]), { code: 0, stdout: /^no difference/ });
});

t.test('many connections, half commands, slow readers, large values: nothing stays, nobody waits', async (t) => {
  const m = await mount(t, { args: ['--zdb', '127.0.0.1:0'] });
  const pid = await servicePid(m.ready.pid);
  if (pid === null) throw new Error('there is no service process');
  const client = await RespClient.connect(m.ready.zdb);
  await client.ask('PING');
  const before = await descriptors(pid);

  const most = 5000;
  const many: RespClient[] = [];
  for (let n = 0; n < most; n += 250) {
    many.push(...(await Promise.all(Array.from({ length: 250 }, () => RespClient.connect(m.ready.zdb)))));
  }
  const answers = await Promise.all(many.map((each, n) => each.ask('SET', `of${n}`, String(n))));
  t.equal(answers.filter((answer, n) => answer === `$of${n}`).length, most, 'each of 5,000 is answered');
  // Half a command on each, and then silence: others are served.
  for (const each of many) each.socket.write('*3\r\n$3\r\nSET\r\n$1\r\na\r\n$100\r\nhalf');
  t.equal(await client.ask('GET', 'of4999'), '$4999');
  t.equal(await client.ask('GET', 'a'), null);
  await Promise.all(many.map((each) => each.close()));
  await until(async () => (await descriptors(pid)) <= before + 2, 'all descriptors are back');

  const large = Buffer.alloc(8 * 1024 * 1024, 'L');
  t.equal(await client.ask('SET', 'large', large), '$large');
  const tooLarge = client.ask('SET', 'larger', Buffer.alloc(9 * 1024 * 1024));
  t.equal(await tooLarge, '-Payload too big');
  t.equal(await client.ask('EXISTS', 'larger'), 0, 'the connection goes on, and nothing was stored');
  t.equal(await client.raw(command(...Array.from({ length: 2000 }, () => 'x'))), '-Too many arguments');
  t.equal(await client.ask('PING'), '+PONG');
  for (const bytes of ['PING\r\n', '*x\r\n', '*1\r\n$4\r\nPINGPING\r\n', '*-5\r\n']) {
    const odd = await RespClient.connect(m.ready.zdb);
    t.match(await odd.raw(bytes), /^-Malformed request, /);
    odd.socket.end();
    await odd.closed;
  }

  // Who asks for 320 MiB and reads nothing does not fill the memory.
  const slow = await RespClient.connect(m.ready.zdb);
  slow.socket.pause();
  for (let n = 0; n < 40; n++) slow.socket.write(command('GET', 'large'));
  const rss = async () => Number(/VmRSS:\s+([0-9]+)/.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;
  t.equal(await client.ask('GET', 'of1'), '$1', 'others are served meanwhile');
  t.ok((await rss()) < 300 * 1024 ** 2, `${await rss()} bytes of memory`);
  slow.socket.resume();
  for (let n = 0; n < 40; n++) if (String(await slow.next()).length !== large.length + 1) t.fail('a value is cut');
  await slow.close();
  await client.close();
  t.equal((await stat(join(m.mnt, '.vreserve/ns/default/info'))).isFile(), true);
  t.match(await m.run(['check', m.mnt]), { code: 0, stdout: /^no difference/ });
});
