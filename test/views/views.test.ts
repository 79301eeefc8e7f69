// The tree of /.vreserve: what each name holds, control, the ledger as a file, and that every request is answered once.

import t from 'tap';
import { parseControlLine } from '../../src/views/command-line.js';
import { MAX_LINE_BYTES } from '../../src/views/control.js';
import { fileNameOf, nameOfFile } from '../../src/views/lot-names.js';
import { splitWords } from '../../src/views/split-words.js';
import { CONFINED, controlPlane, ROOT, user } from '../helpers/control-plane.js';

const root = { caller: ROOT, scope: 1, directory: '/' };

t.test('the tree', async (t) => {
  const plane = await controlPlane(t.testdir());
  const { keeper, engine, ask, cat } = plane;
  engine.capacityBytes = 100e9;
  const job = await keeper.reserve('/job1', 50e9, {}, { caller: user(4242), scope: 1, directory: '/' });
  await keeper.reserve('/job1/50% of it', 1e9, {}, root);
  engine.write(job.id, 12_345_678_901, 1234);
  engine.write(1, 1500, 1);

  t.match(await ask({ op: 'list', path: '', scope: 1 }), {
    names: ['README', 'control', 'health', 'ledger', 'metrics', 'report', 'report.json', 'lots'].map((name) => ({ name })),
  });
  t.strictSame(await ask({ op: 'list', path: 'lots', scope: 1 }), {
    names: ['default', '%2Fjob1', '%2Fjob1%2F50%25 of it'].map((name) => ({ name, kind: 'directory' })),
  });
  const files: [string, RegExp | string][] = [
    ['README', /reserve \/job1 500MB/],
    ['health', 'ok\n'],
    ['lots/default/owner', 'root\n'],
    ['lots/%2Fjob1/owner', '4242\n'],
    ['lots/%2Fjob1/paths', '/job1\n'],
    ['lots/%2Fjob1/children', '/job1/50% of it\n'],
    ['lots/%2Fjob1%2F50%25 of it/parents', '/job1\n'],
    ['lots/%2Fjob1/parents', ''],
    ['metrics', /vreserve_lot_used_bytes\{lot="\/job1"\} 12345678901/],
    ['metrics', /vreserve_requests_total\{operation="WRITE"\} 3/],
    ['metrics', /vreserve_lot_grant_bytes\{lot="default"\} \+Inf/],
    ['nothing', 'ENOENT'],
    ['report/x', 'ENOENT'],
    ['lots/none', 'ENOENT'],
    ['lots/default/none', 'ENOENT'],
    ['lots/default/constructor', 'ENOENT'],
    ['lots/default/owner/x', 'ENOENT'],
    ['toString', 'ENOENT'],
  ];
  for (const [path, expected] of files) t.match(await cat(path), expected, path);
  t.match(JSON.parse(await cat('lots/%2Fjob1/usage.json')), {
    own: { bytes: 12_345_678_901, objects: 1234 },
    used: { bytes: 12_345_678_901 },
  });
  t.match(JSON.parse(await cat('lots/default/policy.json')), { dedicatedBytes: 0, opportunisticBytes: -1, grant: 'unlimited' });
  t.match(JSON.parse(await cat('report.json')), {
    daemon: { pid: 1, version: '0.1.0', engine: 'memory', io: 'passthrough' },
    pool: { capacityBytes: 100e9, headroomBytes: Number },
    lots: [
      { name: 'default', path: '/', owner: 'root', usedBytes: 1500, opportunisticBytes: -1 },
      {
        name: '/job1',
        path: '/job1',
        owner: '4242',
        usedBytes: 12_345_678_901,
        dedicatedBytes: 50e9,
        objects: 1234,
        expiresAtMs: null,
      },
      { name: '/job1/50% of it' },
    ],
    waiting: [],
  });
  const report = await cat('report');
  t.comment(report);
  t.match(report, /^\/job1 +12\.3 GB +50 GB +24% +1,234 +- +4242 +never$/m);
  t.match(report, /^default +1\.5 kB +unlimited +- +1 +- +root +never$/m);
  t.match(report, /^headroom +50 GB +what can still/m);
  t.ok(report.split('\n').every((line) => line.length <= 100));
  engine.shortBytes = 5;
  t.match(await cat('health'), /short of 5 B/);
  t.match(await cat('report'), /^! the backing is short/m);

  t.match(await ask({ op: 'lookup', path: 'lots', scope: 1 }), { node: { kind: 'directory', mode: 0o555 } });
  t.match(await ask({ op: 'lookup', path: 'control', scope: 1 }), { node: { kind: 'control', mode: 0o666 } });
  t.match(await ask({ op: 'list', path: 'report', scope: 1 }), { errno: 'ENOTDIR' });
  t.match(await ask({ op: 'open', path: 'report', scope: 1, caller: ROOT, forWriting: true }), { errno: 'EACCES' });
  t.match(await ask({ op: 'open', path: 'none', scope: 1, caller: ROOT, forWriting: false }), { errno: 'ENOENT' });
  for (const op of ['flush', 'release'] as const) t.match(await ask({ op, handle: 77, scope: 1 }), { errno: 'EBADF' });
  t.match(await ask({ op: 'read', handle: 77, offsetBytes: 0, lengthBytes: 1, scope: 1 }), { errno: 'EBADF' });

  engine.pool = () => {
    throw new TypeError('broken');
  };
  t.equal(await cat('report'), 'EIO', 'what must not happen is answered too');
});

