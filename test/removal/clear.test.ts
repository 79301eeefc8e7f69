// Clearing a directory whose names become something else between any two looks at them.
import fs, { mkdir, mkdtemp, readdir, readFile, rename, symlink, writeFile } from 'node:fs/promises';
// biome-ignore lint/style/noRestrictedImports: what is patched here has to reach those who imported it by name
import { syncBuiltinESMExports } from 'node:module';
import { basename, join } from 'node:path';
import t, { type Test } from 'tap';
import { clear } from '../../src/removal/clear.js';
import { HeldDirectory } from '../../src/removal/held-directory.js';
import { temporaryDirectory } from '../helpers/mount.js';

const scratch = await temporaryDirectory(t);
const never = new AbortController().signal;

/** Until the test ends, the operation is followed by `then` where its path ends with a name. */
function whenDone(t: Test, name: 'rmdir' | 'unlink', of: string, then: () => Promise<void>): void {
  const real = fs[name];
  let isDone = false;
  fs[name] = async (path) => {
    try {
      await real(path);
    } finally {
      if (!isDone && basename(String(path)) === of) {
        isDone = true;
        await then();
      }
    }
  };
  syncBuiltinESMExports();
  t.teardown(() => {
    fs[name] = real;
    syncBuiltinESMExports();
  });
}

async function directories() {
  const top = await mkdtemp(join(scratch, 'of-'));
  const [tree, victim, away] = [join(top, 'tree'), join(top, 'victim'), join(top, 'away')];
  await mkdir(join(tree, 'd/e/f'), { recursive: true });
  await mkdir(join(victim, 'e/f'), { recursive: true });
  for (const name of ['g', 'e/g', 'e/f/g']) await writeFile(join(victim, name), 'kept');
  await mkdir(away);
  return { tree, victim, away };
}

const cleared = (tree: string) => HeldDirectory.with(tree, (held) => clear(held, never));

async function isWhole(t: Test, victim: string): Promise<void> {
  for (const name of ['g', 'e/g', 'e/f/g'])
    t.equal(await readFile(join(victim, name), 'utf8'), 'kept', `${name} of others is there`);
}

t.test('a directory that becomes a link before it is opened', async (t) => {
  const { tree, victim, away } = await directories();
  whenDone(t, 'rmdir', 'd', async () => {
    await rename(join(tree, 'd'), join(away, 'd'));
    await symlink(victim, join(tree, 'd'));
  });
  const left = await cleared(tree);
  t.same(left.names, 1, 'it is left for the next time');
  await isWhole(t, victim);
  t.same((await cleared(tree)).names, 0);
  t.same(await readdir(tree), [], 'which removes the link');
  await isWhole(t, victim);
});

t.test('a directory that becomes a link while it is emptied', async (t) => {
  const { tree, victim, away } = await directories();
  whenDone(t, 'rmdir', 'e', async () => {
    await rename(join(tree, 'd'), join(away, 'd'));
    await symlink(victim, join(tree, 'd'));
  });
  await cleared(tree);
  await cleared(tree);
  t.same(await readdir(tree), []);
  await isWhole(t, victim);
});

t.test('a file that becomes a directory', async (t) => {
  const { tree } = await directories();
  await writeFile(join(tree, 'x'), '');
  whenDone(t, 'unlink', 'x', () => mkdir(join(tree, 'x/y/z'), { recursive: true }).then(() => {}));
  t.same((await cleared(tree)).names, 0);
  t.same(await readdir(tree), []);
});

t.test('names that go by themselves', async (t) => {
  const { tree, away } = await directories();
  whenDone(t, 'rmdir', 'd', () => rename(join(tree, 'd'), join(away, 'd')));
  t.same((await cleared(tree)).names, 0);
  t.same(await readdir(tree), []);
  t.same(await readdir(join(away, 'd/e')), ['f'], 'what was taken elsewhere is not followed');
});

t.test('it ends when it is told to', async (t) => {
  const { tree } = await directories();
  const stop = new AbortController();
  whenDone(t, 'rmdir', 'd', async () => stop.abort());
  t.same((await HeldDirectory.with(tree, (held) => clear(held, stop.signal))).names, 0, 'and takes nothing for impossible');
  t.same(await readdir(join(tree, 'd/e')), ['f']);
});
