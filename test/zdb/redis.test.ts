// Debian's clients of Redis: a session of redis-cli, and redis-benchmark.
import t from 'tap';
import { mount } from '../helpers/mount.js';
import { run } from '../helpers/run.js';

const hasTools = await run('redis-cli', ['--version']).then(
  ({ code }) => code === 0,
  () => false,
);

t.test('redis-cli and redis-benchmark', { skip: hasTools ? false : 'needs redis-cli (package redis-tools)' }, async (t) => {
  const m = await mount(t, { args: ['--zdb', '127.0.0.1:0'] });
  const port = m.ready.zdb?.split(':')[1] ?? '';
  const session = [
    ['PING', 'PONG'],
    ['NSNEW shop', 'OK'],
    ['SELECT shop', 'OK'],
    ['SET apple "a red one"', '"apple"'],
    ['SET apple "a red one"', '(nil)'],
    ['GET apple', '"a red one"'],
    ['MGET apple pear', '1) "a red one"\n2) (nil)'],
    ['LENGTH apple', '(integer) 9'],
    ['DEL apple', 'OK'],
    ['DEL apple', '(error) Key not found'],
    ['DBSIZE', '(integer) 0'],
    ['SELECT default', 'OK'],
    ['NSDEL shop', 'OK'],
    ['NSLIST', '1) "default"'],
  ] as const;
  const input = session.map(([command]) => `${command}\n`).join('');
  const { stdout } = await run('redis-cli', ['-p', port, '--no-raw'], { input });
  t.equal(stdout.trim(), session.map(([, answer]) => answer).join('\n'));
  const bench = ['-p', port, '-c', '16', '-n', '2000', '-r', '1000', '-d', '100', '-t', 'set,get', '--csv'];
  t.match(await run('redis-benchmark', bench), { code: 0, stdout: /^"SET","[0-9.]+",.*\n"GET","[0-9.]+"/m });
  t.match(await run('redis-benchmark', [...bench, '-P', '50']), { code: 0, stdout: /^"GET","[0-9.]+"/m }, 'fifty at a time');
  t.match(await m.run(['check', m.mnt]), { code: 0, stdout: /^no difference/ });
});