t.test("a lot's own tree is cut down to it", async (t) => {
  const { keeper, cat, ask, control } = await controlPlane(t.testdir());
  const { id } = await keeper.reserve('/job1', 500, {}, root);
  await keeper.reserve('/job1/sub', 100, {}, root);
  await keeper.reserve('/secret', 100, {}, root);
  t.strictSame(
    JSON.parse(await cat('report.json', id)).lots.map((lot: { name: string; path: string }) => [lot.name, lot.path]),
    [
      ['/', '/'],
      ['/sub', '/sub'],
    ],
  );
  for (const path of ['report', 'report.json', 'metrics']) t.notMatch(await cat(path, id), /secret|\/job1|\/srv|\/mnt/, path);
  t.match(JSON.parse(await cat('report.json', id)), {
    daemon: { pid: 0, backing: '/', mountpoint: '/' },
    // What is promised to the lot below is not its own to fill.
    pool: { capacityBytes: 500, freeBytes: 400, setAsideBytes: 400, headroomBytes: 400, usedBytes: 0 },
    waiting: [],
  });
  t.match(JSON.parse(await cat('report.json')), { daemon: { pid: 1, backing: '/srv/data' }, pool: { capacityBytes: 1000 } });
  t.match(await ask({ op: 'list', path: 'lots', scope: id }), { names: [{ name: '%2F' }, { name: '%2Fsub' }] });
  t.equal(await cat('lots/%2Fsecret/owner', id), 'ENOENT');
  t.equal(await cat('lots/%2Fsub/parents', id), '/\n');
  const inside = await control(CONFINED, id);
  t.equal(await inside.write('reserve /mine 10\nrelease /mine\n'), 'ok');
  t.match(await inside.replies(), [
    { ok: true, lot: { name: '/mine', path: '/mine' } },
    { ok: true, lot: { path: '/mine' } },
  ]);
  t.equal(await inside.write('release /\n'), 'EINVAL');
  await keeper.release('/job1', root);
  t.equal(await cat('report', id), 'ENOENT', 'the lot is gone');
});

