// A ledger that is damaged or is somebody else's: a clear error, exit 1, and not a byte of it changed.
import { createHash } from 'node:crypto';
import { cp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { mountAt } from '../../src/cli/mountinfo.js';
import { report } from '../helpers/lots.js';
import { mount } from '../helpers/mount.js';
import { must, run, vreserve } from '../helpers/run.js';

const PAGE = 4096;

/** Hashes of the files in `.vreserve`, but for the log, the lock, and what any reader makes: SQLite's index of the WAL, and an empty WAL. */
async function hashes(own: string): Promise<Record<string, string>> {
  const files = (await readdir(own, { withFileTypes: true })).filter((entry) => entry.isFile()).map(({ name }) => name);
  const names = files.filter((name) => !/^(daemon\.log|lock|ledger\.db-shm)$/.test(name)).sort();
  const found: Record<string, string> = {};
  for (const name of names) {
    const content = await readFile(join(own, name));
    if (content.length > 0 || !name.endsWith('-wal')) found[name] = createHash('sha256').update(content).digest('hex');
  }
  return found;
}

/** Writes the file anew with its bytes changed by `change`. */
async function rewrite(file: string, change: (bytes: Buffer) => Buffer): Promise<void> {
  await writeFile(file, change(await readFile(file)));
}

function overwrite(bytes: Buffer, offset: number, what: Buffer): Buffer {
  what.copy(bytes, offset);
  return bytes;
}

/** Numbers by a seed, so that a case that fails can be looked at again. */
function* numbers(seed: number): Generator<number, never> {
  let state = seed * 2654435761 + 1;
  for (;;) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    yield state >>> 0;
  }
}

const garbage = (lengthBytes: number, seed = 1) => {
  const from = numbers(seed);
  return Buffer.from(Array.from({ length: lengthBytes }, () => from.next().value & 0xff));
};

interface Case {
  name: string;
  damage: (file: string) => Promise<void>;
  says: RegExp;
}

const FOREIGN = /is not a vreserve ledger \(.*\); it was left as it is/;
const DAMAGED = /is damaged \(.*\); it was left as it is/;

