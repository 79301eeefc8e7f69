// What the system's tools answer, and what is made of it; and tools that fail, hang, or are not there.
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { asVreserveError } from '../../src/core/errors.js';
import { parseBootConfig } from '../../src/pools/boot-config.js';
import { listDevices } from '../../src/pools/devices.js';
import { mountTroubles } from '../../src/pools/pool-health.js';
import { parseQgroups, unfilledBytes } from '../../src/pools/qgroups.js';
import { signaturesOf } from '../../src/pools/signature.js';
import { parseSuperblock } from '../../src/pools/superblock.js';
import { systemTools, type Tools } from '../../src/pools/tools.js';
import { NOBODY } from '../helpers/columns.js';
import { isAlive, temporaryDirectory } from '../helpers/mount.js';
import { run, vreserve } from '../helpers/run.js';

const saying = (text: string): Tools => ({ run: async () => text });
const messageOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'nothing',
    (error: unknown) => `${asVreserveError(error).code} ${asVreserveError(error).message}`,
  );

const DISK = {
  name: 'sda',
  path: '/dev/sda',
  'maj:min': '8:0',
  size: 1000,
  rota: false,
  type: 'disk',
  tran: 'sata',
  ro: false,
  serial: ' S1 ',
  model: '',
};
const lsblk = (...rows: object[]) => saying(JSON.stringify({ blockdevices: rows.map((row) => ({ ...DISK, ...row })) }));

t.test('lsblk', async (t) => {
  const names = async (choice: object, ...rows: object[]) => (await listDevices(lsblk(...rows), choice)).map(({ name }) => name);
  t.match(await listDevices(lsblk({})), [{ name: 'sda', type: 'ssd', kind: 'disk', serial: 'S1', model: null, sizeBytes: 1000 }]);
  t.match(await listDevices(lsblk({ rota: true, serial: null })), [{ type: 'hdd', serial: null }]);
  const rows = [
    { name: 'usb', tran: 'usb' },
    { name: 'loop0', type: 'loop' },
    { name: 'empty', size: 0 },
    { name: 'sr0', type: 'rom' },
    { name: 'dm-0', type: 'crypt' },
    { name: 'sda1', type: 'part' },
    { name: 'zram0' },
    { name: 'ram0' },
  ];
  t.same(await names({}, ...rows), []);
  t.same(await names({ usb: true, loop: true }, ...rows), ['usb', 'loop0']);
  const bad = [
    ['', /what it says is no JSON/],
    ['{}', /not understood.*util-linux 2.33 or later/],
    ['{"blockdevices":[{"name":"sda"}]}', /not understood/],
    [JSON.stringify({ blockdevices: [{ ...DISK, size: '1000' }] }), /not understood.*size must be integer/],
    [JSON.stringify({ blockdevices: [{ ...DISK, rota: '1' }] }), /not understood.*rota must be boolean/],
  ] as const;
  for (const [text, says] of bad) t.match(await messageOf(listDevices(saying(text))), says, text.slice(0, 40));
});

t.test('wipefs', async (t) => {
  t.same(await signaturesOf(saying(''), '/dev/sda'), []);
  t.same(await signaturesOf(saying('{"signatures":[\n\n]}'), '/dev/sda'), []);
  const text =
    '{"signatures":[{"device":"sda","offset":"0x10040","type":"btrfs","uuid":"u","label":"l"},{"offset":"0x1fe","type":"dos"}]}';
  t.same(await signaturesOf(saying(text), '/dev/sda'), [
    { offsetBytes: 65_600, type: 'btrfs', uuid: 'u', label: 'l' },
    { offsetBytes: 510, type: 'dos', uuid: null, label: null },
  ]);
  for (const text of ['no', '{}', '{"signatures":[{"type":"x"}]}', '{"signatures":[{"type":"x","offset":"12"}]}']) {
    t.match(await messageOf(signaturesOf(saying(text), '/dev/sda')), /TOOL_FAILED .*of '\/dev\/sda' is not understood/, text);
  }
});

t.test('the superblock of btrfs', async (t) => {
  const block = Buffer.alloc(4096);
  t.equal(parseSuperblock(block), null);
  block.write('_BHRfS_M', 0x40);
  Buffer.from('0123456789abcdef0123456789abcdef', 'hex').copy(block, 0x20);
  block.writeBigUInt64LE(3n, 0x88);
  block.write('fast', 0x12b);
  const found = { isFinished: true, uuid: '01234567-89ab-cdef-0123-456789abcdef', label: 'fast', devices: 3 };
  t.same(parseSuperblock(block), found);
  block.write('!BHRfS_M', 0x40);
  t.same(parseSuperblock(block), { ...found, isFinished: false }, 'while mkfs is at it');
  block.write('x'.repeat(256), 0x12b);
  t.equal(parseSuperblock(block)?.label, 'x'.repeat(256));
});

