// Spaces in containers: each has its size and no byte more, and one that a container has is not removed.
import { join } from 'node:path';
import t from 'tap';
import { makeDisk, whyNoDisk } from '../helpers/disks.js';
import { mount, temporaryDirectory } from '../helpers/mount.js';
import { must } from '../helpers/run.js';
import { ask, nothingIsLeft } from '../helpers/spaces.js';
import { Podman, whyNoContainers } from './podman.js';

const MIB = 1024 * 1024;
const reason = await whyNoContainers();

t.test('two spaces', { skip: reason }, async (t) => {
  const podman = await Podman.create(t);
  const m = await mount(t, { args: ['--capacity', '64MiB', '--margin', '0'] });
  for (const [name, mib] of Object.entries({ small: 8, large: 32 })) {
    await ask(m, { do: 'create', name, bytes: mib * MIB });
    const filled = await podman.run(
      join(m.mnt, 'spaces', name),
      `df -Pk /data | tail -n 1; cat /dev/zero > /data/big; echo "exit $?"; stat -c %s /data/big; cat /data/.vreserve/report
       echo 'space delete ${name}' > /data/.vreserve/control || echo refused`,
    );
    t.match(filled, { code: 0, stderr: /No space left on device/ }, name);
    const [df, exit, size] = filled.stdout.split('\n');
    t.match(df, new RegExp(` ${mib * 1024} +0 +${mib * 1024} +0% /data$`), 'df inside shows its size');
    t.same([exit, size], ['exit 1', String(mib * MIB)], 'every byte of it, and not one more');
    t.match(filled.stdout, /refused\n$/, 'who is in it does not change it');
    t.notMatch(filled.stdout, name === 'small' ? /large/ : /small/, 'nothing of the other');
  }

  const holder = await podman.start(t, join(m.mnt, 'spaces/small'));
  // Its first answer says that it runs.
  await holder.do('stat /data');
  t.match(await ask(m, { do: 'delete', name: 'small' }), /^SPACE_IN_USE/, 'a container has it');
  t.match(await ask(m, { do: 'update', name: 'small', bytes: 9 * MIB }), { sizeBytes: 9 * MIB }, 'it grows meanwhile');
  await must(m.shell('head -c 1048576 /dev/zero > spaces/small/more'));
  await holder.end();
  for (const name of ['small', 'large']) t.same(await ask(m, { do: 'delete', name }), { deleted: true });
  await nothingIsLeft(t, m);
});

t.test('spaces of other pools', { skip: reason || (await whyNoDisk('ext4')) || (await whyNoDisk('btrfs')) }, async (t) => {
  const podman = await Podman.create(t);
  const top = await temporaryDirectory(t);
  const fast = await makeDisk(t, top, 'fast', 'ext4', 160);
  const slow = await makeDisk(t, top, 'slow', 'btrfs', 300);
  const pools = [`--pool=fast=${fast.at},type=ssd,margin=0`, `--pool=slow=${slow.at},type=hdd,margin=0`];
  const m = await mount(t, { args: ['--capacity', '64MiB', '--margin', '0', '--type', 'hdd', ...pools] });
  const fill = (name: string) =>
    podman.run(
      join(m.mnt, 'spaces', name),
      'df -Pk /data | tail -n 1; cat /dev/zero > /data/big; echo "exit $?"; stat -c %s /data/big',
    );

  t.match(await ask(m, { do: 'create', name: 'exact', bytes: 8 * MIB, policy: 'ssd-only' }), { pool: 'fast' });
  const exact = await fill('exact');
  t.match(exact, { code: 0, stderr: /No space left on device/ });
  const [df, ...rest] = exact.stdout.split('\n');
  t.match(df, new RegExp(` ${8 * 1024} +0 +${8 * 1024} +0% /data$`), 'df inside shows its size');
  t.same(rest.slice(0, 2), ['exit 1', String(8 * MIB)], 'every byte of it, and not one more');

  t.match(await ask(m, { do: 'create', name: 'kernel', bytes: 16 * MIB, enforce: 'kernel' }), { pool: 'slow' });
  const limited = await fill('kernel');
  t.match(limited, { code: 0, stderr: /Disk quota exceeded/ });
  const [, exit, size] = limited.stdout.split('\n');
  t.equal(exit, 'exit 1');
  t.ok(Number(size) <= 16 * MIB && Number(size) > 12 * MIB, `up to its limit, by blocks: ${size}`);

  const holder = await podman.start(t, join(m.mnt, 'spaces/kernel'));
  await holder.do('stat /data');
  t.match(await ask(m, { do: 'delete', name: 'kernel' }), /^SPACE_IN_USE/, 'a container has it');
  await holder.end();
  for (const name of ['exact', 'kernel']) t.same(await ask(m, { do: 'delete', name }), { deleted: true });
  await nothingIsLeft(t, m);
});
