// 0-db's commands over real sockets of a real mount, one table a section of what is known of it; and what persists.
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { mount } from '../helpers/mount.js';
import { type Reply, RespClient } from '../helpers/resp.js';

/** A command, and its answer; a RegExp is for an answer that is text. */
type Step = [args: (string | Buffer)[], answer: Reply | RegExp | ((reply: Reply) => boolean)];

const words = (text: string) => (text === '' ? [] : text.split(' '));
const step = (text: string, answer: Step[1]): Step => [words(text), answer];
const LONG_KEY = 'k'.repeat(256);
const LONG_NAME = 'n'.repeat(129);

/** Each begins on a connection of its own, in the namespace `NAME` that is made for it; @ stands for its name. */
const SECTIONS: Record<string, Step[]> = {
  dispatch: [
    step('PING', '+PONG'),
    step('p', '+PONG'),
    step('Ping', '+PONG'),
    [[''], '-This is not a valid command'],
    step('*', '-This is not a valid command'),
    step('PINGS', '-Command not supported'),
    step('nothing like it', '-Command not supported'),
    ...['MIRROR', 'MASTER', 'HOOKS', 'INDEX DIRTY', 'DATA EXISTS 0'].map((each) => step(each, '-Command not supported')),
    step('S a 1', '$a'),
    step('G a', '$1'),
    step('SETX b 2', '$b'),
    step('STOP', '-Unauthorized'),
    step('TIME', (reply) => Array.isArray(reply) && reply.every((each) => /^\$[0-9]+$/.test(String(each)))),
    step('INFO', /^\$# server\nserver_name: vreserve\n/),
    step('AUTH secret', '-Authentication disabled'),
    step('AUTH SECURE CHALLENGE', /^\+[0-9a-f]{16}$/),
    step('AUTH LIKE CHALLENGE', '-Only SECURE extra method supported'),
    step('AUTH a b c', '-Unexpected arguments'),
  ],
  data: [
    step('SET a hello', '$a'),
    step('SET a hello', null),
    step('SET a world', '$a'),
    step('GET a', '$world'),
    step('GET b', null),
    [['SET', '', 'x'], '-Invalid argument, key needed'],
    [['SET', LONG_KEY, 'x'], '-Key too large'],
    [['SET', LONG_KEY.slice(1), 'x'], `$${LONG_KEY.slice(1)}`],
    ...['GET', 'DEL', 'EXISTS', 'CHECK', 'LENGTH', 'KEYTIME', 'KEYCUR'].flatMap((each): Step[] => [
      [[each, LONG_KEY], '-Invalid key'],
      [[each, ''], '-Invalid argument'],
      [[each], '-Unexpected arguments'],
      [[each, 'a', 'b'], '-Unexpected arguments'],
    ]),
    step('SET a', '-Unexpected arguments'),
    step('SET a b 1 2', '-Unexpected arguments'),
    [['SET', 'empty', ''], '$empty'],
    [['GET', 'empty'], '$'],
    [['SET', Buffer.from([0, 255, 13, 10]), Buffer.from([0, 1, 2, 13, 10])], '$\0\xff\r\n'],
    [['GET', Buffer.from([0, 255, 13, 10])], '$\0\x01\x02\r\n'],
    step('EXISTS a', 1),
    step('EXISTS b', 0),
    step('CHECK a', 1),
    step('CHECK b', null),
    step('LENGTH a', 5),
    step('LENGTH b', null),
    step('SET t x 1234567890', '$t'),
    step('KEYTIME t', 1234567890),
    step('KEYTIME b', null),
    step('KEYTIME a', (reply) => Math.abs(Number(reply) - Date.now() / 1000) < 60),
    step('KEYCUR a', (reply) => String(reply).length === 9),
    step('KEYCUR b', '-Key not found'),
    step('MGET a b t', ['$world', null, '$x']),
    [['MGET'], '-Invalid arguments'],
    [
      ['MGET', 'a', ''],
      ['$world', null],
    ],
    [['MGET', ...Array.from({ length: 1023 }, () => 'b')], (reply) => Array.isArray(reply) && reply.length === 1023],
    step('DBSIZE', 5),
    step('DEL a', '+OK'),
    step('DEL a', '-Key not found'),
    step('GET a', null),
    step('DBSIZE', 4),
  ],
  scan: [
    step('SCAN', '-No more data'),
    step('RSCAN', '-No more data'),
    step('KSCAN a', '-No keys match'),
    step('SET a 1 11', '$a'),
    step('SET b 22 12', '$b'),
    step('SET ab 333 13', '$ab'),
    step('SET a 4444 14', '$a'),
    step('SET gone 5 15', '$gone'),
    step('DEL gone', '+OK'),
    step('SCAN', (reply) => JSON.stringify(listed(reply)) === '[["$b",2,12],["$ab",3,13],["$a",4,14]]'),
    step('SCANX', (reply) => JSON.stringify(listed(reply)) === '[["$b",2,12],["$ab",3,13],["$a",4,14]]'),
    step('RSCAN', (reply) => JSON.stringify(listed(reply)) === '[["$a",4,14],["$ab",3,13],["$b",2,12]]'),
    step('SCAN x', '-Invalid key format'),
    step('SCAN 12345678', '-Invalid key format'),
    step('SCAN a b', '-Invalid key format'),
    step('KSCAN a', ['$0', ['$a', '$ab']]),
    step('KSCAN ab', ['$0', ['$ab']]),
    step('KSCAN c', '-No keys match'),
    step('HISTORY', '-Invalid arguments'),
    step('HISTORY c', '-Key not found'),
    step('HISTORY b', [null, '$12', '$22']),
    [['HISTORY', 'b', '\0\0\0\0\0\0\0\x07'], '-Invalid arguments (invalid key)'],
    step('HISTORY b x', '-Invalid arguments'),
  ],
  sequential: [
    step('NSSET @ mode seq', '+OK'),
    [['SET', '', 'first'], '$\0\0\0\0\0\0\0\0'],
    [['SET', '', 'second'], '$\x01\0\0\0\0\0\0\0'],
    [['SET', '\x01\0\0\0\0\0\0\0', 'other'], '$\x01\0\0\0\0\0\0\0'],
    [['SET', '\x01\0\0\0\0\0\0\0', 'other'], null],
    [['SET', '\x09\0\0\0\0\0\0\0', 'x'], '-Invalid key, only update authorized'],
    step('SET a x', '-Invalid key, only update authorized'),
    [['GET', '\x01\0\0\0\0\0\0\0'], '$other'],
    [['DEL', '\x01\0\0\0\0\0\0\0'], '+OK'],
    [['SET', '', 'third'], '$\x03\0\0\0\0\0\0\0'],
    step('KSCAN a', "-Index running mode doesn't support this feature"),
    step('NSSET @ mode user', '-Cannot change mode of used namespace'),
  ],
  namespaces: [
    step('NSNEW other', '+OK'),
    step('NSNEW other', '-This namespace is not available'),
    ...['.', '..', 'a/b', 'default'].map((each) => step(`NSNEW ${each}`, '-This name is not allowed')),
    [['NSNEW', Buffer.from([0xff])], '-This name is not allowed'],
    step(`NSNEW ${LONG_NAME}`, '-Namespace too long'),
    [['NSNEW', ''], '-Invalid argument'],
    step('NSNEW', '-Unexpected arguments'),
    step('NSLIST', (reply) => Array.isArray(reply) && reply.includes('$other') && reply.includes('$default')),
    step('NSINFO other', /^\$# namespace\nname: other\nentries: 0\npublic: yes\n(?!.*space_available).*\nmode: userkey\n/s),
    step('NSINFO nobody', '-Namespace not found'),
    step(`NSINFO ${LONG_NAME}`, '-Namespace too long'),
    step('NSDEL default', '-Cannot remove default namespace'),
    step('NSDEL nobody', "-This namespace doesn't exists"),
    step('NSDEL @', "-Cannot remove namespace you're currently using."),
    step('NSSET nobody maxsize 1', '-Namespace not found'),
    step('NSSET other MAXSIZE 1', '-Invalid property'),
    step('NSSET other size 1', '-Invalid property'),
    step('NSSET other mode no', '-Invalid property value (expected: user, seq)'),
    step(`NSSET other password ${'x'.repeat(64)}`, '-Argument too long'),
    step('NSSET default maxsize 1', '-Cannot update default namespace'),
    step('NSSET default password x', '-Cannot update default namespace'),
    step('NSSET default lock 0', '+OK'),
    step('NSSET other', '-Unexpected arguments'),
    step('RELOAD other', '+OK'),
    step('RELOAD nobody', '-Namespace not found'),
    step('NSJUMP', '+OK'),
    step('SELECT nobody', '-Namespace not found'),
    step(`SELECT ${LONG_NAME}`, '-Namespace too long'),
    step('SELECT other a b c', '-Too many arguments'),
    step('SELECT other', '+OK'),
    step('SELECT @', '+OK'),
    step('NSDEL other', '+OK'),
    step('NSNEW other', '+OK'),
    step('NSDEL other', '+OK'),
  ],
  'lock, freeze and worm': [
    step('SET a 1', '$a'),
    step('NSSET @ lock 1', '+OK'),
    step('SET a 2', '-Namespace is temporarily locked (read-only)'),
    step('DEL a', '-Namespace is temporarily locked (read-only)'),
    step('GET a', '$1'),
    step('NSSET @ lock 0', '+OK'),
    step('NSSET @ freeze 1', '+OK'),
    ...[
      'SET a 2',
      'DEL a',
      'GET a',
      'EXISTS a',
      'CHECK a',
      'LENGTH a',
      'KEYTIME a',
      'KEYCUR a',
      'SCAN',
      'RSCAN',
      'KSCAN a',
      'HISTORY a',
      'MGET a',
    ].map((each) => step(each, '-Namespace is temporarily frozen (read-write disabled)')),
    step('NSINFO @', /\nlocked: no\nfrozen: yes\n/),
    step('NSSET @ freeze 0', '+OK'),
    step('NSSET @ worm 1', '+OK'),
    step('SET b 1', '$b'),
    step('SET b 2', '-Namespace is protected by worm mode'),
    step('DEL b', '-Cannot delete a key when namespace is in worm mode'),
    step('DEL c', '-Key not found'),
    step('NSSET @ worm 0', '+OK'),
    step('DEL b', '+OK'),
  ],
  'how values are counted': [
    step('NSSET @ maxsize 10', '+OK'),
    step('SET a 12345678901', '-No space left on this namespace'),
    step('SET a 1234567890', '$a'),
    step('NSINFO @', /\ndata_size_bytes: 10\n.*\ndata_limits_bytes: 10\nspace_available: 0\n/s),
    step('SET b 1', '-No space left on this namespace'),
    [['SET', 'b', ''], '$b'],
    step('SET a 12345', '$a'),
    step('SET b 12345', '$b'),
    step('SET b 123456', '-No space left on this namespace'),
    step('SET b 54321', '$b'),
    step('DEL a', '+OK'),
    step('SET c 12345', '$c'),
    step('NSSET @ maxsize 3', '+OK'),
    step('SET c 1234', '-No space left on this namespace'),
    step('DEL b', '+OK'),
    step('SET c 123', '$c'),
    step('NSSET @ maxsize abc', '+OK'),
    step('NSINFO @', /\ndata_limits_bytes: 0\n(?!.*space_available)/),
    step('NSSET @ maxsize 10G', '+OK'),
    step('NSINFO @', /\ndata_limits_bytes: 10\nspace_available: 7\n/),
    step('NSSET @ maxsize -5', '+OK'),
    step('NSINFO @', /\ndata_limits_bytes: 18446744073709551611\n/),
    step('SET d 12345678901234567890', '$d'),
  ],
  flush: [
    step('SET a 1', '$a'),
    step('FLUSH', '-Flushing public namespace denied'),
    step('NSSET @ public 0', '+OK'),
    step('FLUSH', '-Flushing public namespace denied'),
    step('NSSET @ password secret', '+OK'),
    step('SELECT @', '-Namespace protected and private'),
    step('SELECT @ secret', '+OK'),
    step('FLUSH', '+OK'),
    step('GET a', null),
    step('DBSIZE', 0),
    step('SET a 2', '$a'),
    step('GET a', '$2'),
    step('NSSET @ password *', '+OK'),
    step('SELECT @', '+OK'),
  ],
  wait: [
    step('WAIT', '-Invalid arguments'),
    step('WAIT SET 99', '-Invalid timeout'),
    step('WAIT SET 1800001', '-Invalid timeout'),
    step('WAIT SET 1000000000000000000', '-Invalid timeout'),
    step('WAIT nothing', '-Unknown command to watch'),
    step('WAIT SET 100', '-Timeout'),
  ],
};

/** Without the cursor. */
function listed(reply: Reply): Reply {
  return Array.isArray(reply) ? (reply[1] ?? null) : reply;
}

function matches(reply: Reply, answer: Step[1]): boolean {
  if (typeof answer === 'function') return answer(reply);
  if (answer instanceof RegExp) return typeof reply === 'string' && answer.test(reply);
  return JSON.stringify(reply) === JSON.stringify(answer);
}

async function runSection(t: Test, address: string | null, name: string, steps: Step[]): Promise<void> {
  const client = await RespClient.connect(address);
  const namespace = `of-${name.replaceAll(/[ ,]+/g, '-')}`;
  await client.ask('NSNEW', namespace);
  await client.ask('SELECT', namespace);
  for (const [args, answer] of steps) {
    const said = args.map((arg) => (arg === '@' ? namespace : arg));
    const reply = await client.ask(...said);
    const shown = said.map((arg) => (typeof arg === 'string' ? arg.slice(0, 40) : arg.toString('hex'))).join(' ');
    t.ok(matches(reply, answer), `${name}: ${shown} → ${JSON.stringify(reply).slice(0, 300)}`);
  }
  await client.close();
}

t.test('the sections, over TCP and over a socket', async (t) => {
  for (const kind of ['tcp', 'unix']) {
    const m = await mount(t, { args: ['--zdb', kind === 'tcp' ? '127.0.0.1:0' : `unix:${socketFor(t)}`] });
    for (const [name, steps] of Object.entries(SECTIONS)) await runSection(t, m.ready.zdb, name, steps);
    t.match(await m.run(['check', m.mnt]), { code: 0, stdout: /^no difference/ });
    await m.umount();
  }
});

t.test('who may do what', async (t) => {
  const file = join(t.testdir({ pw: 'sesame\n' }), 'pw');
  const m = await mount(t, { args: ['--zdb', '127.0.0.1:0', '--zdb-admin-file', file, '--zdb-protect'] });
  const [admin, user] = [await RespClient.connect(m.ready.zdb), await RespClient.connect(m.ready.zdb)];
  const say = async (client: RespClient, ...steps: Step[]) => {
    for (const [args, answer] of steps) {
      const reply = await client.ask(...args);
      t.ok(matches(reply, answer), `${args.join(' ')} → ${JSON.stringify(reply)}`);
    }
  };
  const hash = (nonce: string, password: string) => createHash('sha1').update(`${nonce}:${password}`).digest('hex');
  const challenge = async (client: RespClient) => String(await client.ask('AUTH', 'SECURE', 'CHALLENGE')).slice(1);
  await say(
    user,
    ...['NSNEW a', 'NSDEL a', 'NSSET a maxsize 1', 'RELOAD a', 'NSJUMP', 'SET a 1 1'].map((each) =>
      step(each, '-Permission denied'),
    ),
    step('SET a 1', '-Namespace is in read-only mode'),
    step('AUTH wrong', '-Access denied'),
    step(`AUTH ${'x'.repeat(129)}`, '-Password too long'),
    step(`AUTH SECURE ${hash('', 'sesame')}`, '-No CHALLENGE requested, secure authentication not available'),
  );
  await challenge(user);
  await say(user, step('AUTH SECURE abc', '-Invalid hash length'), step(`AUTH SECURE ${hash('x', 'sesame')}`, '-Access denied'));
  await say(user, step(`AUTH SECURE ${hash('x', 'sesame')}`, '-No CHALLENGE requested, secure authentication not available'));
  await say(admin, step(`AUTH SECURE ${hash(await challenge(admin), 'sesame')}`, '+OK'), step('SET a 1', '$a'));
  await say(admin, step('NSNEW shop', '+OK'), step('NSSET shop password pass', '+OK'));
  await say(
    user,
    step('SELECT shop', '+OK'),
    step('SET a 1', '-Namespace is in read-only mode'),
    step('DEL a', '-Namespace is in read-only mode'),
    step('GET a', null),
    step('SELECT shop wrong', '-Access denied'),
    step(`SELECT shop ${'x'.repeat(256)}`, '-Password too long'),
    step(`SELECT shop LIKE ${hash('', 'pass')}`, '-Only SECURE extra method supported'),
    step(`SELECT shop SECURE ${hash('', 'pass')}`, '-No CHALLENGE requested, secure authentication not available'),
  );
  await challenge(user);
  await say(user, step('SELECT shop SECURE abc', '-Invalid hash length'));
  const nonce = await challenge(user);
  await say(user, step(`SELECT shop SECURE ${hash(nonce, 'pass')}`, '+OK'), step('SET a 1', '$a'));
  await say(admin, step('NSSET shop public 0', '+OK'));
  await say(user, step('SELECT shop', '-Namespace protected and private'), step('SELECT shop pass', '+OK'));
  const info = await user.ask('NSINFO', 'shop');
  t.match(info, /\npassword: yes\n/);
  t.notMatch(info, /pass(?!word)/, 'a password is shown nowhere');
  t.notMatch((await m.shell('cat .vreserve/ns/shop/info')).stdout, /pass(?!word)/);
  await say(admin, step('NSDEL shop', '+OK'));
  t.equal(await user.ask('GET', 'a'), '-Your active namespace is not available anymore (probably removed).');
  await user.closed;
  await admin.close();
});

t.test('a mode for all, versions of a key, waiting for others', async (t) => {
  const m = await mount(t, { args: ['--zdb', '127.0.0.1:0', '--zdb-mode', 'seq'] });
  const client = await RespClient.connect(m.ready.zdb);
  t.equal(
    await client.ask('NSSET', 'default', 'mode', 'user'),
    '-This server instance is configured to use a single runtime mode',
  );
  t.equal(await client.ask('SET', '', 'x'), '$\0\0\0\0\0\0\0\0');
  t.match(await m.run(['ns', 'reserve', 'a', '1MB', '--mount', m.mnt]), { code: 1, stderr: /have the mode seq/ });
  const key = '\0\0\0\0\0\0\0\0';
  for (const value of ['y', 'z']) await client.ask('SET', key, value);
  const values: Reply[] = [];
  let reply = await client.ask('HISTORY', key);
  while (Array.isArray(reply)) {
    values.push(reply[2] ?? null);
    const before = reply[0];
    if (typeof before !== 'string') break;
    reply = await client.ask('HISTORY', key, before.slice(1));
  }
  t.strictSame(values, ['$z', '$y', '$x']);
  const other = await RespClient.connect(m.ready.zdb);
  const [forSet, forAny] = [await RespClient.connect(m.ready.zdb), await RespClient.connect(m.ready.zdb)];
  const waiting = [forSet.ask('WAIT', 'SET', '30000'), forAny.ask('WAIT', '*', '30000')];
  // They wait when their commands were read: one that comes behind on each connection must not be answered.
  await until(async () => /clients_connected: 4/.test(String(await client.ask('INFO'))));
  await other.ask('GET', key);
  await other.ask('SET', '', 'w');
  t.strictSame(await waiting[0], '+SET');
  t.match(await waiting[1], /^\+(GET|SET|INFO)$/);
  for (const each of [client, other, forSet, forAny]) await each.close();
});

async function until(isSo: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 500; tries++) if (await isSo()) return;
  throw new Error('it never came about');
}

t.test('what persists: keys, settings, locks; and reserving over the command line', async (t) => {
  const m = await mount(t, { args: ['--zdb', '127.0.0.1:0', '--capacity', '400MB', '--margin', '0'] });
  const ns = async (...args: string[]) => m.run(['ns', ...args, '--mount', m.mnt]);
  const file = join(t.testdir({ pw: 'secret\n' }), 'pw');
  t.match(await ns('reserve', 'cache', '100MB', '--password-file', file, '--public', '--json'), {
    code: 0,
    stdout:
      /"name":"cache","address":"127\.0\.0\.1:[0-9]+","host":"127\.0\.0\.1","port":[0-9]+,"mode":"user","isPublic":true,"hasPassword":true/,
  });
  t.match(await ns('reserve', 'cache', '1MB'), { code: 1, stderr: /namespace 'cache' is there already/ });
  t.match(await ns('reserve', 'a/b', '1MB'), { code: 2, stderr: /cannot be the name of a namespace/ });
  t.match(await ns('reserve', 'large', '400MB'), { code: 1, stderr: /400 MB asked for, \d+ MB .* available/ });
  t.match(await ns('reserve', 'zero', '0'), { code: 2 });
  t.match(await ns('reserve', 'x', '1MB', '--mode', 'no'), { code: 2, stderr: /--mode must be user or seq/ });
  t.match(await ns('info', 'nobody'), { code: 1, stderr: /there is no namespace 'nobody'/ });
  t.match(await ns('list'), { code: 0, stdout: /^namespace.*\ncache .*100 MB.*\ndefault /s });
  t.match(await m.run(['lot', 'remove', 'ns/cache', '--mount', m.mnt]), { code: 1, stderr: /vreserve ns release cache ends it/ });
  const report = JSON.parse(await readFile(join(m.mnt, '.vreserve/report.json'), 'utf8')) as {
    lots: { name: string; dedicatedBytes: number }[];
  };
  t.match(
    report.lots.find(({ name }) => name === 'ns/cache'),
    { dedicatedBytes: 100_000_000 },
  );
  t.match(await m.shell(`printf 'ns list\\n' > .vreserve/control; printf 'ns info cache' > .vreserve/control`), { code: 0 });

  const client = await RespClient.connect(m.ready.zdb);
  t.equal(await client.ask('SELECT', 'cache', 'secret'), '+OK');
  for (let n = 0; n < 300; n++) await client.ask('SET', `key${n}`, `value ${n}`);
  await client.ask('DEL', 'key7');
  await client.ask('NSNEW', 'locked');
  for (const each of ['lock 1', 'freeze 1', 'worm 1', 'maxsize 77', 'mode seq'])
    await client.ask('NSSET', 'locked', ...each.split(' '));
  t.match((await m.shell('cat .vreserve/ns/cache/info')).stdout, /^name: cache\n.*\nentries: 299\n/s);
  t.match((await m.shell('sort .vreserve/ns/cache/keys')).stdout, /^"key0"\n"key1"\n"key10"\n/);
  t.match((await m.shell('ls .vreserve/ns; ls .vreserve/ns/cache')).stdout, 'cache\ndefault\nlocked\ninfo\nkeys\n');
  for (const how of ['umount', 'kill'] as const) {
    await m[how]();
    await m.remount();
    const again = await RespClient.connect(m.ready.zdb);
    t.match(
      await again.ask('NSINFO', 'locked'),
      /public: yes\nworm: yes\nlocked: yes\nfrozen: yes\n.*\ndata_limits_bytes: 77\n.*\nmode: sequential\n/s,
    );
    t.equal(await again.ask('SELECT', 'cache'), '+OK');
    t.equal(await again.ask('SET', 'a', 'b'), '-Namespace is in read-only mode');
    t.equal(await again.ask('GET', 'key299'), '$value 299', `after ${how}`);
    t.equal(await again.ask('GET', 'key7'), null);
    t.equal(await again.ask('DBSIZE'), 299);
    await again.close();
  }
  t.match(await ns('release', 'cache'), { code: 0, stdout: 'released 100 MB of namespace cache\n' });
  t.match(await ns('release', 'default'), { code: 2 });
  t.match(await m.run(['report', m.mnt]), { code: 0, stdout: /^(?!.*ns\/cache)/s });
  t.match(await m.run(['check', m.mnt]), { code: 0, stdout: /^no difference/ });
});

t.test('without --zdb there are none', async (t) => {
  const m = await mount(t);
  t.match(await m.run(['ns', 'list', '--mount', m.mnt]), {
    code: 1,
    stderr: /this mount serves no namespaces: mount it with --zdb ADDRESS/,
  });
  t.match(await m.shell('ls .vreserve/ns'), { code: 2 });
  const bad = [
    [['--zdb', '0.0.0.0:9900'], /say --zdb-any too/],
    [['--zdb', '127.0.0.1:0', '--read-only'], /leave out --read-only/],
    [['--zdb', 'nowhere'], /is no address/],
    [['--zdb-mode', 'x'], /--zdb-mode must be one of user, seq/],
  ] as const;
  for (const [args, stderr] of bad) t.match(await m.run(['mount', m.data, m.mnt, ...args]), { code: 2, stderr });
});

function socketFor(t: Test): string {
  return join(dirname(t.testdir({})), `${process.pid}.sock`);
}
