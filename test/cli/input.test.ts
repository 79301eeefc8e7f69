// Bad input that needs no mount, and the help: exit codes, one clear line, and nothing on stdout.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { COMMANDS, nearest } from '../../src/cli/commands.js';
import { temporaryDirectory } from '../helpers/mount.js';
import { vreserve } from '../helpers/run.js';

const LONG_NAME = `/tmp/${'x'.repeat(256)}`;
const LONG_PATH = '/x'.repeat(2500);

/** What is typed, the exit code, and what the one line must say. */
const CASES: [words: string[], code: number, says: RegExp][] = [
  [[], 2, /no command/],
  [['moutn'], 2, /unknown command 'moutn'; did you mean 'mount'\?/],
  [['xyzzy'], 2, /unknown command 'xyzzy'; vreserve --help/],
  [['--frobnicate', 'report'], 2, /unknown option '--frobnicate'/],
  [['report', '--frobnicate'], 2, /unknown option '--frobnicate'/],
  [['reserve'], 2, /something is missing: vreserve reserve PATH BYTES/],
  [['reserve', '/tmp/a', '1', 'b'], 2, /'b' is one word too many/],
  [['reserve', '/tmp/a', '-1'], 2, /'-1' is not a number of bytes: it must not be negative/],
  [['reserve', '/tmp/a', '1.5'], 2, /'1.5' is not a number of bytes: it must be a whole number/],
  [['reserve', '/tmp/a', '10X'], 2, /'10X' is not a number of bytes/],
  [['reserve', '/tmp/a', '9007199254740992'], 2, /more than 9007199254740991/],
  [['reserve', '/tmp/a', '9P'], 2, /not in a vreserve mount/],
  [['reserve', '/tmp/a', '10P'], 2, /more than 9007199254740991/],
  [['reserve', '/tmp/a', ''], 2, /it is empty/],
  [['reserve', '', '1'], 2, /it is empty/],
  [['reserve', LONG_NAME, '1'], 2, /too long.*256 bytes/],
  [['reserve', LONG_PATH, '1'], 2, /too long: 5000 bytes/],
  [['reserve', '/tmp/a/../b', '1'], 2, /the component '\.\.'/],
  [['reserve', '/tmp/a', '1'], 2, /'\/tmp\/a' is not in a vreserve mount/],
  [['extend', '/tmp/a', '1'], 2, /'\/tmp\/a' is not in a vreserve mount/],
  [['release', '/tmp/a'], 2, /'\/tmp\/a' is not in a vreserve mount/],
  [['release', '/a', '--mount', '/'], 1, /'\/' is not a vreserve mount/],
  [['report', '/'], 2, /not in a vreserve mount/],
  [['ledger', '/'], 2, /not in a vreserve mount/],
  [['umount', '/'], 1, /'\/' is not a vreserve mount/],
  [['umount', '/nowhere/at/all'], 1, /not a vreserve mount, and does not exist/],
  [['check', '/nowhere/at/all'], 1, /'\/nowhere\/at\/all' does not exist/],
  [['mount'], 2, /needs a backing directory/],
  [['mount', '/nowhere/at/all'], 1, /'\/nowhere\/at\/all' does not exist/],
  [['mount', '/tmp', '/tmp', '/tmp'], 2, /one too many/],
  [['mount', '/tmp', '--capacity', '1.5'], 2, /--capacity: '1.5' is not a number of bytes/],
  [['mount', '/tmp', '--capacity'], 2, /--capacity needs a value/],
  [['mount', '/tmp', '--frobnicate'], 2, /unknown option '--frobnicate'/],
  [['mount', '/tmp', '-o', 'frobnicate'], 2, /unknown option 'frobnicate' in -o/],
];

t.test('each bad input is refused with one line', async (t) => {
  await Promise.all(
    CASES.map(async ([words, code, says]) => {
      const name = words.map((word) => (word.length > 40 ? `${word.slice(0, 20)}…` : word)).join(' ');
      const got = await vreserve(words);
      t.match({ ...got, lines: got.stderr.split('\n').length - 1 }, { code, stdout: '', stderr: says, lines: 1 }, `'${name}'`);
      t.match(got.stderr, /^vreserve: /, `'${name}' says who speaks`);
    }),
  );
});

t.test('directories that cannot be mounted', async (t) => {
  const top = await temporaryDirectory(t);
  const inner = join(top, 'inner');
  const file = join(top, 'file');
  await mkdir(inner);
  await writeFile(file, '');
  const cases: [string[], RegExp][] = [
    [[file, inner], /'.*file' is not a directory/],
    [[inner, file], /mountpoint '.*file' is not a directory/],
    [[inner, join(top, 'none')], /mountpoint '.*none' does not exist/],
    [[inner, top], /is inside the mountpoint/],
    [[top, inner], /lies inside the backing directory/],
    [[join(file, 'below'), inner], /backing/],
  ];
  for (const [places, says] of cases) {
    t.match(await vreserve(['mount', ...places]), { code: 1, stdout: '', stderr: says }, String(says));
  }
});

t.test('--json tells the error as an object too', async (t) => {
  const got = await vreserve(['reserve', '/tmp/a', '1', '--json']);
  t.equal(got.code, 2);
  t.match(JSON.parse(got.stdout), { ok: false, code: 'OUTSIDE', errno: 'EINVAL', path: '/tmp/a' });
});

t.test('--debug adds the stack', async (t) => {
  const got = await vreserve(['reserve', '/tmp/a', '1', '--debug']);
  t.match(got.stderr, /\n\s+at .*\n/);
});

t.test('--help of everything has an example', async (t) => {
  const names = Object.keys(COMMANDS).filter((name) => COMMANDS[name]?.summary !== null);
  for (const words of [['--help'], ['-h'], ['help']]) {
    const got = await vreserve(words);
    t.match(got, { code: 0, stderr: '' });
    for (const name of names) t.match(got.stdout, new RegExp(`^  ${name} `, 'm'));
    t.match(got.stdout, /Example:/);
  }
  await Promise.all(
    names.map(async (name) => {
      const got = await vreserve([name, '--help']);
      t.match(got, { code: 0, stderr: '' }, name);
      t.match(got.stdout, new RegExp(`^Usage: vreserve ${name}\\b`), name);
      t.match(got.stdout, new RegExp(`Examples?:\n  vreserve ${name}`), name);
      t.match(got.stdout, /--json/, name);
    }),
  );
});

t.test('--version', async (t) => {
  t.match(await vreserve(['--version']), { code: 0, stdout: /^\d+\.\d+\.\d+\n$/, stderr: '' });
  t.match(JSON.parse((await vreserve(['--version', '--json'])).stdout), { version: String });
});

t.test('the nearest command', async (t) => {
  t.equal(nearest('unmount'), 'umount');
  t.equal(nearest('RESERVE'), 'reserve');
  t.equal(nearest('chekc'), 'check');
  t.not(nearest('daemon'), 'daemon', 'what is no command of users is not named');
  t.equal(nearest('something-else'), null);
});