t.test('lots of other kinds than reservations', async (t) => {
  const { ask, cat, control, keeper } = await controlPlane(t.testdir());
  const admin = await control(ROOT);
  const policy = {
    dedicated_GB: 1e-7,
    opportunistic_GB: 0,
    max_num_objects: 5,
    creation_time: 0,
    expiration_time: 9e12,
    deletion_time: 9e12,
  };
  const paths = [
    { path: '/x', recursive: true },
    { path: '/x/tmp', recursive: true, exclude: true },
    { path: '/x/tmp/flat', recursive: false },
    { path: 'root://host/x', recursive: true },
  ];
  const add = { lot_name: 'x {1}', owner: 'root', parents: ['x {1}'], paths, management_policy_attrs: policy };
  const foreign = { ...add, lot_name: '100% ü', parents: ['100% ü', 'x {1}'], paths: [{ path: 'uri:x', recursive: true }] };
  foreign.management_policy_attrs = { ...policy, dedicated_GB: 0 };
  for (const json of [add, foreign]) {
    t.equal(await admin.write(`lot add ${JSON.stringify(json)}\n`), 'ok');
    t.strictSame(await admin.replies(), [{ ok: true, cmd: 'lot' }]);
  }
  t.equal(await admin.write('lot show "x {1}\n'), 'EINVAL');
  await admin.replies();
  const long = `/${'y'.repeat(250)}/${'z'.repeat(100)}`;
  await keeper.reserve(long, 1, {}, root);
  const listed = (await ask({ op: 'list', path: 'lots', scope: 1 })) as { names: { name: string }[] };
  const names = listed.names.map(({ name }) => name);
  t.strictSame(names.slice(0, 1), ['default']);
  const cut = names.find((name) => name.includes('~')) ?? '';
  const files: [string, string | RegExp][] = [
    ['lots/x {1}/paths', '/x\n/x/tmp (excluded)\n/x/tmp/flat (not recursive)\nroot://host/x\n'],
    ['lots/x {1}/children', '100% ü\n'],
    ['lots/100%25 ü/paths', 'uri:x\n'],
    ['lots/100%25 ü/parents', 'x {1}\n'],
    [`lots/${cut}/paths`, `${long}\n`],
    [`lots/${cut.slice(0, -1)}x/paths`, 'ENOENT'],
  ];
  for (const [path, expected] of files) t.equal(await cat(path), expected, path);
  const { lots } = JSON.parse(await cat('report.json')) as { lots: { name: string }[] };
  const lot = (name: string) => lots.find((each) => each.name === name);
  t.match(lot('x {1}'), {
    path: '/x',
    dedicatedBytes: 100,
    maxObjects: 5,
    expiresAtMs: 9e12,
    paths: [{ exclude: false }, { exclude: true }, { recursive: false }, {}],
  });
  t.match(lot('100% ü'), { path: null, paths: [{ path: 'uri:x' }] });
  t.match(lot('default'), { path: '/', paths: [], maxObjects: -1, deletesAtMs: null });

  // A lot of two directories, and what its `.vreserve` shows in each.
  const two = { ...add, lot_name: 'two', parents: ['two'], paths: ['/one', '/two'].map((path) => ({ path, recursive: true })) };
  t.equal(await admin.write(`lot add ${JSON.stringify(two)}\n`), 'ok');
  await keeper.reserve('/two/in', 10, {}, root);
  const scope = keeper.book.named('two')?.id ?? 0;
  for (const [directory, inside, other] of [
    ['/one', '/two/in', '/two'],
    ['/two', '/in', '/one'],
  ] as const) {
    const reply = await ask({ op: 'content', path: 'report.json', scope, directory });
    const seen = JSON.parse(String((reply as { data: Buffer }).data));
    t.match(
      seen.lots.map((each: { name: string; paths: { path: string }[] }) => [
        each.name,
        each.paths.map(({ path }) => path).sort(),
      ]),
      [
        [inside, [inside]],
        ['two', ['/', other]],
      ],
      `in ${directory}`,
    );
    const { handle } = (await ask({ op: 'open', path: 'control', scope, directory, caller: ROOT, forWriting: true })) as {
      handle: number;
    };
    const line = Buffer.from(`reserve /more 5\n`);
    t.match(await ask({ op: 'write', scope, directory, handle, offsetBytes: 0, data: line }), { writtenBytes: line.length });
    t.match(keeper.book.named(`${directory}/more`), { parents: [scope] }, 'paths are relative to where control was opened');
    await keeper.release(`${directory}/more`, root);
  }
});