t.test('qgroups', async (t) => {
  const text = `Qgroupid    Referenced    Exclusive  Max referenced  Path \n--------    ----------    ---------  --------------  ---- \n0/5   16384  16384  none  <toplevel>\n0/256 1000 1000 5000 a b\n0/257 9000 9000 5000 <stale>\n1/0 10000 10000 90000\n`;
  const groups = parseQgroups(text);
  t.same(groups, [
    { id: '0/5', usedBytes: 16_384, limitBytes: null },
    { id: '0/256', usedBytes: 1000, limitBytes: 5000 },
    { id: '0/257', usedBytes: 9000, limitBytes: 5000 },
    { id: '1/0', usedBytes: 10_000, limitBytes: 90_000 },
  ]);
  t.equal(unfilledBytes(groups), 4000);
  t.same(parseQgroups(''), []);
});

t.test('the health of a mount', async (t) => {
  const mount = {
    id: 1,
    parentId: 0,
    device: '0:1',
    root: '/',
    mountpoint: '/x',
    type: 'ext4',
    source: '/dev/none',
    options: ['rw'],
  };
  t.same(await mountTroubles(mount), ['its device /dev/none is gone']);
  t.same(await mountTroubles({ ...mount, source: 'tmpfs', options: ['rw', 'ro'] }), ['it has become read-only']);
  t.same(await mountTroubles({ ...mount, source: 'tmpfs' }), []);
});

t.test('tools', async (t) => {
  const top = await temporaryDirectory(t);
  const bin = join(top, 'bin');
  await mkdir(bin);
  const script = async (name: string, text: string) => {
    await writeFile(join(bin, name), `#!/bin/bash\n${text}\n`);
    await chmod(join(bin, name), 0o755);
  };
  const tools = systemTools(`${bin}:/usr/bin:/bin`);
  await script('lsblk', 'printf "%s|" "$LC_ALL" "$@"');
  t.equal(await tools.run('lsblk', ['$(id)', 'a b', '; ls']), 'C|$(id)|a b|; ls|', 'no shell, and one language');
  await script('lsblk', 'echo "NOTE: by the way" >&2; echo "ERROR: no luck" >&2; exit 3');
  t.equal(await messageOf(tools.run('lsblk', [])), 'TOOL_FAILED lsblk failed: ERROR: no luck');
  await script('lsblk', 'exit 3');
  t.equal(await messageOf(tools.run('lsblk', [])), 'TOOL_FAILED lsblk failed: exit 3');
  await script('lsblk', 'kill -9 $$');
  t.equal(await messageOf(tools.run('lsblk', [])), 'TOOL_FAILED lsblk failed: ended by SIGKILL');
  await script('lsblk', 'exec cat /dev/zero');
  t.equal(await messageOf(tools.run('lsblk', [])), 'TOOL_FAILED lsblk failed: it says too much');
  await script('lsblk', `echo $$ > '${top}/pid'; exec sleep 100`);
  t.match(await messageOf(tools.run('lsblk', [], { timeoutMs: 1500 })), /^TOOL_SLOW lsblk was not done within 1.5 s/);
  const pid = Number(await readFile(join(top, 'pid'), 'utf8'));
  for (let i = 0; i < 200 && (await isAlive(pid)); i++) await run('sleep', ['0.02']);
  t.notOk(await isAlive(pid), 'it is gone');
  await chmod(join(bin, 'lsblk'), 0o600);
  t.match(await messageOf(systemTools(bin).run('lsblk', [])), /^TOOL_FAILED lsblk failed: .*EACCES/);
  const missing = await messageOf(systemTools(join(top, 'none')).run('mkfs.btrfs', []));
  t.equal(missing, 'TOOL_MISSING mkfs.btrfs is not installed: it is in the package btrfs-progs');
});

t.test('the file of boot: what it stands for', async (t) => {
  const parsed = parseBootConfig('{"mount":{"mountpoint":"/m"},"cache":{"bytes":"5GiB"},"createIfNone":{"name":"a"}}', 'f');
  t.same(parsed, {
    poolsDir: '/run/vreserve/pools',
    pools: 'all',
    devices: null,
    createIfNone: { name: 'a', policy: 'single' },
    mount: { backing: null, mountpoint: '/m', options: {} },
    cache: { bytes: 5 * 1024 ** 3, bindAt: null },
  });
});

const user = { uid: NOBODY, gid: NOBODY, cwd: '/' };
const whyNotUser = async (): Promise<string | false> => {
  if (process.getuid?.() !== 0) return 'this needs root to become somebody else';
  const { code } = await vreserve(['--version'], user).catch(() => ({ code: 1 }));
  return code === 0 ? false : 'an ordinary user may not run this node or read this project';
};

t.test('who is not root may look, and change nothing', { skip: await whyNotUser() }, async (t) => {
  const listed = await vreserve(['pool', 'devices', '--json'], user);
  t.equal(listed.code, 0, listed.stderr);
  for (const { state } of (JSON.parse(listed.stdout) as { devices: { state: string }[] }).devices) t.not(state, 'free');
  for (const words of ['prepare p /dev/none', 'wipe /dev/none --yes-destroy none']) {
    t.match(await vreserve(['pool', ...words.split(' ')], user), { code: 1, stdout: '', stderr: /needs root/ }, words);
  }
});
