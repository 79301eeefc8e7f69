// So many jobs at a time, in their order; one that takes long makes room.
import { setImmediate } from 'node:timers/promises';
import t from 'tap';
import { Gate } from '../../src/service/gate.js';
import { until } from '../helpers/http.js';

function jobs(gate: Gate) {
  const begun: number[] = [];
  const ends = new Map<number, { done(value: string): void; failed(error: Error): void }>();
  const run = gate.behind((n: number) => {
    begun.push(n);
    return new Promise<string>((done, failed) => ends.set(n, { done, failed }));
  });
  return { begun, ends, run };
}

t.test('two at a time, and the others in their order', async (t) => {
  const { begun, ends, run } = jobs(new Gate(2, 1e9));
  const all = [0, 1, 2, 3, 4].map((n) => run(n).catch((error: Error) => error.message));
  await setImmediate();
  t.strictSame(begun, [0, 1]);
  ends.get(1)?.failed(new Error('no'));
  await setImmediate();
  t.strictSame(begun, [0, 1, 2], 'one that fails makes room, too');
  ends.get(2)?.done('c');
  ends.get(0)?.done('a');
  await setImmediate();
  t.strictSame(begun, [0, 1, 2, 3, 4]);
  for (const n of [3, 4]) ends.get(n)?.done('last');
  t.strictSame(await Promise.all(all), ['a', 'no', 'c', 'last', 'last']);
  const more = [5, 6, 7].map(run);
  await setImmediate();
  t.strictSame(begun.slice(5), [5, 6], 'all places are free again, and no more');
  for (const n of [5, 6]) ends.get(n)?.done('');
  await setImmediate();
  ends.get(7)?.done('');
  await Promise.all(more);
});

t.test('who takes long does not hold up the others, and makes room once', async (t) => {
  const { begun, ends, run } = jobs(new Gate(1, 20));
  const slow = run(0);
  const second = run(1);
  await until(() => begun.length === 2, 'the second has its turn');
  const third = run(2);
  ends.get(0)?.done('at last');
  t.equal(await slow, 'at last');
  t.strictSame(begun.slice(0, 2), [0, 1]);
  await until(() => begun.length === 3, 'the third has its turn');
  for (const n of [1, 2]) ends.get(n)?.done('done');
  await Promise.all([second, third]);
  const [fourth, fifth] = [run(3), run(4)];
  await setImmediate();
  t.strictSame(begun, [0, 1, 2, 3], 'there is one place');
  ends.get(3)?.done('');
  await fourth;
  await setImmediate();
  ends.get(4)?.done('');
  await fifth;
});