t.test('control: lines and replies', async (t) => {
  const plane = await controlPlane(t.testdir());
  const control = await plane.control(ROOT);
  const other = await plane.control(ROOT);
  t.equal(await control.write("reserve /a 100\n\n# a comment\nreserve '/b c' 1kB\n"), 'ENOSPC');
  t.match(await control.replies(), [
    { ok: true, cmd: 'reserve', lot: { name: '/a', path: '/a', owner: 'root', dedicatedBytes: 100, usedBytes: 0 } },
    {
      ok: false,
      cmd: 'reserve',
      code: 'NO_SPACE',
      errno: 'ENOSPC',
      askedBytes: 1000,
      availableBytes: 900,
      heldBytes: 0,
      message: /900 B available/,
    },
  ]);
  t.strictSame(await control.replies(), [], 'read once');
  t.strictSame(await other.replies(), [], 'each open file has its own');
  t.equal(await control.write('bogus\nreserve /never 1\n'), 'EINVAL');
  t.match(await control.replies(), [{ ok: false, code: 'UNKNOWN_COMMAND' }], 'the rest of the write is dropped');
  t.notOk([...plane.keeper.book.all()].some(({ name }) => name === '/never'));

  t.equal(await control.write('{"cmd":"reserve","path":"/c","by'), 'ok');
  t.equal(await control.write('tes":50}'), 'ok');
  t.strictSame(await control.replies(), [], 'not complete');
  t.equal(await control.flush(), 'ok');
  t.match(
    await control.replies(),
    [{ ok: true, lot: { path: '/c', dedicatedBytes: 50 } }],
    'a last line without newline runs at the flush',
  );
  t.equal(await control.write('reserve /c 5000'), 'ok');
  t.equal(await control.flush(), 'ENOSPC');

  for (const [line, code] of [
    ['reserve /x', 'BAD_COMMAND'],
    ['reserve /x 1 2', 'BAD_COMMAND'],
    ['reserve /x -1', 'BAD_BYTES'],
    ['reserve /x 1.5', 'BAD_BYTES'],
    ['reserve ../x 1', 'BAD_PATH'],
    ['reserve "/x 1', 'BAD_COMMAND'],
    ['check --fix', 'BAD_COMMAND'],
    ['{"cmd":"reserve"', 'BAD_COMMAND'],
    ['{"cmd":"reserve","path":"/x","bytes":1.5}', 'BAD_BYTES'],
    ['{"cmd":"reserve","path":"/x","bytes":9007199254740992}', 'BAD_BYTES'],
    ['{"cmd":"reserve","path":"/x"}', 'BAD_COMMAND'],
    ['{"cmd":"reserve","path":7,"bytes":1}', 'BAD_COMMAND'],
    ['{"cmd":"reserve","path":"/x","bytes":1,"force":true}', 'BAD_COMMAND'],
    ['{"cmd":"__proto__"}', 'UNKNOWN_COMMAND'],
    [Buffer.from([0x72, 0xff, 0xfe]).toString('latin1'), 'BAD_COMMAND'],
  ] as const) {
    t.equal(await control.write(Buffer.from(`${line}\n`, 'latin1')), 'EINVAL', line);
    t.match(await control.replies().then((all) => all.at(-1)), { ok: false, code, errno: 'EINVAL' }, line);
  }

  const long = `reserve /${'x'.repeat(MAX_LINE_BYTES)} 1`;
  t.equal(await control.write(`${long}\nreserve /y 1\n`), 'EINVAL');
  t.match(await control.replies(), [{ ok: false, code: 'BAD_COMMAND', message: /1048576 bytes/ }]);
  t.equal(await control.write(`reserve /${'x'.repeat(70_000)} 1\nreserve /y 1\n`), 'ENAMETOOLONG', 'a line that may be so long');
  await control.replies();
  t.equal(await control.write(Buffer.alloc(MAX_LINE_BYTES + 1, 'x')), 'EINVAL');
  t.equal(await control.write(Buffer.alloc(1000, 'x')), 'EINVAL', 'still that line');
  t.equal(await control.write('x\nreport\n'), 'ok', 'until its end');
  t.match((await control.replies()).at(-1), { ok: true, cmd: 'report', lots: [{ name: 'default' }, {}, {}] });
  t.notOk([...plane.keeper.book.all()].some(({ name }) => name.startsWith('/x') || name === '/y'));

  const pieces = await plane.control(ROOT);
  for (const letter of 'extend /a 1\n') t.equal(await pieces.write(letter), 'ok');
  t.match(await pieces.replies(), [{ ok: true, lot: { dedicatedBytes: 101 } }]);
  t.equal(await pieces.write('check --repair\n'), 'ok');
  t.match(await pieces.replies(), [
    { ok: true, cmd: 'check', differences: 0, lots: [{ name: 'default', countedBytes: 0 }, {}, {}] },
  ]);
  t.equal(await pieces.write('release /a\nrelease /a\n'), 'ok');
  t.match(await pieces.replies(), [
    { ok: true, lot: { path: '/a', dedicatedBytes: 101 } },
    { ok: true, lot: null },
  ]);

  const stranger = await plane.control(user(9));
  plane.engine.mayWrite = false;
  t.equal(await stranger.write('reserve /z 1\n'), 'EACCES');
  t.strictSame(await plane.ask({ op: 'release', handle: stranger.handle, scope: 1 }), {});
  t.equal(await stranger.write('report\n'), 'EBADF');
});

