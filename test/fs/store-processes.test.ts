// The store as files, with many processes at once: readers never see half a blob, and a writer that dies leaves nothing.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t, { type Test } from 'tap';
import { type Column, Place, ROOT_COLUMNS, soon, whyNotRoot } from '../helpers/columns.js';
import { startSteps } from '../helpers/fsop.js';
import { type Mounted, mount, type Teardown } from '../helpers/mount.js';
import { must, run } from '../helpers/run.js';
import { payloadFiles } from '../store/blobs.js';

const SIZE = 64 * 1024;

/** How often each writer replaces a content. */
const REPLACEMENTS = Number(process.env.VRESERVE_REPLACEMENTS ?? 150);

const ARGS = ['--capacity', '64MB', '--margin', '0', '--store-grant', '20MB'];

/** Both I/O modes of the native engine, on tmpfs where it is among the backings that are asked for. */
const MODES: readonly Column[] = ((columns) => {
  const fast = columns.filter(({ on }) => on === 'tmpfs');
  return fast.length > 0 ? fast : columns;
})(ROOT_COLUMNS.filter(({ engine }) => engine === undefined));

const blobsOf = (m: Mounted) => join(m.data, '.vreserve/blobs');

/** `writer.js STORE NAME,… TIMES` puts contents of one byte each, as long as the byte says; `ways` of putting them in turn. */
const WRITER = `
  const fs = require('node:fs');
  const { execFileSync } = require('node:child_process');
  const [store, names, times] = process.argv.slice(1);
  const content = (byte) => Buffer.alloc(${SIZE} - byte * 16, byte);
  const whole = (path, bytes) => fs.writeFileSync(path, bytes);
  const piecewise = (path, bytes) => {
    const fd = fs.openSync(path, 'w');
    for (let at = 0; at < bytes.length; at += 5000) fs.writeSync(fd, bytes, at, Math.min(5000, bytes.length - at), at);
    fs.closeSync(fd);
  };
  const backwards = (path, bytes) => {
    const fd = fs.openSync(path, 'w');
    fs.ftruncateSync(fd, bytes.length);
    for (let at = bytes.length - 1; at >= 0; at -= 9000) fs.writeSync(fd, bytes, Math.max(0, at - 8999), Math.min(9000, at + 1), Math.max(0, at - 8999));
    fs.closeSync(fd);
  };
  const over = (path, bytes) => {
    // In place: it begins with what is there, and is cut to what is meant. ESTALE: that has become another one meanwhile.
    let fd;
    while (fd === undefined) {
      try { fd = fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_CREAT); } catch (error) { if (error.errno !== -116) throw error; }
    }
    fs.writeSync(fd, bytes, 0, bytes.length, 0);
    fs.ftruncateSync(fd, bytes.length);
    fs.closeSync(fd);
  };
  const removed = (path, bytes) => {
    try { fs.unlinkSync(path); } catch (error) { if (!['ENOENT', 'EBUSY'].includes(error.code)) throw error; }
    whole(path, bytes);
  };
  const ways = [whole, piecewise, backwards, over, removed];
  for (let i = 0; i < Number(times); i++) {
    for (const name of names.split(',')) ways[(i + process.pid) % ways.length](store + '/' + name, content((i * 7 + process.pid) % 256));
  }`;

/** `reader.js STORE NAME,…` reads until stdin ends, and says how often, and what was wrong. */
const READER = `
  const fs = require('node:fs');
  const [store, names] = process.argv.slice(1);
  let [reads, absent, isOver] = [0, 0, false];
  const wrong = {};
  const sees = (what) => { wrong[what] = (wrong[what] ?? 0) + 1; };
  const read = (name) => {
    const fd = fs.openSync(store + '/' + name, 'r');
    try {
      const { size } = fs.fstatSync(fd);
      const bytes = fs.readFileSync(fd);
      reads += 1;
      const [byte] = bytes;
      if (byte === undefined) return sees('nothing');
      if (bytes.length !== ${SIZE} - byte * 16) sees(bytes.length + ' bytes of ' + (${SIZE} - byte * 16));
      if (bytes.length !== size) sees('a size of ' + size + ' for ' + bytes.length);
      if (bytes.some((other) => other !== byte)) sees('a mixture');
    } finally {
      fs.closeSync(fd);
    }
  };
  const turn = () => {
    for (const name of names.split(',')) {
      try { read(name); } catch (error) {
        // Not there, or its first content is on its way.
        if (error.code === 'ENOENT' || error.code === 'EBUSY') absent += 1; else sees(error.code ?? error.message);
      }
    }
    const listed = fs.readdirSync(store).filter((name) => !names.split(',').includes(name));
    if (listed.length > 0) sees('names ' + listed);
    if (isOver) console.log(JSON.stringify({ reads, absent, wrong })); else setImmediate(turn);
  };
  process.stdin.on('end', () => { isOver = true; }).resume();
  turn();`;

