// Namespaces whose processes are killed: what was acknowledged is there, for 16 clients, whichever process it was.
import t from 'tap';
import { servicePid, until } from '../helpers/http.js';
import { mount } from '../helpers/mount.js';
import { command, RespClient } from '../helpers/resp.js';

const CLIENTS = 16;

/** Sets values on its own keys, one after the other, until the connection breaks; what was answered last of each key. */
async function load(address: string | null, name: number, known: Map<string, number>): Promise<Map<string, number>> {
  const client = await RespClient.connect(address);
  const acknowledged = new Map(known);
  try {
    for (let n = Math.max(0, ...known.values()) + 1; ; n++) {
      const key = `client${name}-${n % 50}`;
      acknowledged.delete(key);
      if ((await client.ask('SET', key, `${n}`.padEnd(n % 7 === 0 ? 3000 : 20))) === `$${key}`) acknowledged.set(key, n);
    }
  } catch {
    return acknowledged;
  }
}

t.test('every acknowledged SET is there', async (t) => {
  for (const args of [['--zdb-sync'], []]) {
    const m = await mount(t, { args: ['--zdb', '127.0.0.1:0', ...args] });
    let known: Map<string, number>[] = Array.from({ length: CLIENTS }, () => new Map());
    for (const whom of ['service', 'daemon', 'service', 'daemon']) {
      const running = known.map((each, name) => load(m.ready.zdb, name, each));
      const counting = await RespClient.connect(m.ready.zdb);
      const executed = async () => Number(/commands_executed: ([0-9]+)/.exec(String(await counting.ask('INFO')))?.[1]);
      const before = await executed();
      await until(async () => (await executed()) > before + 800, 'there is something to lose');
      if (whom === 'daemon') {
        await m.kill();
        await Promise.all(running);
        await m.remount();
      } else {
        const pid = await servicePid(m.ready.pid);
        if (pid === null) throw new Error('there is no service process');
        process.kill(pid, 'SIGKILL');
        await Promise.all(running);
        // The address is kept, and another process answers there.
        await until(async () => {
          const found = await RespClient.connect(m.ready.zdb).catch(() => null);
          const answer = await found?.ask('PING').catch(() => null);
          await found?.close();
          return answer === '+PONG';
        }, 'it serves again');
      }
      known = await Promise.all(running);
      const client = await RespClient.connect(m.ready.zdb);
      let lost = 0;
      let checked = 0;
      for (const each of known) {
        for (const [key, n] of each) {
          checked += 1;
          const value = Number.parseInt(String(await client.ask('GET', key)).slice(1), 10);
          if (value !== n) lost += 1;
        }
      }
      t.ok(checked > CLIENTS * 10, `${checked} keys`);
      t.equal(lost, 0, `${args.join('')} after a kill of the ${whom}`);
      await client.close();
      await counting.close();
    }
    t.match(await m.run(['check', m.mnt]), { code: 0, stdout: /^no difference/ });
    await m.umount();
  }
});

t.test('many keys, killed while the index is told of them', async (t) => {
  const m = await mount(t, { args: ['--zdb', '127.0.0.1:0'] });
  const most = 200_000;
  const atOnce = 500;
  const keyOf = (n: number) => `key${String(n).padStart(9, '0')}`;
  let acknowledged = 0;
  /** From where it stands on, until the connection breaks or all are there. */
  const fill = async (client: RespClient) => {
    for (let at = acknowledged; at < most; at += atOnce) {
      const sets = Array.from({ length: atOnce }, (_, i) => command('SET', keyOf(at + i), `value of ${at + i}`));
      client.socket.write(Buffer.concat(sets));
      for (let i = 0; i < atOnce; i++) {
        const answer = await client.next();
        // What was stored before, and not acknowledged, is the same once more.
        if (answer !== null && answer !== `$${keyOf(at + i)}`) throw new Error(String(answer));
      }
      acknowledged = at + atOnce;
    }
  };
  for (const atLeast of [80_000, 140_000]) {
    const client = await RespClient.connect(m.ready.zdb);
    const filling = fill(client).catch(() => {});
    await until(() => acknowledged >= atLeast, 'the index is behind');
    await m.kill();
    await filling;
    await m.remount();
    const again = await RespClient.connect(m.ready.zdb);
    const found = Number(await again.ask('DBSIZE'));
    t.ok(found >= acknowledged && found <= acknowledged + atOnce, `${found} of ${acknowledged} acknowledged`);
    for (let n = 0; n < acknowledged; n += 997) {
      const value = await again.ask('GET', keyOf(n));
      if (value !== `$value of ${n}`) t.fail(`${keyOf(n)} is ${String(value)}`);
    }
    await again.close();
  }
  const client = await RespClient.connect(m.ready.zdb);
  await fill(client);
  t.equal(await client.ask('DBSIZE'), most);
  t.match(await m.run(['check', m.mnt]), { code: 0, stdout: /^no difference/ });
  await client.close();
});
