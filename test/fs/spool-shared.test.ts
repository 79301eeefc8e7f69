// Multispool's cases, and many processes on one spool, in a mount: below `.vreserve/spool`, in both I/O modes.
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { bytesData, Spool, textMeta } from '../../src/spool/index.js';
import { CASES, runCases } from '../compat/multispool/cases.js';
import { type MountOptions, mount } from '../helpers/mount.js';
import { eachEntryOnce, processCases } from '../spool/cases.js';

/** VRESERVE_ENTRIES takes other numbers. */
const ENTRIES = Number(process.env.VRESERVE_ENTRIES ?? 20_000);
const MODES: Record<string, readonly string[]> = { passthrough: [], cached: ['--no-passthrough'] };

/** A directory in the spool's tree in which anything may be made: what lies below a queue is nobody's layout. */
async function placeInSpool(mnt: string): Promise<string> {
  const place = join(mnt, '.vreserve/spool/shared/place/plain');
  await mkdir(place, { recursive: true });
  return place;
}

for (const [mode, args] of Object.entries(MODES)) {
  t.test(mode, { timeout: 900_000 }, async (t) => {
    const options: MountOptions = { on: 'tmpfs', tmpfsSize: '1g', args: ['--spool-grant', '300MB', ...args] };
    const { mnt } = await mount(t, options);
    const place = await placeInSpool(mnt);
    await t.test('the cases', { timeout: 300_000 }, async (t) => runCases(t, place, CASES));
    // One mode is enough for what costs a minute.
    if (mode !== 'passthrough') return;
    for (const [name, crew] of Object.entries(processCases(ENTRIES))) {
      await t.test(`each entry is handled exactly once: ${name}`, { timeout: 600_000 }, async (t) => {
        const directory = join(place, name.replaceAll(' ', '-'));
        await mkdir(directory);
        await eachEntryOnce(t, directory, crew);
      });
    }
  });
}

t.test('a full lot in the middle of an enqueue: nothing is left', async (t) => {
  const { mnt } = await mount(t, { on: 'tmpfs', args: ['--spool-grant', '100kB'] });
  const dir = join(mnt, '.vreserve/spool/jobs');
  await mkdir(dir);
  const kind = { queues: ['new'] as const, meta: textMeta, data: bytesData };
  const spool = await Spool.load(dir, kind);
  const files = async () => (await readdir(dir, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  const enqueue = (name: string, bytes: number) =>
    spool.enqueue('new', 'meta', Buffer.alloc(bytes, name), { reserve: (attempt) => `${name}${attempt}` });
  await t.rejects(enqueue('large', 200_000), { code: 'ENOSPC' });
  t.same(await files(), []);
  await enqueue('fits', 90_000);
  await t.rejects(enqueue('late', 20_000), { code: 'ENOSPC' });
  t.same(
    (await files()).map(({ name }) => name),
    ['fits0', 'fits0', 'fits0'],
  );
  await enqueue('last', 1_000);
  t.same((await spool.listNames('new')).sort(), ['fits0', 'last0']);
});