const CASES: Case[] = [
  { name: 'truncated to nothing', damage: (file) => truncate(file, 0), says: DAMAGED },
  { name: 'truncated within the header', damage: (file) => truncate(file, 60), says: FOREIGN },
  { name: 'truncated to the first page', damage: (file) => truncate(file, PAGE), says: DAMAGED },
  { name: 'truncated within a page', damage: (file) => truncate(file, 3 * PAGE + 100), says: DAMAGED },
  { name: 'garbage in the header', damage: (file) => rewrite(file, (b) => overwrite(b, 0, garbage(100))), says: FOREIGN },
  { name: 'garbage behind the magic', damage: (file) => rewrite(file, (b) => overwrite(b, 16, garbage(52))), says: DAMAGED },
  { name: 'garbage throughout', damage: (file) => rewrite(file, (b) => garbage(b.length)), says: FOREIGN },
  {
    name: 'garbage in the first table',
    damage: (file) => rewrite(file, (b) => overwrite(b, PAGE, garbage(PAGE))),
    says: DAMAGED,
  },
  { name: 'zeros from the second page on', damage: (file) => rewrite(file, (b) => b.fill(0, PAGE)), says: DAMAGED },
  { name: 'a text file', damage: (file) => writeFile(file, 'a ledger, by its name\n'.repeat(20)), says: FOREIGN },
  {
    name: 'the database of another program',
    damage: async (file) => {
      await rm(file);
      await must(run('sqlite3', [file, 'CREATE TABLE lots (id INTEGER PRIMARY KEY); INSERT INTO lots VALUES (1);']));
    },
    says: FOREIGN,
  },
  {
    name: 'a ledger of a version to come',
    damage: async (file) => void (await must(run('sqlite3', [file, 'PRAGMA user_version = 999;']))),
    says: /was written by a newer vreserve \(format 999/,
  },
  {
    name: 'a ledger that lost its default lot',
    damage: async (file) => void (await must(run('sqlite3', [file, 'DELETE FROM lots;']))),
    says: DAMAGED,
  },
];

const lacksSqlite = (await run('/bin/sh', ['-c', 'command -v sqlite3'])).code === 0 ? false : 'sqlite3 is not installed';

t.test('damaged and foreign ledgers', { skip: lacksSqlite }, async (t) => {
  const m = await mount(t, { args: ['--capacity', '100MB', '--margin', '0'] });
  for (let n = 0; n < 40; n++) await must(m.shell(`echo reserve /job${n} 100000 > .vreserve/control`));
  await m.umount();
  const own = join(m.data, '.vreserve');
  const [file, sound] = [join(own, 'ledger.db'), join(m.data, '..', 'sound.db')];
  await cp(file, sound);
  const refusedAndUntouched = async (name: string, says: RegExp) => {
    const before = await hashes(own);
    for (const words of [
      ['mount', m.data, m.mnt],
      ['check', m.data],
      ['check', m.data, '--repair'],
    ]) {
      const got = await vreserve(words);
      t.match(got, { code: 1, stdout: '', stderr: says }, `${name}: ${words[0]}`);
      t.equal(got.stderr.trim().split('\n').length, 1, 'in one line');
    }
    t.same(await hashes(own), before, `${name}: not a byte was changed`);
    t.equal(mountAt(m.mnt), undefined);
  };
  for (const { name, damage, says } of CASES) {
    await damage(file);
    await refusedAndUntouched(name, says);
    for (const suffix of ['', '-wal', '-shm']) await rm(file + suffix, { force: true });
    await cp(sound, file);
  }

  // After a crash the WAL holds the newest grants: it must not be lost over a damaged database either.
  await m.remount();
  await must(m.shell('echo reserve /last 100000 > .vreserve/control'));
  await m.kill();
  const whole = await readFile(file);
  await rewrite(file, (b) => overwrite(b, 0, garbage(100)));
  await run('umount', ['--lazy', m.mnt]);
  await refusedAndUntouched('garbage in the header, beside a WAL', FOREIGN);
  await writeFile(file, whole);
  await m.remount();
  t.equal((await report(m.mnt)).lots.filter(({ path }) => path !== '/').length, 41, 'put right, it has every grant');
});

t.test('random bytes flipped', async (t) => {
  const m = await mount(t, { args: ['--capacity', '100MB', '--margin', '0'] });
  for (let n = 0; n < 40; n++) await must(m.shell(`echo reserve /job${n} 100000 > .vreserve/control`));
  await m.umount();
  const own = join(m.data, '.vreserve');
  const file = join(own, 'ledger.db');
  const sound = await readFile(file);
  let noticed = 0;
  for (let seed = 1; seed <= 8; seed++) {
    const from = numbers(seed);
    const bytes = Buffer.from(sound);
    for (let n = 0; n < 40; n++) bytes.writeUInt8(from.next().value & 0xff, 100 + (from.next().value % (bytes.length - 100)));
    await writeFile(file, bytes);
    const before = await hashes(own);
    const got = await vreserve(['mount', m.data, m.mnt]);
    // SQLite keeps no checksums: what it cannot notice is served, and ends well.
    if (got.code === 0) {
      await must(vreserve(['umount', m.mnt]));
    } else {
      noticed++;
      t.match(got, { code: 1, stderr: DAMAGED }, `seed ${seed}`);
      t.same(await hashes(own), before, `seed ${seed}: not a byte was changed`);
    }
    for (const suffix of ['-wal', '-shm']) await rm(file + suffix, { force: true });
  }
  t.comment(`${noticed} of 8 were noticed`);
  t.ok(noticed > 0);
  await writeFile(file, sound);
  await m.remount();
});