t.test('words are split as a shell does', async (t) => {
  const table: [string, string[]][] = [
    ['a b  c', ['a', 'b', 'c']],
    [`'a b' "c d" e\\ f`, ['a b', 'c d', 'e f']],
    [`a'b'"c"d`, ['abcd']],
    [`"say \\"hi\\" \\n"`, ['say "hi" \\n']],
    [`'' ""`, ['', '']],
    ['\ta\t', ['a']],
  ];
  for (const [text, words] of table) t.strictSame(splitWords(text), words, text);
  for (const text of [`'a`, `"a`, `"a\\"`, 'a\\']) t.throws(() => splitWords(text), { code: 'BAD_COMMAND' }, text);
  t.equal(parseControlLine('   '), null);
});

t.test('names of lots as names of files', async (t) => {
  const table: [string, string][] = [
    ['default', 'default'],
    ['/a/b', '%2Fa%2Fb'],
    ['..', '%2E%2E'],
    ['a%', 'a%25'],
    ['a\nb', 'a%0Ab'],
    ['ü', 'ü'],
  ];
  for (const [name, file] of table) {
    t.equal(fileNameOf(name), file);
    t.equal(nameOfFile(file), name, 'and back');
  }
  for (const file of ['%2fa', 'a/b', '%', '%zz', '%41', '..', 'a\nb', '%FF']) t.equal(nameOfFile(file), '', `no lot's: ${file}`);
  const long = fileNameOf(`/${'ü/'.repeat(1000)}`);
  t.ok(Buffer.byteLength(long) <= 255 && /~[0-9a-f]{16}$/.test(long));
  t.equal(nameOfFile(long), null, 'a name that was cut');
  t.not(fileNameOf('x'.repeat(300)), fileNameOf(`${'x'.repeat(300)}y`));
});

