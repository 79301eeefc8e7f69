// Spaces in containers: each has its size and no byte more, and one that a container has is not removed.
import { join } from 'node:path';
import t from 'tap';
import { mount } from '../helpers/mount.js';
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
