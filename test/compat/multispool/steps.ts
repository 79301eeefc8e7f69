// A process that does each operation on a spool once: `steps.js DIRECTORY`. Before each it asks for a file that is not there,
// `/step/NAME`, so that who traces its system calls sees where one ends and the next begins.
import { existsSync } from 'node:fs';
import { Spool } from '../../../src/spool/spool.js';
import { numbered, WIDGETS } from './widget.js';

const [, , dir = ''] = process.argv;
const order = { serialNumber: 1, customer: 'One' };
const step = (name: string) => void existsSync(`/step/${name}`);

step('create');
const spool = await Spool.create(dir, WIDGETS);
step('reserve');
const taken = await spool.reserveName(numbered('a-b_'));
step('enqueue');
const entry = await spool.enqueue('queue1', { cog: 1 }, order, { use: taken });
step('enqueue-reserve');
const next = await spool.enqueue('queue1', { cog: 2 }, order, { reserve: numbered('a-b_') });
step('list');
await spool.list('queue1');
step('stat');
await entry.stat();
step('checkout');
const out = await spool.checkout(entry);
step('update');
out.update({ cog: 3 });
step('load');
await out.dataFile.load();
step('save');
await out.save('queue2');
step('direct-save');
await next.direct.save({ cog: 4 });
step('direct-contents');
await next.direct.contents();
step('checkout-again');
const again = await spool.checkout(spool.entry('queue2', taken));
step('remove');
await again.remove();
step('direct-remove');
await next.direct.remove();
step('load-spool');
await Spool.load(dir, WIDGETS);
step('end');
