// The order of the waiting line, against lists that are searched from their beginning.

import t from 'tap';
import { type InLine, Line } from '../../src/core/line.js';
import { Random } from '../helpers/random.js';

interface Request extends InLine {
  seq: number;
}

const LOTS = [1, 2, 3, 4];

t.test('order, places, moves and deadlines', async (t) => {
  for (const seed of [1, 2, 3]) {
    const random = new Random(seed);
    const line = new Line<Request>();
    let all: Request[] = [];
    let last = 0;
    const ofLot = (lot: number) => all.filter((request) => request.lot === lot).sort((a, b) => a.seq - b.seq);
    const same = (found: unknown, wanted: unknown, what: string) => {
      if (JSON.stringify(found) === JSON.stringify(wanted)) return;
      t.fail(`seed ${seed}: ${what}`, { found, wanted });
    };
    for (let step = 0; step < 700; step++) {
      const known = all.length > 0 ? random.pick(all) : undefined;
      const choice = random.below(10);
      if (known === undefined || choice < 5) {
        // As after a restart, they need not come in their order.
        const seq = random.chance(0.8) ? ++last + 1000 : 1000 - step;
        const request = { seq, lot: random.pick(LOTS), deadlineMs: random.chance(0.5) ? random.below(100) : null };
        if (all.some((other) => other.seq === seq)) continue;
        all.push(request);
        line.add(request);
      } else if (choice < 8) {
        all = all.filter((other) => other !== known);
        line.remove(known);
        line.remove(known);
      } else {
        line.move(known, random.pick(LOTS));
      }
      const seqs = (requests: readonly Request[]) => requests.map(({ seq }) => seq);
      same(line.size, all.length, 'size');
      same(seqs(line.all()), seqs([...all].sort((a, b) => a.seq - b.seq)), 'all');
      same(
        [...line.lots()].sort(),
        LOTS.filter((lot) => ofLot(lot).length > 0),
        'lots',
      );
      for (const lot of LOTS) same(seqs(line.of(lot)), seqs(ofLot(lot)), `line of ${lot}`);
      for (const request of all) {
        if (line.position(request) !== ofLot(request.lot).indexOf(request) + 1) same(request, line.position(request), 'place');
        if (line.get(request.seq) !== request) same(request, line.get(request.seq), 'get');
      }
      const nowMs = random.below(100);
      const late = all.filter(({ deadlineMs }) => deadlineMs !== null && deadlineMs <= nowMs);
      same(seqs(line.overdue(nowMs)), seqs(late.sort((a, b) => a.seq - b.seq)), 'overdue');
    }
    t.pass(`seed ${seed}`);
  }
});

t.test('a deadline has come in the very millisecond', async (t) => {
  const line = new Line<Request>();
  line.add({ seq: 1, lot: 1, deadlineMs: 10 });
  line.add({ seq: 2, lot: 1, deadlineMs: null });
  t.strictSame(line.overdue(9), []);
  t.match(line.overdue(10), [{ seq: 1 }]);
  t.match(line.overdue(Number.MAX_SAFE_INTEGER), [{ seq: 1 }], 'who has none waits for ever');
  t.equal(line.get(3), undefined);
  t.strictSame(line.of(7), []);
});
