// Spaces on real mounts: what they are made of, what is refused, and what is left when the daemon is killed.
// Rounds of killing: 6, or VRESERVE_ROUNDS of the environment.
import { mkdir, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import type { SpaceJson } from '../../src/views/host.js';
import { ask as askHttp, until } from '../helpers/http.js';
import { lotAt, report } from '../helpers/lots.js';
import { mount } from '../helpers/mount.js';
import { Random } from '../helpers/random.js';
import { must, run } from '../helpers/run.js';
import { ask, listed, nothingIsLeft, space, spacesOf } from '../helpers/spaces.js';

const MB = 1_000_000;
const ROUNDS = Number(process.env.VRESERVE_ROUNDS ?? 6);
const isRoot = process.getuid?.() === 0;
const needsRoot = isRoot ? false : 'needs root';

t.test('a space from its creation to its removal', async (t) => {
  const m = await mount(t, { args: ['--capacity', '100MB', '--margin', '0', '--type', 'ssd'] });
  const made = await must(space(m, 'create', 'data', '40MB', '--type', 'ssd'));
  t.equal(made.stdout, `space data: 40 MB at ${m.mnt}/spaces/data, on pool main (ssd), 0 B used\n`);
  t.equal((await stat(join(m.mnt, 'spaces/data'))).mode & 0o7777, 0o755);
  t.match(await lotAt(m.mnt, '/spaces/data'), { name: 'data', dedicatedBytes: 40 * MB, opportunisticBytes: 0, owner: 'root' });
  t.match((await report(m.mnt)).pool, { setAsideBytes: 40 * MB, headroomBytes: 60 * MB });

  const filled = await m.shell(
    'cat /dev/zero > spaces/data/big || echo "exit $?"; stat -c %s spaces/data/big; df -P -B1 spaces/data | tail -n 1',
  );
  t.match(filled, { stdout: /^exit 1\n40000000\n/, stderr: /No space left on device/ }, 'every byte of it, and not one more');
  t.match(await space(m, 'lookup', 'data', '--json'), { code: 0, stdout: /"usedBytes":40000000/ });
  const [head = '', line = ''] = (await must(space(m, 'list'))).stdout.split('\n');
  t.match(head, /^name +size +used +pool +type +enforce +path$/);
  t.match(line, /^data +40 MB +40 MB +main +ssd +mount +\/spaces\/data$/);
  t.match(await m.run(['report', m.mnt]), { stdout: /^data\b/m });

  t.equal(
    (await must(space(m, 'create', 'data', '99MB'))).stdout,
    `space data: 40 MB at ${m.mnt}/spaces/data, on pool main (ssd), 40 MB used\nit was there already, and stays as it is: vreserve space update gives it another size\n`,
  );
  t.match(
    await ask(m, { do: 'create', name: 'data', bytes: 1, type: 'hdd', at: '/elsewhere' }),
    { sizeBytes: 40 * MB, policy: 'ssd-only' },
    'one that is there is left as it is',
  );

  t.match(await ask(m, { do: 'update', name: 'data', bytes: 100 * MB }), { sizeBytes: 100 * MB }, 'all there is');
  t.equal(
    await ask(m, { do: 'update', name: 'data', bytes: 100 * MB + 1 }),
    'NO_SPACE 100 MB (100,000,001 bytes) asked for data, 0 B available',
  );
  t.match(await ask(m, { do: 'update', name: 'data', bytes: 100 * MB }), { sizeBytes: 100 * MB }, 'the same is nothing to do');
  t.equal(
    await ask(m, { do: 'update', name: 'data', bytes: 40 * MB - 1 }),
    'SPACE_SHRINK cannot shrink volume to be less than provisioned space. old: 100000000, requested: 39999999; it holds 40 MB',
  );
  t.match(await ask(m, { do: 'update', name: 'data', bytes: 40 * MB }), { sizeBytes: 40 * MB }, 'down to what is used');

  await m.umount();
  await m.remount();
  t.match(await listed(m), [
    { name: 'data', sizeBytes: 40 * MB, usedBytes: 40 * MB, policy: 'ssd-only', state: 'ready', hidden: false },
  ]);

  t.equal((await must(space(m, 'delete', 'data'))).stdout, 'deleted space data\n');
  t.equal((await must(space(m, 'delete', 'data'))).stdout, 'there is no space data\n');
  t.match(await space(m, 'delete', 'data', '--json'), { code: 0, stdout: '{"ok":true,"deleted":false}\n' });
  t.match(await space(m, 'lookup', 'data'), { code: 1, stderr: /space 'data' not found: file does not exist/ });
  t.match(await ask(m, { do: 'update', name: 'data', bytes: 1 }), /^SPACE_UNKNOWN/);
  t.match(await space(m, 'list'), { stdout: 'no spaces\n' });
  await nothingIsLeft(t, m);
});

t.test('admission is by what is set aside, at the exact byte', async (t) => {
  for (const on of ['disk', 'tmpfs'] as const) {
    if (on === 'tmpfs' && !isRoot) continue;
    const m = await mount(t, { on, args: ['--capacity', '50MB', '--margin', '0'] });
    t.match(await ask(m, { do: 'create', name: 'a', bytes: 30 * MB }), { usedBytes: 0 });
    t.equal(
      await ask(m, { do: 'create', name: 'b', bytes: 20 * MB + 1 }),
      'SPACE_NO_ROOM not enough space left in pools of this type ssd or hdd: 20 MB (20,000,001 bytes) asked for, 20 MB available',
      'nothing is written, and it is refused',
    );
    t.same(await spacesOf(m), { listed: { a: 30 * MB }, lots: { a: 30 * MB }, directories: ['a'] }, 'nothing of it is left');
    t.match(await ask(m, { do: 'create', name: 'b', bytes: '20MB' }), { sizeBytes: 20 * MB });
    await must(m.shell('head -c 25000000 /dev/zero > spaces/a/f'));
    t.match(await ask(m, { do: 'create', name: 'c', bytes: 1 }), /^SPACE_NO_ROOM .* 1 B asked for, 0 B available$/);
    t.same(await ask(m, { do: 'delete', name: 'a' }), { deleted: true });
    t.match(
      await ask(m, { do: 'create', name: 'c', bytes: 30 * MB }),
      { sizeBytes: 30 * MB },
      'what was removed can be had at once',
    );
    const names = Array.from({ length: 20 }, (_, n) => `r${n}`);
    await ask(m, { do: 'delete', name: 'c' });
    const racing = await Promise.all(names.map((name) => ask(m, { do: 'create', name, bytes: 4 * MB })));
    t.equal(racing.filter((each) => typeof each === 'object').length, 7, '7 times 4 MB are in 30 MB, and no 8th time');
    const same = await Promise.all(names.map(() => ask(m, { do: 'create', name: 'same', bytes: 2 * MB })));
    t.equal(new Set(same.map((each) => JSON.stringify(each))).size, 1, 'one space for all who ask for it');
    for (const { name } of await listed(m)) await ask(m, { do: 'delete', name });
    await nothingIsLeft(t, m);
  }
});

t.test('bad input changes nothing', async (t) => {
  const m = await mount(t, { args: ['--capacity', '50MB', '--margin', '0', '--type', 'hdd'] });
  await mkdir(join(m.mnt, 'there'));
  await mkdir(join(m.mnt, 'job'));
  await writeFile(join(m.mnt, 'file'), '');
  await must(m.run(['reserve', join(m.mnt, 'job'), '1MB']));
  await must(m.run(['reserve', join(m.mnt, 'absent/deep'), '1MB']));
  await ask(m, { do: 'create', name: 'one', bytes: 10 * MB });
  const before = await report(m.mnt);
  const create = { do: 'create', name: 'new', bytes: MB };
  const cases: [request: object, says: RegExp][] = [
    [{ ...create, name: '' }, /^SPACE_BAD_NAME .* it is empty$/],
    [{ ...create, name: 'a/b' }, /^SPACE_BAD_NAME/],
    [{ ...create, name: '..' }, /^SPACE_BAD_NAME/],
    [{ ...create, name: 'zdb1' }, /^SPACE_BAD_NAME invalid volume name. zdb prefix is reserved$/],
    [{ ...create, name: 'x'.repeat(300) }, /^SPACE_BAD_NAME .* 300 bytes/],
    [{ ...create, name: 7 }, /^BAD_COMMAND/],
    [{ do: 'create', name: 'new' }, /^BAD_COMMAND .* needs a bytes$/],
    [{ do: 'create', bytes: 1 }, /^BAD_COMMAND .* needs a name$/],
    [{ ...create, bytes: 0 }, /^SPACE_BAD_SIZE invalid size/],
    [{ ...create, bytes: -1 }, /^BAD_BYTES/],
    [{ ...create, bytes: '1.5G' }, /^BAD_BYTES/],
    [{ ...create, bytes: 51 * MB }, /^SPACE_NO_ROOM .* 38 MB available$/],
    [{ ...create, type: 'nvme' }, /^SPACE_BAD_TYPE invalid device type 'nvme'. type unknown$/],
    [
      { ...create, type: 'ssd' },
      /^SPACE_NO_ROOM not enough space left in pools of this type ssd: 1 MB asked for, 0 B available$/,
    ],
    [{ ...create, policy: 'best' }, /^SPACE_BAD_POLICY/],
    [{ ...create, enforce: 'me' }, /^SPACE_BAD_ENFORCER/],
    [{ ...create, speed: 9 }, /^BAD_COMMAND .* no field "speed"/],
    [{ ...create, all: true }, /^BAD_COMMAND .* takes no 'all'/],
    [{ ...create, at: '/there' }, /^SPACE_BAD_PLACE .* something is there already$/],
    [{ ...create, at: '/file' }, /^SPACE_BAD_PLACE .* something is there already$/],
    [{ ...create, at: '/job' }, /^SPACE_BAD_PLACE .* a path of lot '\/job' already$/],
    [{ ...create, at: '/job/in' }, /^SPACE_BAD_PLACE .* it lies in lot '\/job'$/],
    [{ ...create, at: '/spaces/one' }, /^SPACE_BAD_PLACE .* a path of lot 'one' already$/],
    [{ ...create, at: '/spaces/one/in' }, /^SPACE_BAD_PLACE .* it lies in lot 'one'$/],
    [{ ...create, at: '/absent' }, /^SPACE_BAD_PLACE .* '\/absent\/deep' below it is a path of lot/],
    [{ ...create, at: '/nowhere/new' }, /^SPACE_BAD_PLACE .* directory '\/nowhere' does not exist$/],
    [{ ...create, at: '/spaces' }, /^SPACE_BAD_PLACE/],
    [{ ...create, at: '/spaces/.work/x' }, /^SPACE_BAD_PLACE/],
    [{ ...create, at: '/' }, /^BAD_PATH/],
    [{ ...create, at: '/.vreserve/x' }, /^BAD_PATH/],
    [{ ...create, at: '/there/../x' }, /^BAD_PATH/],
    [{ ...create, at: 'there/x' }, /^BAD_PATH/],
    [{ ...create, name: 'default' }, /^SPACE_NAME_TAKEN/],
    [{ do: 'update', name: 'one', bytes: 0 }, /^SPACE_BAD_SIZE/],
    [{ do: 'update', name: 'none', bytes: 1 }, /^SPACE_UNKNOWN/],
    [{ do: 'lookup', name: 'none' }, /^SPACE_UNKNOWN space 'none' not found/],
    [{ do: 'move', name: 'one' }, /^BAD_COMMAND .* space has no 'move'/],
    [{}, /^BAD_COMMAND/],
    [{ do: 'list', all: 'yes' }, /^BAD_COMMAND/],
  ];
  for (const [request, says] of cases) t.match(await ask(m, request), says, JSON.stringify(request).slice(0, 80));
  const words: [words: string[], code: number, says: RegExp][] = [
    [['create', 'new'], 2, /something is missing/],
    [['create', 'new', '1MB', 'more'], 2, /one word too many/],
    [['create', 'zdb', '1MB'], 2, /zdb prefix is reserved/],
    [['create', 'new', '0'], 2, /invalid size/],
    [['create', 'new', '90MB', '--mount', m.mnt], 1, /not enough space left/],
    [['create', 'new', '1MB', '--type', 'tape'], 2, /type unknown/],
    [['create', 'new', '1MB', '--enforce', 'kernel', '--mount', m.mnt], 1, /./],
    [['frob'], 2, /space has no 'frob'; it has create, update/],
    [[], 2, /something is missing/],
  ];
  for (const [given, code, says] of words) t.match(await m.run(['space', ...given]), { code, stderr: says }, given.join(' '));
  const { lots, pool } = await report(m.mnt);
  t.same(
    { lots, pool: { ...pool, freeBytes: 0 } },
    { lots: before.lots, pool: { ...before.pool, freeBytes: 0 } },
    'nothing has changed',
  );
  t.same((await spacesOf(m)).directories, ['one']);
});

t.test('ways to ask', async (t) => {
  const top = await mount(t, { args: ['--capacity', '50MB', '--margin', '0'] });
  await top.umount();
  const socketPath = join(top.data, '../http.sock');
  await top.remount(['--capacity', '50MB', '--margin', '0', '--http', `unix:${socketPath}`]);
  await must(top.shell("echo 'space create w 1MB --at /w' > .vreserve/control"));
  t.match(await listed(top), [{ name: 'w', path: '/w', sizeBytes: MB }]);
  t.match(await top.shell("echo 'space create w 1MB 2' > .vreserve/control"), { code: 1 });
  const post = async (body: object) => {
    const { status, body: said } = await askHttp({ socketPath }, '/api/v1.0/command', {
      method: 'POST',
      body: JSON.stringify({ cmd: 'space', ...body }),
    });
    return { status, said: JSON.parse(said) as Record<string, unknown> };
  };
  t.match(await post({ do: 'create', name: 'h', bytes: 2 * MB }), {
    status: 200,
    said: { ok: true, cmd: 'space', result: { name: 'h' } },
  });
  t.match(await post({ do: 'create', name: 'i', bytes: 90 * MB }), { status: 507, said: { code: 'SPACE_NO_ROOM' } });
  t.match(await post({ do: 'lookup', name: 'i' }), { status: 404 });
  t.match(await post({ do: 'delete', name: 'h' }), { status: 200, said: { result: { deleted: true } } });
  t.match(await post({ do: 'delete', name: 'w' }), { status: 200, said: { result: { deleted: true } } });
  await nothingIsLeft(t, top);
});

t.test('its lot is changed by commands on spaces alone', async (t) => {
  const m = await mount(t, { args: ['--capacity', '50MB', '--margin', '0'] });
  await ask(m, { do: 'create', name: 's', bytes: 10 * MB });
  const at = join(m.mnt, 'spaces/s');
  const refused: string[][] = [
    ['release', at],
    ['reserve', at, '20MB'],
    ['extend', at, '1MB'],
    ['lot', 'remove', 's'],
    ['lot', 'update', '{"lot_name":"s","management_policy_attrs":{"dedicated_GB":0.02}}'],
    ['lot', 'update', '{"lot_name":"s","paths":[{"current":"/spaces/s","new":"/other","recursive":true}]}'],
    ['lot', 'add-to', '{"lot_name":"s","paths":[{"path":"/other","recursive":true}]}'],
    ['lot', 'remove-paths', '{"paths":["/spaces/s"]}'],
  ];
  for (const words of refused) {
    const mounted = words[0] === 'lot' ? [...words, '--mount', m.mnt] : words;
    t.match(
      await m.run(mounted),
      { code: 1, stderr: /is the lot of a space: vreserve space update s BYTES/ },
      words.slice(0, 2).join(' '),
    );
  }
  t.match(await m.shell(`setfattr -n user.vreserve.reserve -v 1M spaces/s`), { code: 1 });
  await t.rejects(rename(at, join(m.mnt, 'spaces/t')), { code: 'EBUSY' });
  t.match(await listed(m), [{ name: 's', sizeBytes: 10 * MB, path: '/spaces/s' }]);

  await must(m.run(['lot', 'update', '{"lot_name":"s","owner":"daemon"}', '--mount', m.mnt]));
  t.match(await lotAt(m.mnt, '/spaces/s'), { owner: 'daemon' });
  await must(m.run(['reserve', join(at, 'sub'), '4MB']));
  await must(m.shell('mkdir spaces/s/sub; head -c 4000000 /dev/zero > spaces/s/sub/f'));
  t.match(await listed(m), [{ usedBytes: 4 * MB }], 'what is below it is in it');
  t.match(await ask(m, { do: 'update', name: 's', bytes: 3 * MB }), /^SPACE_SHRINK/);
  t.match(await ask(m, { do: 'create', name: 'other', bytes: 1, at: '/spaces/s/x' }), /^SPACE_BAD_PLACE/);

  await must(m.shell('rm -rf spaces/s'));
  t.match(
    await ask(m, { do: 'create', name: 's', bytes: 1 }),
    { sizeBytes: 10 * MB },
    'removed by hand, it gets a new directory',
  );
  await must(m.shell('mkdir -p spaces/s/sub/a/b; echo x > spaces/s/sub/a/f; ln -s / spaces/s/link'));
  t.same(await ask(m, { do: 'delete', name: 's' }), { deleted: true }, 'with what is reserved in it');
  t.equal((await report(m.mnt)).lots.length, 1);
  await nothingIsLeft(t, m);
});

t.test('a reservation that came around it', async (t) => {
  const m = await mount(t, { args: ['--capacity', '50MB', '--margin', '0'] });
  await mkdir(join(m.mnt, 'a'));
  await ask(m, { do: 'create', name: 's', bytes: 10 * MB, at: '/a/s' });
  await must(m.run(['reserve', join(m.mnt, 'a'), '20MB']));
  await must(m.shell('mkdir -p a/s/d/e; head -c 1000000 /dev/zero > a/s/d/e/f; echo x > a/mine'));
  t.same(await ask(m, { do: 'delete', name: 's' }), { deleted: true }, 'its files go where they are');
  t.match(await m.shell('ls a'), { stdout: 'mine\n' });
  t.match(await lotAt(m.mnt, '/a'), { usedBytes: 2 });
  t.match(await m.run(['check', m.mnt]), { code: 0 });
});

t.test('who may', { skip: needsRoot }, async (t) => {
  const m = await mount(t, { args: ['--capacity', '50MB', '--margin', '0'] });
  await ask(m, { do: 'create', name: 's', bytes: 10 * MB });
  const user = { uid: 65534, gid: 65534 };
  for (const line of ['space create x 1MB', 'space update s 1MB', 'space delete s']) {
    t.match(await m.shell(`echo '${line}' > .vreserve/control`, user), { code: 1, stderr: /Permission denied/ }, line);
    t.match(
      await m.shell(`echo '${line}' > spaces/s/.vreserve/control`),
      { code: 1, stderr: /Permission denied/ },
      `${line}, from inside`,
    );
  }
  t.match(await m.shell(`echo 'space list' > .vreserve/control`, user), { code: 0 }, 'everybody may look');
  t.match(await m.shell(`echo 'space list' > spaces/s/.vreserve/control`), { code: 1 }, 'but not from inside');
  t.match(await listed(m), [{ name: 's', sizeBytes: 10 * MB }]);
  await m.umount();
  const socketPath = join(m.data, '../http.sock');
  await m.remount(['--read-only', '--http', `unix:${socketPath}`]);
  const post = async (body: object) => {
    const text = JSON.stringify({ cmd: 'space', ...body });
    return JSON.parse((await askHttp({ socketPath }, '/api/v1.0/command', { method: 'POST', body: text })).body) as object;
  };
  t.match(await post({ do: 'create', name: 'x', bytes: 1 }), { code: 'READ_ONLY' });
  t.match(await post({ do: 'list' }), { result: [{ name: 's', sizeBytes: 10 * MB }] }, 'a read-only mount shows them');
});

t.test('in use', { skip: needsRoot }, async (t) => {
  const m = await mount(t, { args: ['--capacity', '50MB', '--margin', '0'] });
  await ask(m, { do: 'create', name: 's', bytes: 10 * MB });
  await must(m.shell('mkdir spaces/s/d; echo x > spaces/s/d/f'));
  const elsewhere = join(m.data, '../elsewhere');
  await mkdir(elsewhere);
  for (const part of ['spaces/s', 'spaces/s/d']) {
    await must(run('mount', ['--bind', join(m.mnt, part), elsewhere]));
    t.match(await ask(m, { do: 'delete', name: 's' }), /^SPACE_IN_USE .* process \d+ has it mounted$/);
    t.match(await listed(m), [{ name: 's', state: 'ready', usedBytes: 2 }], 'and is as it was');
    await must(run('umount', [elsewhere]));
  }
  t.same(await ask(m, { do: 'delete', name: 's' }), { deleted: true });
  await nothingIsLeft(t, m);
});

t.test('who waits in line comes first', async (t) => {
  const m = await mount(t, { spool: true, args: ['--capacity', '50MB', '--margin', '0', '--spool-grant', '1MB'] });
  await ask(m, { do: 'create', name: 's', bytes: 30 * MB });
  const waiting = m.run(['reserve', join(m.mnt, 'job'), '40MB', '--wait=1m']);
  await until(async () => (await report(m.mnt)).waiting.length === 1, 'it waits');
  t.match(await ask(m, { do: 'create', name: 'late', bytes: MB }), /^OTHERS_WAIT/);
  t.match(await ask(m, { do: 'create', name: 's', bytes: 1 }), { sizeBytes: 30 * MB }, 'what is there is shown');
  t.same(await ask(m, { do: 'delete', name: 's' }), { deleted: true });
  t.match(await waiting, { code: 0 });
});

t.test('killed in the middle', async (t) => {
  const m = await mount(t, { args: ['--capacity', '100MB', '--margin', '0'] });
  const random = new Random(11);
  for (let round = 0; round < ROUNDS; round++) {
    const before = new Map((await listed(m)).map(({ name, sizeBytes }) => [name, sizeBytes]));
    const answers = new Map<string, unknown>();
    let left = random.between(1, 18);
    const names = Array.from({ length: 20 }, (_, n) => `s${n}`);
    const doing = (name: string, n: number) => {
      const size = before.get(name);
      if (size === undefined) return { do: 'create', name, bytes: MB };
      return n % 3 === 0 ? { do: 'update', name, bytes: 3 * MB - size } : { do: 'delete', name };
    };
    const calls = names.map(async (name, n) => {
      const request = doing(name, n + round);
      answers.set(name, await ask(m, request));
      left -= 1;
      if (left === 0) await m.kill();
      return [name, request] as const;
    });
    const requests = new Map(await Promise.all(calls));
    await m.remount();
    const { listed: is, lots, directories } = await spacesOf(m);
    t.same(lots, is, `round ${round}: each has a lot of its size`);
    t.same(directories, Object.keys(is).sort(), 'and a directory');
    t.notOk(
      (await listed(m)).some(({ state }) => state !== 'ready'),
      'nothing is half',
    );
    for (const [name, request] of requests) {
      const answer = answers.get(name);
      const wanted = request.do === 'delete' ? undefined : 'bytes' in request ? request.bytes : undefined;
      if (answer !== null) t.equal(is[name], wanted, `${request.do} was answered, and is done`);
      else t.ok([wanted, before.get(name)].includes(is[name]), `${request.do} is done or not`);
    }
    for (const name of Object.keys(is)) await writeFile(join(m.mnt, 'spaces', name, 'f'), 'x');
  }
  for (const { name } of await listed(m)) t.same(await ask(m, { do: 'delete', name }), { deleted: true });
  await nothingIsLeft(t, m);
});

t.test('an ordinary user who mounts', { skip: needsRoot }, async (t) => {
  const m = await mount(t, { uid: 65534, args: ['--capacity', '50MB', '--margin', '0'] });
  const made = await must(m.run(['space', 'create', 's', '10MB', '--mount', m.mnt, '--json']));
  t.match(JSON.parse(made.stdout) as SpaceJson, { sizeBytes: 10 * MB, path: '/spaces/s' });
  t.match(await m.shell('head -c 10000001 /dev/zero > spaces/s/f'), { code: 1 });
  t.match(await m.run(['space', 'delete', 's', '--mount', m.mnt]), { code: 0 });
});
