// Many writers at once: exactly the grant lands, and a tree that is bound while it grows is counted exactly.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import t from 'tap';
import { type Case, COLUMNS, onEachMount } from '../helpers/columns.js';
import { compileProgram } from '../helpers/fsop.js';
import { run } from '../helpers/run.js';

const GRANT = 300_007;
const SEED = 20_261;

const program = await compileProgram('race', ['fs/race.c']);

const RACES: Case[] = [
  [
    '8 writers race for the last bytes of a grant, 200 rounds (50 as an ordinary user)',
    async (t, p, { uid }) => {
      await p.table(t, [
        ['mkdir lot', 0],
        [`reserve lot ${GRANT}`, ''],
      ]);
      const words = [`${p.m.mnt}${p.top}/lot`, String(GRANT), uid === undefined ? '200' : '50', String(SEED)];
      const got = await run(program, words, { ...p.m.identity, timeoutMs: 100_000 });
      t.match(got, { code: 0, stderr: '' }, `seed ${SEED}`);
    },
  ],
  [
    'binding and unbinding over a tree that 4 writers grow; others go on meanwhile',
    async (t, p) => {
      await p.table(t, [
        ['mkdir tree', 0],
        ['mkdir tree/low', 0],
        ['open other beside CREAT|RDWR', 0],
      ]);
      t.equal(await p.reserve('', 40_000_000), '');
      const [command = '', ...words] = [...(p.m.identity.within ?? []), program, 'grow'];
      const writers = [1, 2, 3, 4].map((n) => {
        const directory = `${p.m.mnt}${p.top}/tree${n > 2 ? '/low' : ''}`;
        const child = spawn(command, [...words, directory, String(n)], { stdio: ['pipe', 'pipe', 'inherit'] });
        t.teardown(() => child.kill('SIGKILL'));
        return { child, done: once(child.stdout, 'data'), ended: once(child, 'close') };
      });
      const binder = await p.another(t);
      let beside = 0;
      let binding = true;
      const writes = async () => {
        while (binding) if ((await p.ops.do(`pwrite other x ${beside % 1000}`)) === 1) beside += 1;
      };
      const going = writes();
      let refused = 0;
      for (let i = 0; i < 20; i++) {
        if ((await p.reserve('tree', 30_000_000, binder)) !== '') refused += 1;
        if ((await p.reserve('tree/low', 10_000_000, binder)) !== '') refused += 1;
        await p.release(i % 2 === 0 ? 'tree' : 'tree/low', binder);
        await p.release(i % 2 === 0 ? 'tree/low' : 'tree', binder);
      }
      binding = false;
      await going;
      t.equal(refused, 0, 'every reservation was granted');
      t.ok(beside > 20, `the others went on: ${beside} writes`);
      await p.reserve('tree/low', 20_000_000, binder);
      for (const { child } of writers) child.stdin.end();
      for (const { done, ended } of writers) {
        t.ok(Number(String((await done)[0])) > 100, 'the writers wrote');
        t.equal((await ended)[0], 0);
      }
      await binder.end();
      await p.ops.do('close other');
      await p.usageEqualsCount(t);
    },
  ],
];

t.test('races', { timeout: 280_000 }, (t) => onEachMount(t, COLUMNS, RACES));