t.test('attributes reserve and release', async (t) => {
  const { ask, keeper } = await controlPlane(t.testdir());
  const set = async (path: string, value: string | null, name = 'reserve') =>
    ask({ op: 'setxattr', scope: 1, path, name, value: value === null ? null : Buffer.from(value), caller: user(7) });
  t.strictSame(await set('/d', '500'), {});
  t.strictSame(await set('/d', '600\n', 'user.vreserve.reserve'), {});
  t.match([...keeper.book.all()].at(-1), { name: '/d', owner: '7', policy: { dedicatedBytes: 600 } });
  for (const [value, errno] of [
    ['2T', 'ENOSPC'],
    ['-1', 'EINVAL'],
    ['', 'EINVAL'],
    ['\xff', 'EINVAL'],
  ] as const)
    t.match(await set('/d', value), { errno });
  for (const name of ['lot', 'used', 'grant']) t.match(await set('/d', '1', name), { errno: 'EPERM' });
  t.match(await set('/d', '1', 'other'), { errno: 'EOPNOTSUPP' });
  t.strictSame(await set('/d', null), {});
  t.equal(keeper.book.size, 1);
  t.strictSame(await set('/d', null), {});
});

t.test('the ledger is a file that grows', async (t) => {
  const { ask, keeper, ledger, now } = await controlPlane(t.testdir());
  const sizeOf = async (scope = 1) =>
    ((await ask({ op: 'lookup', path: 'ledger', scope })) as { node: { sizeBytes: number } }).node.sizeBytes;
  const open = async (scope = 1) =>
    ((await ask({ op: 'open', path: 'ledger', scope, caller: user(9), forWriting: false })) as { handle: number }).handle;
  const read = async (handle: number, offsetBytes: number, lengthBytes: number) =>
    ((await ask({ op: 'read', handle, offsetBytes, lengthBytes, scope: 1 })) as { data: Buffer }).data;
  const { id } = await keeper.reserve('/a', 10, {}, root);
  await keeper.reserve('/b', 10, {}, root);
  await keeper.reserve('/a/c', 5, {}, root);
  const size = await sizeOf();
  const handle = await open();
  const text = (await read(handle, 0, 1e6)).toString();
  t.equal(text.length, size);
  t.strictSame(
    text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).path),
    ['/a', '/b', '/a/c'],
  );
  await keeper.release('/b', root);
  t.match((await read(handle, size, 1e6)).toString(), /^\{.*"event":"release".*\}\n$/, 'it grows under an open descriptor');

  t.match(await ask({ op: 'write', handle, offsetBytes: 0, data: Buffer.from('x'), scope: 1 }), { errno: 'EBADF' });
  t.match(await ask({ op: 'open', path: 'ledger', scope: 1, caller: ROOT, forWriting: true }), { errno: 'EACCES' });

  const scoped = await open(id);
  const scopedSize = await sizeOf(id);
  const own = (await read(scoped, 0, 1e6)).toString();
  t.equal(own.length, scopedSize);
  t.strictSame(
    own
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).path),
    ['/', '/c'],
    "a lot's own ledger, with paths as they are seen there",
  );
  t.notMatch(own, /\/a|"parent"/, 'and nothing of where it lies');
  await keeper.extend('/a/c', 1, root);
  const grown = (await read(scoped, 0, 1e6)).toString();
  t.ok(grown.startsWith(own) && (await sizeOf(id)) === grown.length);
  for (let offset = 0; offset < grown.length; offset += 13) {
    t.equal((await read(scoped, offset, 13)).toString(), grown.slice(offset, offset + 13));
  }

  now.ms += 1000;
  await keeper.reserve('/d', 1, {}, root);
  const before = await sizeOf();
  await ledger.trim({ beforeMs: now.ms, keepBytes: 1e9 });
  t.equal(await sizeOf(), before, 'trimming moves nothing under an open file');
  const later = await read(handle, 0, 1e6);
  t.equal(later.length, before);
  t.match(later.toString().trim(), /^\{[^\n]*"path":"\/d"[^\n]*\}$/, 'what is gone is blank');
  await ask({ op: 'release', handle, scope: 1 });
  const after = await sizeOf();
  t.ok(after < before && after > 0, 'when nobody has it open, the file begins at the oldest line');
  const fresh = await open();
  t.match((await read(fresh, 0, 1e6)).toString(), /^\{/);
});
