// A published package of 23 MB, unpacked into a reservation that it fits to the byte, and into one that it does not fit.
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { lotAt } from '../helpers/lots.js';
import { type Mounted, mount, temporaryDirectory } from '../helpers/mount.js';
import { must, ROOT, run, shell } from '../helpers/run.js';
import { bytesIn, listing } from '../helpers/tree.js';

const isRoot = process.getuid?.() === 0;

/** The package as published, by the version of package-lock.json; packed anew from node_modules where the registry is out of reach. */
async function packed(top: string): Promise<{ tarball: string; from: string }> {
  const lock = JSON.parse(await readFile(join(ROOT, 'package-lock.json'), 'utf8'));
  const version: string = lock.packages['node_modules/typescript'].version;
  const pack = (what: string) =>
    run('npm', ['pack', what, '--silent', '--pack-destination', top], { timeoutMs: 120_000, cwd: top });
  const published = await pack(`typescript@${version}`);
  const from = published.code === 0 ? `typescript ${version} as published` : 'typescript packed from node_modules: no registry';
  if (published.code !== 0) await must(pack(join(ROOT, 'node_modules/typescript')));
  return { tarball: join(top, `typescript-${version}.tgz`), from };
}

/** A tar of some of the files with what a published package lacks: owners, modes, links, names and times of every kind. */
async function varied(top: string, unpacked: string): Promise<string> {
  const chown = isRoot ? 'chown $((n % 7)):$((n % 11 + 1000)) "$f"' : 'true';
  const script = `
    mkdir v v/lib; cp -a ${unpacked}/package/bin v/; cp -a ${unpacked}/package/lib/lib.*.d.ts v/lib/; cd v
    n=0; for f in lib/*; do n=$((n + 1)); ${chown}; chmod $((n % 8))$((n % 5))4 "$f"; touch -d "@$((n * 1000003)).$n" "$f"; done
    chmod 4755 bin/tsc; ln -s ../lib/none bin/dangling; ln bin/tsc bin/second; mkfifo fifo
    touch 'a "b" \\ c' "$(printf 'new\\nline')" -- -dash; touch -h -d @77777.5 bin/dangling
    chmod 2775 lib; chmod 1777 bin; touch -d @123456789.123456789 bin lib
    tar --format=posix -cf ../varied.tar .`;
  await must(shell(script, { cwd: top }));
  return join(top, 'varied.tar');
}

/** Files of `broken` that are no beginning of the same file in `whole`. */
async function notBeginnings(broken: string, whole: string): Promise<string[]> {
  const { stdout } = await must(run('find', [broken, '-type', 'f', '-printf', '%P\\0']));
  const bad: string[] = [];
  for (const name of stdout.split('\0').filter(Boolean)) {
    const got = await readFile(join(broken, name));
    const wanted = await readFile(join(whole, name));
    if (!wanted.subarray(0, got.length).equals(got)) bad.push(name);
  }
  return bad;
}

async function reserved(m: Mounted, name: string, bytes: number): Promise<string> {
  const directory = join(m.mnt, name);
  await mkdir(directory);
  await must(m.run(['reserve', directory, String(bytes)]));
  return directory;
}

t.test('npm pack typescript, unpacked', async (t) => {
  const top = await temporaryDirectory(t);
  const { tarball, from } = await packed(top);
  t.pass(from);
  const native = join(top, 'native');
  await mkdir(native);
  await must(run('tar', ['-xpzf', tarball, '-C', native]));
  const totalBytes = await bytesIn(native);
  t.ok(totalBytes > 15e6, `${totalBytes} bytes`);
  const variedTar = await varied(top, native);
  const variedNative = join(top, 'varied');
  await mkdir(variedNative);
  await must(run('tar', ['-xpf', variedTar, '-C', variedNative]));

  for (const mode of [[], ['--no-passthrough']]) {
    t.test(mode[0] ?? 'passthrough', async (t) => {
      const m = await mount(t, { args: ['--capacity', '200MB', '--margin', '0', ...mode] });

      const fits = await reserved(m, 'fits', totalBytes);
      await must(run('tar', ['-xpzf', tarball, '-C', fits]));
      t.match(await lotAt(m.mnt, '/fits'), { usedBytes: totalBytes, dedicatedBytes: totalBytes }, 'full to the byte');
      t.match(await run('diff', ['-r', native, fits]), { code: 0, stdout: '' });
      t.same(await listing(fits, false), await listing(native, false), 'mode, owner and mtime of every entry');
      t.match(await m.shell('echo x > fits/one-more'), { code: 1, stderr: /No space left on device/ }, 'and not a byte more');

      const variedBytes = await bytesIn(variedNative);
      const other = await reserved(m, 'varied', variedBytes);
      await must(run('tar', ['-xpf', variedTar, '-C', other]));
      t.same(await listing(other), await listing(variedNative), 'set-uid, owners, links, odd names, nanoseconds');
      t.equal((await lotAt(m.mnt, '/varied')).usedBytes, variedBytes);

      const neighbour = await reserved(m, 'neighbour', 3_000_000);
      await must(m.shell('head -c 1000000 /dev/urandom > neighbour/half; sha256sum neighbour/half fits/package/lib/*.js > sums'));
      const grant = Math.floor(totalBytes / 2) + 1;
      const small = await reserved(m, 'small', grant);
      const overrun = await run('tar', ['-xpzf', tarball, '-C', small]);
      t.match(overrun, { code: 2, stderr: /No space left on device/ });
      t.equal((await lotAt(m.mnt, '/small')).usedBytes, grant, 'exactly the grant');
      t.equal(await bytesIn(small), grant, 'as find counts it');
      t.same(await notBeginnings(small, native), [], 'what landed is what was written');
      t.match(await m.shell('sha256sum --check --quiet sums'), { code: 0 }, 'nothing was lost elsewhere');
      await must(m.shell('head -c 2000000 /dev/zero > neighbour/rest'));
      t.equal(await bytesIn(neighbour), 3_000_000, 'the neighbour has every byte of its own');

      await must(m.run(['extend', small, String(totalBytes - grant)]));
      await must(run('tar', ['-xpzf', tarball, '-C', small]));
      t.same(await listing(small, false), await listing(native, false), 'unpacked again, with bytes enough');
      t.match(await m.run(['check', m.mnt]), { code: 0 });
    });
  }
});
