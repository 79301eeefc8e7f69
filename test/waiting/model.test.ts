// The waiting line against the slow, obvious model of test/helpers/waiting-model.ts: 10,000 requests from fixed seeds, by files and by
// commands, among releases, lots made around them, withdrawals, deadlines, restarts, and kills at any call to the spool or the ledger.

import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { run } from '../helpers/run.js';

const MODEL_RUN = fileURLToPath(new URL('model-run.js', import.meta.url));

const RUNS: { seed: number; requests: number; allowOvertaking: boolean }[] = [
  { seed: 1, requests: 2000, allowOvertaking: false },
  { seed: 2, requests: 2000, allowOvertaking: true },
  { seed: 3, requests: 2000, allowOvertaking: false },
  { seed: 4, requests: 2000, allowOvertaking: true },
  { seed: 5, requests: 2000, allowOvertaking: false },
];

t.setTimeout(300_000);

/** How often each thing that has to happen did. */
const seen = new Map<string, number>();

t.jobs = Math.min(RUNS.length, availableParallelism());
t.setTimeout(300_000);

for (const { seed, requests, allowOvertaking } of RUNS) {
  t.test(`seed ${seed}, ${requests} requests${allowOvertaking ? ', overtaking' : ''}`, { buffered: true }, async (t) => {
    const words = [MODEL_RUN, String(seed), String(requests), allowOvertaking ? 'overtaking' : ''];
    const { stdout, stderr } = await run(process.execPath, words, { timeoutMs: 280_000 });
    t.match(stdout, /^\{.*\}$/, stderr);
    const result = JSON.parse(stdout) as { failure: string | null; seen: [string, number][] };
    for (const [what, times] of result.seen) seen.set(what, (seen.get(what) ?? 0) + times);
    if (result.failure !== null) t.comment(result.failure);
    t.equal(result.failure, null, 'agrees with the model');
  });
}

t.test('what has to happen did', async (t) => {
  t.comment([...seen].map(([what, times]) => `${what}: ${times}`).join('\n'));
  for (const what of [
    'decided: granted',
    'decided: WAITED_FOR_NOTHING',
    'decided: NEVER_FITS',
    ...['BAD_BYTES', 'BAD_PATH', 'BAD_DURATION', 'BAD_COMMAND'].map((code) => `decided: ${code}`),
    'command at once: granted',
    'command at once: BELOW_CHILDREN',
    'command behind others',
    'command first in line',
    'command never fits',
    'command killed, in line',
    'command killed, granted',
    'command killed, nothing',
    'without wait: OTHERS_WAIT',
    'without wait: granted',
    'extend: granted',
    'extend: NO_SPACE',
    'lot made around requests',
    'withdrawn',
    'aborted',
    'ended',
    'restart',
    'killed',
    'killed at the start',
    'killed while commands waited',
  ]) {
    t.ok((seen.get(what) ?? 0) >= 3, `${what}: ${seen.get(what) ?? 0}`);
  }
});
