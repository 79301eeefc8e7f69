// Programs that people use, inside the mount: git, rsync with all it can carry, and SQLite with two writers at once.
import { cp, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { usedAt } from '../helpers/lots.js';
import { mount, temporaryDirectory } from '../helpers/mount.js';
import { must, ROOT, run, shell } from '../helpers/run.js';
import { bytesIn, listing } from '../helpers/tree.js';

const MODES = [[], ['--no-passthrough']];
const CAPACITY = ['--capacity', '2GB', '--margin', '0'];
const isRoot = process.getuid?.() === 0;

/** Only what the repository itself says, and somebody to commit as. */
const GIT = {
  ...process.env,
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_AUTHOR_NAME: 'test',
  GIT_AUTHOR_EMAIL: 'test@localhost',
  GIT_COMMITTER_NAME: 'test',
  GIT_COMMITTER_EMAIL: 'test@localhost',
};

function lacking(...commands: string[]): Promise<string | false> {
  const script = commands.map((command) => `command -v ${command} >/dev/null || echo ${command}`).join('\n');
  return shell(script).then(({ stdout }) => (stdout === '' ? false : `not installed: ${stdout.trim().replaceAll('\n', ', ')}`));
}

t.test('git', { skip: await lacking('git') }, async (t) => {
  const top = await temporaryDirectory(t);
  const origin = join(top, 'origin');
  await mkdir(origin);
  for (const name of ['src', 'test', 'scripts', 'package.json'])
    await cp(join(ROOT, name), join(origin, name), { recursive: true });
  const commits = `find . -type d -empty -delete; git init -q .; git add -A src package.json; git commit -qm one; git add -A; git commit -qm two; git tag both`;
  await must(shell(commits, { cwd: origin, env: GIT }));

  for (const mode of MODES) {
    const name = mode[0] ?? 'passthrough';
    const m = await mount(t, { args: [...CAPACITY, ...mode] });
    const git = (script: string) => must(m.shell(script, { env: GIT }));
    await must(m.run(['reserve', join(m.mnt, 'job'), '100MB']));
    await mkdir(join(m.mnt, 'job'));
    await git(`git clone -q ${origin} job/local; git clone -q file://${origin} job/packed; git clone -q job/packed job/second`);
    for (const clone of ['local', 'packed', 'second']) {
      const { stdout } = await git(`cd job/${clone}; git fsck --full --strict; git status --porcelain`);
      t.equal(stdout, '', `${name}: ${clone} is sound and clean`);
      t.match(await run('diff', ['-r', '-x', '.git', origin, join(m.mnt, 'job', clone)]), { code: 0, stdout: '' });
    }
    await git(`cd job/second; echo more > more; git add more; git commit -qm three; git push -q origin HEAD:refs/heads/three
               git checkout -q both~1; git checkout -q -; git gc -q --prune=now; git fsck --full --strict`);
    const thereBytes = await bytesIn(join(m.mnt, 'job'));
    t.equal(await usedAt(m.mnt, '/job', thereBytes), thereBytes, `${name}: charged what is there`);
    t.match(await m.run(['check', m.mnt]), { code: 0 });
  }
});

/** Hard links, ACLs, xattrs, and as root owners, devices and set-uid. */
const TREE = `
  mkdir -p a/b c; head -c 300000 /dev/urandom > a/data; ln a/data c/link; ln a/data a/b/third
  echo text > a/text; ln -s ../a/text c/symlink; ln -s /nowhere c/dangling; mkfifo c/fifo
  setfacl -m u:1234:rw,g:5678:r,m::rw a/text; setfacl -d -m u:1234:rwx,g::rx c; setfacl -m u:4321:x a/b
  setfattr -n user.colour -v blue a/text; setfattr -n user.empty a/b;
  setfattr -n user.binary -v 0x00ff10 a/data
  truncate -s 5000000 a/sparse; printf end | dd of=a/sparse bs=1 seek=4000000 conv=notrunc status=none
  chmod 640 a/text; touch -d @1.000000001 a/text; touch "c/  spaces" "c/$(printf 'new\\nline')"
  chmod 4711 a/data`;
const TREE_AS_ROOT = `
  chown 1000:1001 a/data c; chown -h 7:8 c/dangling; mknod c/null c 1 3; mknod c/block b 7 9; chmod 6755 a/data; chmod 1777 c
  setfattr -n trusted.secret -v 42 a/text; setfattr -n trusted.onlink -v 1 -h c/symlink
  cp /bin/true a/capable; setcap cap_net_raw+ep a/capable`;

/** Everything that rsync should have kept, read with other tools. */
async function everything(top: string): Promise<string[]> {
  const acls = await must(shell('getfacl -R -n -p . ; getfattr -R -h -d -m - -e hex .', { cwd: top }));
  const links = await must(shell("find . -links +1 ! -type d -printf '%i %P\\n' | sort -k2", { cwd: top }));
  const names = new Map<string, string>();
  const groups = links.stdout.split('\n').map((line) => {
    const [inode = '', name = ''] = line.split(' ');
    if (!names.has(inode)) names.set(inode, name);
    return `${name} is ${names.get(inode)}`;
  });
  return [...(await listing(top)), ...groups, ...acls.stdout.split('\n\n').sort()];
}

t.test('rsync -aHAX', { skip: await lacking('rsync', 'setfacl', 'setfattr', ...(isRoot ? ['setcap'] : [])) }, async (t) => {
  const top = await temporaryDirectory(t);
  const origin = join(top, 'origin');
  await mkdir(origin);
  await must(shell(isRoot ? TREE + TREE_AS_ROOT : TREE, { cwd: origin }));
  const wanted = await everything(origin);
  t.match(wanted.join('\n'), isRoot ? /trusted\.secret/ : /user\.colour/, 'there is something to keep');

  for (const mode of MODES) {
    const name = mode[0] ?? 'passthrough';
    const m = await mount(t, { args: [...CAPACITY, ...mode] });
    const inside = join(m.mnt, 'inside');
    await must(m.run(['reserve', inside, String(await bytesIn(origin))]));
    const rsync = (from: string, to: string, ...more: string[]) =>
      must(run('rsync', ['-aHAX', '--numeric-ids', ...more, `${from}/`, `${to}/`]));
    const back = join(top, `back${mode.length}`);
    await rsync(origin, inside);
    t.same(await everything(inside), wanted, `${name}: into the mount`);
    t.match(await run('diff', ['-r', '--no-dereference', '-x', 'fifo', '-x', 'null', '-x', 'block', origin, inside]), {
      code: 0,
      stdout: '',
    });
    await rsync(inside, back);
    t.same(await everything(back), wanted, `${name}: and out of it`);
    await rsync(inside, join(m.mnt, 'copy'), '--sparse');
    t.same(await everything(join(m.mnt, 'copy')), wanted, `${name}: and within it`);
    const again = await rsync(origin, inside, '--checksum', '--dry-run', '--itemize-changes', '--delete');
    t.equal(again.stdout, '', `${name}: rsync itself finds nothing to do`);
    t.match(await m.run(['check', m.mnt]), { code: 0 });
  }
});

t.test('sqlite3 in WAL mode, two writers at once', { skip: await lacking('sqlite3') }, async (t) => {
  const rows = 250;
  /** Every row in a transaction of its own; every tenth takes a row of the other writer along, by an update. */
  const inserts = (writer: number) => {
    const lines = ['.timeout 120000'];
    for (let n = 0; n < rows; n++) {
      const insert = `INSERT INTO log VALUES (${writer}, ${n}, hex(randomblob(200)));`;
      const touch = `UPDATE log SET data = data || 'x' WHERE writer = ${1 - writer} AND n = ${n - 1};`;
      lines.push(n % 10 === 9 ? `BEGIN IMMEDIATE; ${insert} ${touch} COMMIT;` : insert);
    }
    return `${lines.join('\n')}\n`;
  };
  const schema = 'CREATE TABLE log (writer INTEGER, n INTEGER, data TEXT, PRIMARY KEY (writer, n)) STRICT;';

  for (const mode of MODES) {
    const name = mode[0] ?? 'passthrough';
    const m = await mount(t, { args: [...CAPACITY, ...mode] });
    await mkdir(join(m.mnt, 'job'));
    await must(m.run(['reserve', join(m.mnt, 'job'), '20MB']));
    const db = join(m.mnt, 'job/db');
    const sqlite = (input: string, file = db) => run('sqlite3', ['-bail', file], { input, timeoutMs: 120_000 });
    t.equal((await must(sqlite(`PRAGMA journal_mode = WAL;\n${schema}\n`))).stdout, 'wal\n');
    const check = '.timeout 120000\nPRAGMA integrity_check;\n';
    const [one, two, meanwhile] = await Promise.all([sqlite(inserts(0)), sqlite(inserts(1)), sqlite(check.repeat(20))]);
    t.match(one, { code: 0, stderr: '' }, name);
    t.match(two, { code: 0, stderr: '' }, name);
    t.match(meanwhile, { code: 0, stdout: 'ok\n'.repeat(20) }, 'a reader meanwhile');
    const counts = 'SELECT writer, count(*), count(DISTINCT n), min(n), max(n) FROM log GROUP BY writer;\n';
    const wanted = [0, 1].map((writer) => `${writer}|${rows}|${rows}|0|${rows - 1}\n`).join('');
    t.equal((await must(sqlite(check + counts))).stdout, `ok\n${wanted}`, 'sound, and no row was lost');
    const thereBytes = await bytesIn(join(m.mnt, 'job'));
    t.equal(await usedAt(m.mnt, '/job', thereBytes), thereBytes, 'charged what is there');

    await mkdir(join(m.mnt, 'small'));
    await must(m.run(['reserve', join(m.mnt, 'small'), '600000']));
    const small = join(m.mnt, 'small/db');
    await must(sqlite(`PRAGMA journal_mode = WAL;\n${schema}\n`, small));
    const full = await sqlite(inserts(0) + inserts(1), small);
    t.match(full, { code: 1, stderr: /full|disk I\/O error/ }, 'a database in a lot that is full');
    const landed = Number(/line (\d+)/.exec(full.stderr)?.[1]) - 2;
    t.equal(
      (await must(sqlite(`${check}SELECT count(*) FROM log;\n`, small))).stdout,
      `ok\n${landed}\n`,
      'is sound, with every row that was committed',
    );
    t.match(await m.run(['check', m.mnt]), { code: 0 });
  }
});
