// The store of one namespace in a plain directory: compared with a map over many random turns, and after what a crash leaves.
import { cpSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { Keys } from '../../src/zdb/keys.js';
import { VALUE } from '../../src/zdb/record.js';
import { Upkeep } from '../../src/zdb/upkeep.js';
import { Random } from '../helpers/random.js';

const SETTINGS = { mode: 'user' };
const QUIET = { warn: () => {} };
const bytes = (text: string) => Buffer.from(text, 'latin1');

function open(directory: string): Keys {
  return new Keys(directory, SETTINGS);
}

function set(keys: Keys, key: string, value: string): void {
  keys.set(bytes(key), bytes(value), 7, keys.find(bytes(key)));
}

function storedAt(keys: Keys, key: string): string | null {
  const answer = keys.bulk(bytes(key));
  if (answer === null) return null;
  const text = answer.toString('latin1');
  return text.slice(text.indexOf('\r\n') + 2, -2);
}

/** Until the index has all. */
async function flush(keys: Keys): Promise<void> {
  await keys.flush(
    () => true,
    () => sleep(0).then(() => {}),
  );
}

function compare(t: Test, keys: Keys, model: ReadonlyMap<string, string>, when: string): void {
  const { entries, payloadBytes, keyBytes } = keys.totals;
  const sum = (texts: Iterable<string>) => [...texts].reduce((total, { length }) => total + length, 0);
  t.strictSame([entries, payloadBytes, keyBytes], [model.size, sum(model.values()), sum(model.keys())], `${when}: totals`);
  const wrong = [...model].filter(([key, value]) => storedAt(keys, key) !== value);
  t.strictSame(wrong, [], `${when}: values`);
  const seen = [...keys.log.forward(keys.log.start)].filter((record) => record.kind === VALUE && keys.isCurrent(record));
  t.equal(seen.length, model.size, `${when}: a scan finds each once`);
  const back = [...keys.log.backward(keys.log.end)].filter((record) => record.kind === VALUE && keys.isCurrent(record));
  t.strictSame(
    back.reverse().map(({ place }) => place),
    seen.map(({ place }) => place),
    `${when}: and backward the same`,
  );
  const prefixed = keys.withPrefix(bytes('k1'), 1000).map((key) => key.toString('latin1'));
  t.strictSame(prefixed, [...model.keys()].filter((key) => key.startsWith('k1')).sort(), `${when}: by prefix`);
  const live = [...keys.log.files.values()].reduce((total, { liveBytes }) => total + liveBytes, 0);
  t.equal(live, payloadBytes + keyBytes + 24 * entries, `${when}: what lives in the files`);
}

t.test('the same as a map, over turns, refusals, ends, kills, and emptied files', async (t) => {
  for (let seed = 1; seed <= 6; seed++) {
    const random = new Random(seed);
    const below = (most: number) => random.below(most);
    const directory = join(t.testdir({ now: {} }), 'now');
    let keys = open(directory);
    const model = new Map<string, string>();
    for (let turn = 0; turn < 250; turn++) {
      const before = new Map(model);
      for (let n = below(8); n >= 0; n--) {
        const key = `k${below(120)}`;
        const old = keys.find(bytes(key));
        if (random.chance(0.25) && old !== null) {
          keys.delete(bytes(key), 7, old);
          model.delete(key);
        } else {
          const value = String.fromCharCode(97 + below(26)).repeat(below(below(50) === 0 ? 200_000 : 4000));
          set(keys, key, value);
          model.set(key, value);
        }
      }
      const what = below(40);
      if (what === 0) {
        // Nothing of a turn that cannot be written is there; as if the log had refused it.
        keys.rollback();
        model.clear();
        for (const [key, value] of before) model.set(key, value);
      } else keys.commit();
      if (what === 1) await flush(keys);
      if (what === 2) {
        await new Upkeep(keys, QUIET).settle();
        compare(t, keys, model, `seed ${seed}, turn ${turn}, emptied`);
      }
      if (what === 3) {
        await keys.close();
        keys = open(directory);
        compare(t, keys, model, `seed ${seed}, turn ${turn}, opened again`);
      }
      if (what === 4) {
        // As a kill leaves it: the files as they are now.
        const copy = join(t.testdirName, `copy-${seed}-${turn}`);
        cpSync(directory, copy, { recursive: true });
        const killed = open(copy);
        compare(t, killed, model, `seed ${seed}, turn ${turn}, killed`);
        await killed.close();
      }
      if (what === 5) {
        keys.clear();
        model.clear();
      }
      if (what === 6) keys.log.roll();
    }
    compare(t, keys, model, `seed ${seed}, at the end`);
    await keys.close();
  }
});

t.test('what a process was writing when it ended is not there, and in nobody’s way', async (t) => {
  const directory = join(t.testdir({ now: {} }), 'now');
  const keys = open(directory);
  for (let n = 0; n < 10; n++) set(keys, `k${n}`, `value ${n}`);
  keys.commit();
  await keys.close();
  const file = join(directory, readdirSync(directory).find((name) => name.startsWith('v')) ?? '');
  const whole = readFileSync(file);
  const end = whole.lastIndexOf('value 9') + 7;
  const torn: [string, (copy: Buffer) => void][] = [
    ['half a record', (copy) => whole.copy(copy, end, 0, 20)],
    ['a record without its value', (copy) => whole.copy(copy, end, 0, 26)],
    ['another sum', (copy) => whole.copy(copy, end, 0, 33) && copy.writeUInt8(0xff, end)],
    ['something else', (copy) => copy.fill(0xa5, end)],
  ];
  for (const [name, tear] of torn) {
    const copy = join(t.testdirName, name.replaceAll(' ', '-'));
    cpSync(directory, copy, { recursive: true });
    const bad = Buffer.from(whole);
    tear(bad);
    writeFileSync(join(copy, file.slice(directory.length)), bad);
    const again = open(copy);
    t.equal(again.totals.entries, 10, name);
    set(again, 'k3', 'new');
    again.commit();
    await again.close();
    const last = open(copy);
    t.equal(storedAt(last, 'k3'), 'new', `${name}, and what comes then is kept`);
    t.equal(last.totals.entries, 10);
    await last.close();
  }
  const gone = Buffer.from(whole);
  gone.writeUInt8(gone.readUInt8(end - 1) ^ 1, end - 1);
  writeFileSync(file, gone);
  const broken = open(directory);
  t.equal(broken.totals.entries, 9, 'a value that is not what was written was never written');
  await broken.close();
});

t.test('no id is given twice: after a refused turn, and after a crash', async (t) => {
  const directory = join(t.testdir({ now: {} }), 'now');
  const keys = new Keys(directory, { mode: 'seq' });
  const added = (into: Keys): bigint => {
    const key = into.newKey();
    into.set(key, bytes('value'), 7, null);
    return key.readBigUInt64LE();
  };
  const change = (id: number, value: string | null) => {
    const key = Buffer.alloc(8, 0);
    key.writeUInt8(id);
    const old = keys.find(key);
    if (old === null) throw new Error('it is not there');
    if (value === null) keys.delete(key, 7, old);
    else keys.set(key, bytes(value), 7, old);
  };
  t.strictSame([added(keys), added(keys), added(keys)], [0n, 1n, 2n]);
  keys.commit();
  change(1, null);
  t.equal(added(keys), 3n);
  keys.rollback();
  t.equal(added(keys), 3n, 'what was refused is taken once more');
  change(0, 'another');
  t.equal(added(keys), 5n, 'a new version takes an id, as with 0-db');
  keys.commit();
  const copy = join(t.testdirName, 'killed');
  cpSync(directory, copy, { recursive: true });
  const killed = new Keys(copy, { mode: 'seq' });
  t.equal(added(killed), 6n);
  killed.commit();
  await killed.close();
  await keys.close();
});

t.test('files end and follow each other; versions last as long as their file', async (t) => {
  const directory = t.testdir({});
  const keys = open(directory);
  const large = 'x'.repeat(100_000);
  for (let n = 0; n < 60; n++) {
    set(keys, `k${n % 20}`, `${large}${n}`);
    keys.commit();
  }
  const files = () => readdirSync(directory).filter((name) => name.startsWith('v'));
  t.ok(files().length > 3, `${files().length} files`);
  const entry = keys.find(bytes('k1'));
  const newest = entry === null ? null : keys.versionAt(bytes('k1'), entry.place);
  t.ok(
    newest?.before !== null && newest?.before !== undefined && keys.versionAt(bytes('k1'), newest.before) !== null,
    'the one before',
  );
  t.equal(keys.versionAt(bytes('k2'), entry?.place ?? 0), null, 'of another key it is none');
  await new Upkeep(keys, QUIET).settle();
  t.equal(keys.versionAt(bytes('k1'), newest?.before ?? 0), null, 'and is gone with its file');
  t.equal(storedAt(keys, 'k1'), `${large}41`);
  t.ok(keys.fileBytes < 20 * 100_020 * 1.2 + 1024 ** 2, `${keys.fileBytes} bytes`);
  const sum = readdirSync(directory).reduce((total, name) => total + statSync(join(directory, name)).size, 0);
  t.equal(keys.fileBytes, sum, 'it knows what it takes');
  await keys.close();
});