/** A process of Node; ended with the test at the latest. */
function node(t: Teardown, script: string, args: readonly string[]): ChildProcess {
  const child = spawn(process.execPath, ['-e', script, ...args], {
    env: { PATH: process.env.PATH },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.teardown(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const closed = once(child, 'close');
    child.kill('SIGKILL');
    await closed;
  });
  return child;
}

async function lines(child: ChildProcess): Promise<string[]> {
  const found: string[] = [];
  if (child.stdout !== null) for await (const line of createInterface(child.stdout)) found.push(line);
  return found;
}

for (const column of MODES) {
  t.test(column.name, { skip: column.skip, timeout: 240_000 }, async (t) => {
    // An interval so long that what became of a name is known until the end.
    const m = await mount(t, { ...column, args: [...(column.args ?? []), ...ARGS, '--gc-interval', '1h'] });
    const store = join(m.mnt, '.vreserve/store');
    const p = new Place(m, await startSteps(t, m.mnt));

    const storeLot = async () => {
      const found = (await p.report()).lots.find(({ name }) => name === 'store');
      if (found === undefined) throw new Error('there is no lot of the store');
      return found;
    };

    /** Nothing is left but the records: no name, no file, no byte, and no difference. */
    const isEmpty = async (t: Pick<Test, 'same'>) => {
      const left = await soon(
        async () => ({ names: await readdir(store), files: await payloadFiles(blobsOf(m)), objects: (await storeLot()).objects }),
        ({ names, files, objects }) => names.length + files.length === 0 && objects === 1,
      );
      t.same(left, { names: [], files: [], objects: 1 }, 'nothing is left');
    };

    await t.test('nobody ever reads half a blob', { timeout: 120_000 }, async (t) => {
      const names = 'a,b,c';
      const readers = Array.from({ length: 3 }, () => node(t, READER, [store, names]));
      const said = Promise.all(readers.map(lines));
      const writers = [['a,b'], ['b,c'], ['c,a']].map(([some = '']) =>
        must(run(process.execPath, ['-e', WRITER, store, some, String(REPLACEMENTS)], { timeoutMs: 110_000 })),
      );
      await Promise.all(writers);
      for (const reader of readers) reader.stdin?.end();
      for (const [line = ''] of await said) {
        const { reads, absent, wrong } = JSON.parse(line) as { reads: number; absent: number; wrong: object };
        t.same(wrong, {});
        t.ok(reads > 20, `${reads} reads, ${absent} without a blob`);
      }
      t.same(await p.text('health'), 'ok\n');
      await p.usageEqualsCount(t);
      t.match(await m.run(['check', m.mnt]), { code: 0 });
      await must(m.shell('rm .vreserve/store/*'));
      await isEmpty(t);
    });

    await t.test('of many that make one name, one does', async (t) => {
      const script = `
        const fs = require('node:fs');
        let won = 0;
        for (let i = 0; i < 60; i++) {
          try {
            const fd = fs.openSync(process.argv[1] + '/n' + i, 'wx');
            fs.writeSync(fd, process.argv[2]);
            fs.closeSync(fd);
            won += 1;
          } catch (error) { if (error.code !== 'EEXIST') throw error; }
        }
        console.log(won);`;
      const runs = ['a', 'b', 'c', 'd'].map((who) => must(run(process.execPath, ['-e', script, store, who])));
      const won = (await Promise.all(runs)).map(({ stdout }) => Number(stdout));
      t.equal(
        won.reduce((a, b) => a + b, 0),
        60,
      );
      t.equal((await must(m.shell('cat .vreserve/store/*'))).stdout.length, 60);
      await must(m.shell('rm .vreserve/store/*'));
    });

    await t.test('children that hold the file', async (t) => {
      const cases: [name: string, script: string, expected: string][] = [
        [
          'what a child writes before the parent closes',
          'exec 5> s/a; echo parent >&5; (echo child >&5); echo parent >&5; exec 5>&-',
          'parent child parent',
        ],
        [
          'what a child writes when the parent has closed',
          'exec 5> s/a; (read -r _ <&6; echo late >&5) 6<<< "$(echo go)" & echo parent >&5; exec 5>&-; wait',
          'parent late',
        ],
        ['the last of many', 'exec 5> s/a; (echo 1 >&5; (echo 2 >&5) & wait; echo 3 >&5) & exec 5>&-; wait', '1 2 3'],
        ['a program that is started and ends', '/bin/echo program > s/a', 'program'],
        ['a pipeline', '(seq 3; /bin/echo 4) | cat > s/a', '1 2 3 4'],
        [
          'the parent ends before its child does',
          '(exec > s/a; (sleep 0.05; echo child) & echo parent); while [ "$(getfattr --only-values -n user.vreserve.state s/a)" = Pending ]; do sleep 0.01; done',
          'parent child',
        ],
        ['an exit without a close', `exec 5> s/a; echo some >&5; exit 0`, 'some'],
      ];
      for (const [name, script, expected] of cases) {
        const { code, stderr } = await m.shell(`rm -rf s; ln -s .vreserve/store s; ${script}`);
        t.equal(code, 0, `${name}: ${stderr}`);
        const { stdout } = await soon(
          () => m.shell('echo $(cat .vreserve/store/a)'),
          ({ stdout }) => stdout.trim() === expected,
        );
        t.equal(stdout.trim(), expected, name);
      }
      await must(m.shell('rm .vreserve/store/* s'));
      await isEmpty(t);
    });

    await t.test('a writer that is killed leaves nothing, and what was there stays', async (t) => {
      await must(m.shell('echo old > .vreserve/store/old'));
      const holding = `
        const fs = require('node:fs');
        const fd = fs.openSync(process.argv[1], 'w');
        fs.writeSync(fd, Buffer.alloc(1000000, 'x'));
        console.log('written');
        setInterval(() => {}, 1000);`;
      for (const signal of ['SIGKILL', 'SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
        for (const name of ['old', 'new']) {
          const writer = node(t, holding, [join(store, name)]);
          const closed = once(writer, 'close');
          await once(writer.stdout ?? writer, 'data');
          t.match(await storeLot(), { pendingBytes: 1_000_000, pendingObjects: 1 });
          writer.kill(signal);
          t.same(await closed, [null, signal]);
          const { stdout } = await m.shell(
            `cat .vreserve/store/old; cat .vreserve/store/new || true; head -1 .vreserve/store/${name}.log`,
          );
          t.match(stdout, /^old\n\S+ - Failure - /, `${signal}, ${name}`);
        }
      }
      // A child that is killed is its parent's business: that one goes on.
      await must(m.shell('exec 5> .vreserve/store/old; (echo child >&5; kill -9 $BASHPID) || true; echo parent >&5'));
      t.equal((await must(m.shell('echo $(cat .vreserve/store/old)'))).stdout, 'child parent\n');
      await must(m.shell('rm .vreserve/store/*'));
      await isEmpty(t);
      await p.usageEqualsCount(t);
    });

    await t.test('who waits for a close is killed', async (t) => {
      // Many at once, at any point of opening, writing and closing.
      const script = `
        const fs = require('node:fs');
        console.log('begins');
        for (let i = 0; ; i++) fs.writeFileSync(process.argv[1] + '/k' + (i % 5), Buffer.alloc(${SIZE} - (i % 256) * 16, i % 256));`;
      for (let round = 0; round < 6; round++) {
        const writers = Array.from({ length: 3 }, () => node(t, script, [store]));
        const closed = Promise.all(writers.map((writer) => once(writer, 'close')));
        await Promise.all(writers.map((writer) => once(writer.stdout ?? writer, 'data')));
        for (const [i, writer] of writers.entries()) setTimeout(() => writer.kill('SIGKILL'), 20 + 7 * round + 11 * i);
        await closed;
        const reader = node(t, READER, [store, 'k0,k1,k2,k3,k4']);
        reader.stdin?.end();
        const [line = ''] = await lines(reader);
        const { wrong } = JSON.parse(line) as { wrong: object };
        t.same(wrong, {}, `round ${round}: what is there is whole`);
      }
      const files = await soon(
        () => payloadFiles(blobsOf(m)),
        (found) => found.every((path) => !path.endsWith('.tmp')),
      );
      t.equal(files.length, (await readdir(store)).length, 'a file each, and none that is half written');
      await must(m.shell('rm -f .vreserve/store/*'));
      await isEmpty(t);
      await p.usageEqualsCount(t);
    });
    await p.ops.end();
    await m.umount();
    t.match(await m.run(['check', m.data]), { code: 0 });
  });
}

t.test('failures are forgotten with the next collection', { skip: whyNotRoot }, async (t) => {
  const m = await mount(t, { on: 'tmpfs', args: [...ARGS, '--gc-interval', '50ms'] });
  await must(m.shell('echo x > .vreserve/store/a; rm .vreserve/store/a'));
  const log = await soon(
    () => m.shell('cat .vreserve/store/a.log'),
    ({ code }) => code !== 0,
  );
  t.match(log.stderr, /No such file/);
  await m.umount();
  await m.remount([...ARGS, '--gc-interval', '1h']);
  await must(m.shell('echo x > .vreserve/store/a; rm .vreserve/store/a; sleep 0.2; grep -q Deleted .vreserve/store/a.log'));
  await m.umount();
});
