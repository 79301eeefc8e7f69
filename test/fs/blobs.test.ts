// Blobs as files: real programs write and read them, and the data plane charges, seals and shares what they hold.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import t, { type Test } from 'tap';
import type { VirtualReply } from '../../src/engine/engine.js';
import { STORE } from '../helpers/bare-messages.js';
import { BlobMount, type BlobMountOptions } from '../helpers/blob-view.js';
import type { Teardown } from '../helpers/mount.js';
import { shell } from '../helpers/run.js';

type Case = [what: string, run: (t: Test, m: BlobMount) => Promise<void>, options?: BlobMountOptions];

const MB = 1 << 20;
const USER = { uid: 65534, gid: 65534 };

/** A program of Python in the view that stops where it says a line, until it is sent one. */
class Python {
  readonly #child: ChildProcess;
  readonly #to: Writable;
  readonly #lines: AsyncIterableIterator<string>;

  constructor(t: Teardown, m: BlobMount, script: string) {
    const prelude = `import os, sys\nos.chdir(${JSON.stringify(m.store)})\ndef wait(): sys.stdin.readline()\ndef say(*w): print(*w, flush=True)\n`;
    this.#child = spawn('python3', ['-c', prelude + script], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { PATH: process.env.PATH },
    });
    this.#to = this.#child.stdin as Writable;
    this.#to.on('error', () => {});
    this.#lines = createInterface({ input: this.#child.stdout as Readable })[Symbol.asyncIterator]();
    t.teardown(async () => {
      if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill('SIGKILL');
    });
  }

  async line(): Promise<string> {
    const { value, done } = await this.#lines.next();
    return done ? 'it ended' : value;
  }

  go(): void {
    this.#to.write('\n');
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async end(): Promise<number | null> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return this.#child.exitCode;
    const closed = once(this.#child, 'close');
    this.#to.end();
    await closed;
    return this.#child.exitCode;
  }
}

async function held(m: BlobMount) {
  const usage = (await m.usage()).find(({ id }) => id === STORE);
  if (usage === undefined) throw new Error('there is no lot of the store');
  return usage;
}

/** The content of a blob, as `cat` has it. */
async function cat(m: BlobMount, name: string): Promise<string> {
  const { code, stdout, stderr } = await m.shell(`cat '${name}'`);
  return code === 0 ? stdout : stderr;
}

/** How often a handle was flushed; the answers are the view's own. */
const flushes = (m: BlobMount) => m.of('flush').length;

async function ok(t: Test, outcome: ReturnType<BlobMount['shell']>, what: string, stdout?: string): Promise<void> {
  const { code, stdout: said, stderr } = await outcome;
  t.equal(code, 0, `${what}${code === 0 ? '' : `: ${stderr}`}`);
  if (stdout !== undefined) t.equal(said, stdout, `${what}: what it said`);
}

/** A file of that many bytes outside the mount. */
async function source(t: Test, bytes: number): Promise<string> {
  const path = join(t.testdir({}), 'source');
  const block = Buffer.alloc(bytes);
  for (let at = 0; at < bytes; at += 4) block.writeUInt32LE((at * 2654435761) >>> 0, at);
  await writeFile(path, block);
  return path;
}

const CASES: readonly Case[] = [
  [
    'copied in and out',
    async (t, m) => {
      const file = await source(t, 5 * MB);
      await ok(
        t,
        m.shell(
          `cp '${file}' x; cmp '${file}' x; cp x y; cmp '${file}' y; cp x /dev/shm/$$; cmp '${file}' /dev/shm/$$; rm /dev/shm/$$`,
        ),
        'cp and cmp',
      );
      t.equal(flushes(m), 2, 'each is committed by its close');
      t.match(await held(m), { bytes: 10 * MB, objects: 2, pendingObjects: 0 });
      await ok(
        t,
        m.shell(`cp -p '${file}' z; cp -a '${file}' w; touch -d 2001-01-01 w; chmod 600 w; chown 0 w; stat -c %s w`),
        'what copies set',
        `${5 * MB}\n`,
      );
      await ok(
        t,
        m.shell(
          `install -m 600 '${file}' i; dd if='${file}' of=d bs=64k conv=fsync status=none; cmp i d; sha1sum <x >/dev/null; tail -c 1 x >/dev/null`,
        ),
        'install and dd',
      );
      await ok(t, m.shell(`ls -l | wc -l; ls | tr '\\n' ' '`), 'ls', '7\nd i w x y z ');
      t.match(await m.shell('chown 1 w'), { code: 1, stderr: /Operation not permitted/ });
    },
  ],
  [
    'charged while it is written, to the lot that owns the data',
    async (t, m) => {
      const writer = new Python(
        t,
        m,
        `f = os.open('x', os.O_WRONLY | os.O_CREAT)\nos.write(f, b'a' * 100000)\nsay('half')\nwait()\nos.write(f, b'b' * 50000)\nsay(os.fstat(f).st_size)\nwait()\nos.close(f)\nsay('closed')`,
      );
      t.equal(await writer.line(), 'half');
      t.match(await held(m), { bytes: 100_000, objects: 1, pendingObjects: 1, pendingBytes: 100_000 });
      t.match(await m.shell('stat x'), { code: 1, stderr: /No such file/ }, 'nobody sees it before it is whole');
      writer.go();
      t.equal(await writer.line(), '150000');
      t.match(await held(m), { bytes: 150_000, pendingBytes: 150_000 });
      t.match(
        (await m.call('count', false)).lots.find(({ id }) => id === STORE),
        { bytes: 150_000, recordedBytes: 150_000, exact: true },
        'a count beside it',
      );
      writer.go();
      t.equal(await writer.line(), 'closed');
      t.equal((await cat(m, 'x')).length, 150_000);
      await writer.end();
      await m.closed();
      t.match(await held(m), { bytes: 150_000, objects: 1, pendingObjects: 0, pendingBytes: 0 });
      const { stdout } = await m.shell('df --output=size,avail -B4096 . | tail -1');
      t.strictSame(stdout.trim().split(/ +/).map(Number), [2048, Math.floor((8 * MB - 150_000) / 4096)], 'df shows the lot');
    },
    { grantBytes: 8 * MB },
  ],
  [
    'the edge of the grant in the middle of a copy',
    async (t, m) => {
      const file = await source(t, 6 * MB);
      t.match(await m.shell(`cp '${file}' x`), { code: 1, stderr: /No space left/ });
      await m.closed();
      t.match(m.of('flush'), [{ written: true, failed: 'ENOSPC' }], 'whoever commits hears of it');
      t.match(await held(m), { bytes: 0, objects: 0 }, 'nothing is left');
      await ok(t, m.shell(`head -c ${4 * MB} '${file}' > y; stat -c %s y`), 'exactly the grant fits', `${4 * MB}\n`);
      t.match(await m.shell('echo > z'), { code: 1, stderr: /No space left/ });
      await ok(t, m.shell(`rm y; head -c 1000 '${file}' > z`), 'what went makes room');
      t.match(
        await m.python(`
f = os.open('e', os.O_RDWR | os.O_CREAT)
def errno(call):
  try: call()
  except OSError as e: return e.errno
print(errno(lambda: os.ftruncate(f, 1 << 33)), errno(lambda: os.posix_fallocate(f, 0, 1 << 33)), os.fstat(f).st_size)`),
        { stdout: '28 28 0\n' },
      );
      await m.closed();
      t.equal(m.of('release').at(-1)?.failed, undefined, 'of a size that was not to be had nothing is lost');
    },
    { grantBytes: 4 * MB },
  ],
  [
    'redirections of a shell are one file, and never half of it',
    async (t, m) => {
      const scripts: [script: string, content: string, flushed?: number][] = [
        ['{ echo 1; cat /dev/null; cat - <<<2; echo 3; } > x', '1\n2\n3\n'],
        ['(echo a; sleep 0.2; echo b) > x', 'a\nb\n'],
        ['exec 3> x; echo a >&3; /bin/echo b >&3; exec 3>&-', 'a\nb\n'],
        ['for i in 1 2 3; do echo $i; /bin/true; done > x', '1\n2\n3\n'],
        ['cat > x <<< text', 'text\n'],
        ['echo piped | tee x > /dev/null', 'piped\n'],
        ['echo one | dd of=x status=none', 'one\n'],
        [`dash -c 'exec > x; echo d; (echo e); echo f'`, 'd\ne\nf\n'],
        ['echo first > x; echo second > x', 'second\n', 2],
        ['(echo deep; (sleep 0.1; echo deeper)) > x', 'deep\ndeeper\n'],
        ['echo a > /dev/null 2> y; printf %s long > x', 'long'],
      ];
      for (const [script, content, flushed = 1] of scripts) {
        m.asked.length = 0;
        const uploads = () => m.of('create').length + m.of('open').filter(({ forWriting }) => forWriting).length;
        await ok(t, m.shell(`${script}; cat x`), script, content);
        await m.closed();
        const taken = m.of('flush').filter(({ written }) => written).length;
        t.equal(taken, flushed, `${script}: committed when it was closed`);
        t.equal(uploads(), script.includes('y;') ? 2 : flushed, `${script}: one upload each`);
        await m.shell('rm x y');
      }
      await ok(t, m.shell(': > empty'), 'of nothing');
      await m.closed();
      t.match(m.of('flush').at(-1), { written: false }, 'asked, and not taken');
      t.equal(m.blobs.get('store/empty')?.sizeBytes, 0, 'it is there when it is released');
    },
  ],
  [
    'two descriptors in one process',
    async (t, m) => {
      const writer = new Python(
        t,
        m,
        `
f = os.open('x', os.O_WRONLY | os.O_CREAT)
g = os.dup(f)
os.write(f, b'one')
os.close(f)
say('closed')
wait()
os.write(g, b'two')
os.close(g)
say('closed')`,
      );
      t.equal(await writer.line(), 'closed');
      t.equal(flushes(m), 0, 'one is left');
      t.equal(m.blobs.size, 0);
      writer.go();
      t.equal(await writer.line(), 'closed');
      t.equal(flushes(m), 1);
      t.equal(await cat(m, 'x'), 'onetwo');
      await ok(
        t,
        m.python(`
a = os.open('r', os.O_WRONLY | os.O_CREAT); os.write(a, b'old'); os.close(a)
r = os.open('r', os.O_RDONLY)
w = os.open('r', os.O_WRONLY | os.O_TRUNC)
os.write(w, b'newer'); os.close(w)
print(os.read(r, 9), open('r', 'rb').read())`),
        'a reader of the same name is no writer',
        `b'old' b'newer'\n`,
      );
      t.equal(flushes(m), 3);
      await writer.end();
    },
  ],
  [
    'descriptors that other processes hold',
    async (t, m) => {
      const parent = new Python(
        t,
        m,
        `
import subprocess
f = os.open('x', os.O_WRONLY | os.O_CREAT)
os.set_inheritable(f, True)
os.write(f, b'parent ')
child = subprocess.Popen(['/bin/sh', '-c', 'read _; echo child'], stdin=subprocess.PIPE, stdout=f)
os.close(f)
say('closed')
wait()
child.communicate(b'\\n')
say(child.returncode)`,
      );
      t.equal(await parent.line(), 'closed');
      t.equal(flushes(m), 0, 'what a program was handed is written on');
      parent.go();
      t.equal(await parent.line(), '0');
      await parent.end();
      await m.closed();
      t.equal(await cat(m, 'x'), 'parent child\n', 'all of it, at the last close');

      const forked = new Python(
        t,
        m,
        `
f = os.open('y', os.O_WRONLY | os.O_CREAT)
os.set_inheritable(f, True)
os.write(f, b'1')
if os.fork() == 0:
  if os.fork() == 0:
    wait()
    os.write(f, b'3')
    os._exit(0)
  os.write(f, b'2')
  os.wait()
  os._exit(0)
os.close(f)
say('closed')
os.wait()
say('ended')`,
      );
      t.equal(await forked.line(), 'closed');
      t.equal(flushes(m), 0);
      forked.go();
      t.equal(await forked.line(), 'ended');
      await forked.end();
      await m.closed();
      t.equal([...(await cat(m, 'y'))].sort().join(''), '123', 'children of children');

      const copy = new Python(
        t,
        m,
        `
f = os.open('z', os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC)
os.write(f, b'whole')
r, w = os.pipe()
if os.fork() == 0:
  os.read(r, 1)
  try: os.write(f, b' and more')
  except OSError as e: say(e.errno)
  try: os.ftruncate(f, 0)
  except OSError as e: say(e.errno)
  try: os.posix_fallocate(f, 0, 100)
  except OSError as e: say(e.errno)
  try: os.copy_file_range(os.open('x', os.O_RDONLY), f, 3)
  except OSError as e: say(e.errno)
  os._exit(0)
os.close(f)
say('closed')
wait()
os.write(w, b'.')
os.wait()`,
      );
      t.equal(await copy.line(), 'closed');
      t.equal(flushes(m), 1, 'a copy that is close-on-exec does not count');
      t.equal(await cat(m, 'z'), 'whole');
      copy.go();
      for (const what of ['write', 'truncate', 'fallocate', 'copy']) t.equal(await copy.line(), '1', `sealed: ${what} is EPERM`);
      await copy.end();
      t.equal(await cat(m, 'z'), 'whole');
    },
  ],
  [
    'a program is started from who opened it',
    async (t, m) => {
      await ok(
        t,
        m.python(`
f = os.open('x', os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC)
os.write(f, b'before')
os.execv('/bin/echo', ['echo', 'started'])`),
        'the kernel closes what is close-on-exec, and nobody waits for what that closes',
        'started\n',
      );
      await m.closed();
      t.equal(await cat(m, 'x'), 'before');
      t.equal(flushes(m), 0);
      await ok(
        t,
        m.python(`
f = os.open('y', os.O_WRONLY | os.O_CREAT)
os.write(f, b'before, ')
os.dup2(f, 1)
os.execv('/bin/echo', ['echo', 'after'])`),
        'and what it is handed is its own',
      );
      t.equal(await cat(m, 'y'), 'before, after\n');
      t.equal(flushes(m), 1);
    },
  ],
  [
    'the same open file by another way',
    async (t, m) => {
      const scripts = [
        'echo -n text > a; { cp a /dev/stdout; echo -n , > /proc/self/fd/1; cat a a; } > x; cat x',
        'echo more | tee /dev/stdout > x; cat x',
        '{ echo longer; echo long >> /proc/self/fd/1; echo after; } > x; cat x',
        'echo read > x; cat /dev/stdin < x; cat x x > z; cat z',
        "python3 -c \"print(1, file=open('/dev/stdout', 'a')); print(2)\" > x; cat x",
      ];
      for (const script of scripts) {
        const { stdout: usual } = await shell(`cd '${t.testdir({})}'; ${script}`);
        await ok(t, m.shell(script), script, usual);
      }
      await ok(
        t,
        m.python(`
f = os.open('y', os.O_RDWR | os.O_CREAT)
os.write(f, b'hello')
g = os.open('/proc/self/fd/%d' % f, os.O_RDONLY)
h = os.open('/proc/self/fd/%d' % f, os.O_RDWR | os.O_APPEND)
os.write(h, b' world')
os.close(f)
print(os.read(g, 99), os.fstat(h).st_size)
os.close(h)
r = os.open('y', os.O_RDONLY)
open('y', 'w').write('another')
s = os.open('/proc/self/fd/%d' % r, os.O_RDONLY)
print(os.read(r, 99), os.read(s, 99), open('y').read())
try: os.open('/proc/self/fd/%d' % r, os.O_WRONLY)
except OSError as e: print(e.errno)`),
        'by /proc',
        `b'hello world' 11\nb'hello world' b'hello world' another\n116\n`,
      );
      await ok(
        t,
        m.python(`
p = os.open('y', os.O_PATH)
r = os.open('/proc/self/fd/%d' % p, os.O_RDONLY)
print(os.read(r, 99)); os.close(r)
open('y', 'w').write('longer than before')
r = os.open('/proc/self/fd/%d' % p, os.O_RDONLY)
print(os.fstat(r).st_size, os.read(r, 99))`),
        'a path that is kept leads to what is there now',
        `b'another'\n18 b'longer than before'\n`,
      );
      await m.closed();
    },
  ],
  [
    'read back, mapped, sent, cut',
    async (t, m) => {
      await ok(
        t,
        m.python(`
import mmap
f = os.open('x', os.O_RDWR | os.O_CREAT)
os.write(f, b'0123456789')
print(os.pread(f, 4, 3), os.lseek(f, 0, os.SEEK_END), os.lseek(f, 0, os.SEEK_HOLE))
os.ftruncate(f, 5); print(os.fstat(f).st_size, os.pread(f, 99, 0))
os.ftruncate(f, 8); print(os.pread(f, 99, 0))
os.posix_fallocate(f, 0, 12); print(os.fstat(f).st_size)
os.pwrite(f, b'end', 9)
shared = mmap.mmap(f, 12)
shared[0:2] = b'AB'
shared.flush()
shared.close()
os.fsync(f)
print(os.pread(f, 99, 0))
os.close(f)
print(open('x', 'rb').read())
r = os.open('x', os.O_RDONLY)
mapped = mmap.mmap(r, 0, prot=mmap.PROT_READ)
print(mapped[:])
out = os.open('/dev/shm/sent-%d' % os.getpid(), os.O_RDWR | os.O_CREAT)
os.unlink('/dev/shm/sent-%d' % os.getpid())
print(os.sendfile(out, r, 0, 99), os.pread(out, 99, 0))
out = os.open('../../copied', os.O_RDWR | os.O_CREAT)
print(os.copy_file_range(r, out, 5, 0, 12), os.pread(out, 5, 12))
w = os.open('y', os.O_WRONLY | os.O_CREAT)
print(os.copy_file_range(r, w, 5, 0, 0), os.lseek(w, 5, 0), os.sendfile(w, r, 5, 5))
os.close(w)
print(open('y', 'rb').read())
try: os.truncate('x', 3)
except OSError as e: print(e.errno)`),
        'one after another',
        [
          `b'3456' 10 10`,
          `5 b'01234'`,
          `b'01234\\x00\\x00\\x00'`,
          '12',
          `b'AB234\\x00\\x00\\x00\\x00end'`,
          `b'AB234\\x00\\x00\\x00\\x00end'`,
          `b'AB234\\x00\\x00\\x00\\x00end'`,
          `12 b'AB234\\x00\\x00\\x00\\x00end'`,
          `5 b'AB234'`,
          '5 5 5',
          `b'AB234\\x00\\x00\\x00\\x00e'`,
          '95',
          '',
        ].join('\n'),
      );
      await m.closed();
      t.match(await held(m), { bytes: 22, objects: 2 });
    },
  ],
  [
    'several threads and one handle',
    async (t, m) => {
      await ok(
        t,
        m.python(`
import threading
f = os.open('x', os.O_RDWR | os.O_CREAT)
part = 64 * 1024
def work(n):
  for i in range(n, 128, 8): os.pwrite(f, bytes([i]) * part, i * part)
threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
for each in threads: each.start()
for each in threads: each.join()
os.close(f)
data = open('x', 'rb').read()
print(len(data), all(data[i * part:(i + 1) * part] == bytes([i]) * part for i in range(128)))`),
        'eight',
        `${8 * MB} True\n`,
      );
      t.equal((await held(m)).bytes, 8 * MB);
      // Some write while others close their copies of the descriptor: what was written before the last close is there.
      await ok(
        t,
        m.python(`
import threading
for round in range(25):
  f = os.open('y', os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
  fs = [os.dup(f) for n in range(8)]
  os.close(f)
  def work(n):
    os.pwrite(fs[n], b'%d' % n * 5000, n * 5000)
    os.close(fs[n])
  threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
  for each in threads: each.start()
  for each in threads: each.join()
  if open('y', 'rb').read() != b''.join(b'%d' % n * 5000 for n in range(8)): print('half', round)`),
        'closing in any order',
        '',
      );
      await m.closed();
    },
  ],
  [
    'names',
    async (t, m) => {
      await ok(t, m.shell('echo a > a; rm a; echo b > b'), 'rm');
      t.match(await m.shell('rm a'), { code: 1, stderr: /No such file/ });
      t.match(await m.shell('cat a'), { code: 1, stderr: /No such file/ });
      const refused = [
        'mkdir d',
        'ln -s b l',
        'ln b l',
        'mkfifo p',
        'truncate -s 1 b',
        'rmdir ../store',
        'mv b ../c',
        'rm ../health',
        'touch ../c',
        'mkdir ../blobs/b/c',
      ];
      for (const command of refused) t.not((await m.shell(command)).code, 0, command);
      await ok(
        t,
        m.shell(
          `mv b c; cat c; mkdir ${m.mnt}/dir; mv c ${m.mnt}/dir/d; cat ${m.mnt}/dir/d; mv ${m.mnt}/dir/d e; cat e; ls; ls ${m.mnt}/dir`,
        ),
        'mv copies',
        'b\nb\nb\ne\n',
      );
      await ok(t, m.shell('set -o noclobber; ! echo no > e; cat e'), 'only a new one', 'b\n');
      t.match(await m.python(`os.open('e', os.O_CREAT | os.O_EXCL | os.O_WRONLY)`), { stderr: /FileExistsError/ });
      t.match(await m.python(`os.rename('e', 'f')`), { stderr: /Errno 18/ });
      t.match(await m.python(`os.rename('${m.mnt}/dir', 'f')`), { stderr: /Errno 18/ });
      t.match(await m.python(`os.open('.', os.O_TMPFILE | os.O_WRONLY)`), { stderr: /Errno 95/ });
      await ok(
        t,
        m.python(`print(os.getxattr('e', 'user.mime_type'))
for name in ['user.vreserve.none', 'user.other', 'security.selinux']:
  try: os.getxattr('e', name)
  except OSError as e: print(e.errno)
try: os.listxattr('e')
except OSError as e: print(e.errno)
try: os.setxattr('e', 'user.mime_type', b'x')
except OSError as e: print(e.errno)`),
        'attributes',
        `b'text/plain'\n61\n95\n95\n95\n95\n`,
      );
      t.match(await m.shell('ls ..; ls -a ../blobs'), { stderr: '' }, 'blobs can be had by name');
      t.notMatch((await m.shell('ls -a ..')).stdout, /blobs/, 'and are not listed');
      t.match(await m.shell('ls ../blobs', USER), { code: 2, stderr: /Permission denied/ });
      t.match(await m.shell('echo no > n', USER), { code: 1, stderr: /Permission denied/ });
      m.mode = 0o1777;
      await ok(t, m.shell('echo yes > n; cat n', USER), 'another user, where that may', 'yes\n');
      t.match(m.of('create').at(-1)?.caller, { uid: USER.uid, gid: USER.gid });
    },
  ],
  [
    'what is refused, and what does not fit any more',
    async (t, m) => {
      await ok(t, m.shell('echo text > x'), 'there is one');
      const next = async (
        op: 'open' | 'create' | 'flush',
        script: string,
        reply: VirtualReply | (() => Promise<VirtualReply>),
      ) => {
        let left = 1;
        m.hook = async (request) => {
          if (request.op !== op || left === 0) return null;
          left -= 1;
          return typeof reply === 'function' ? await reply() : reply;
        };
        const outcome = await m.shell(script);
        m.hook = () => null;
        return outcome;
      };
      t.match(await next('open', 'cat x', { errno: 'EACCES' }), { code: 1, stderr: /Permission denied/ });
      t.match(
        await next('open', 'cat x', { errno: 'ENOSYS' }),
        { code: 1, stderr: /not supported/ },
        'and the kernel asks again',
      );
      t.match(await next('create', 'echo > n', { errno: 'ENOSYS' }), { code: 1, stderr: /not supported/ });
      await ok(t, m.shell('cat x; echo > n; rm n'), 'it still asks', 'text\n');
      t.match(await next('flush', 'cp x y', { errno: 'EDQUOT' }), { code: 1, stderr: /quota/ }, 'close has the errno');
      await m.closed();
      for (const [real, stderr] of [
        ['/.vreserve/blobs/none', /No such file/],
        ['/.vreserve/blobs', /Input\/output/],
        ['', /Input\/output/],
        ['/.vreserve/blobs/1/2', /Not a directory/],
      ] as const) {
        for (const [op, script] of [
          ['open', 'cat x'],
          ['create', 'echo > n'],
        ] as const) {
          const handle = m.keep({ path: 'store/n', real: '/.vreserve/blobs/none', upload: op === 'open' ? null : 'under way' });
          t.match(
            await next(op, script, { handle, real, node: { kind: 'blob', mode: 0o644, mtimeMs: 0 } }),
            { code: 1, stderr },
            `${op} ${real}`,
          );
          await m.closed();
          t.match(m.of('release').at(-1), { handle, opened: false, written: false }, 'and the handle is given back');
        }
      }
      // Made by somebody else between the lookup and the open.
      const appears = async () => {
        const blob = m.blobs.get('store/x');
        if (blob !== undefined) m.blobs.set('store/new', blob);
        return { errno: 'EEXIST' };
      };
      await ok(t, next('create', 'echo mine > new; cat new', appears), 'it is opened then', 'mine\n');
      m.blobs.delete('store/new');
      t.match(await next('create', `python3 -c "import os; os.open('new', os.O_CREAT | os.O_EXCL)"`, appears), {
        code: 1,
        stderr: /FileExists/,
      });
      m.blobs.delete('store/new');
      // Replaced between the lookup and the open.
      const old = m.blobs.get('store/x');
      await ok(t, m.shell('echo -n something longer > z'), 'another one');
      const replacement = m.blobs.get('store/z');
      if (old === undefined || replacement === undefined) throw new Error('they are not there');
      const other = () => ({ handle: m.keep({ path: 'store/x', real: replacement.real, upload: null }), real: replacement.real });
      await ok(
        t,
        next('open', `python3 -c "import os; f = os.open('x', 0); print(os.fstat(f).st_size, os.read(f, 99))"`, async () =>
          other(),
        ),
        'its size is that of what is read',
        `16 b'something longer'\n`,
      );
      const told: VirtualReply = {
        ...other(),
        node: { kind: 'blob', mode: 0o640, uid: 7, sizeBytes: 16, mtimeMs: 1_000_000_000_000 },
      };
      await ok(
        t,
        next(
          'open',
          `python3 -c "import os; s = os.fstat(os.open('x', 0)); print(s.st_size, oct(s.st_mode), s.st_uid, s.st_mtime)"`,
          told,
        ),
        'and the rest as it is told',
        '16 0o100640 7 1000000000.0\n',
      );
      t.match(
        await next('open', `python3 -c "import os; os.open('x', os.O_WRONLY | os.O_APPEND)"`, async () => ({ ...other() })),
        { code: 1, stderr: /Errno 95/ },
        'who appends looks again',
      );
      t.match(m.of('release').filter(({ opened }) => opened === false).length, 9);
      await m.closed();
    },
  ],
  [
    'interrupted',
    async (t, m) => {
      m.hook = ({ op }) => (op === 'create' ? new Promise<never>(() => {}) : null);
      const caught = new Python(
        t,
        m,
        `
import signal
def stop(*_): raise RuntimeError
signal.signal(signal.SIGUSR1, stop)
say('ready')
try: os.open('x', os.O_WRONLY | os.O_CREAT)
except RuntimeError: say('interrupted')`,
      );
      t.equal(await caught.line(), 'ready');
      await m.until('it is asked', () => m.of('create').length === 1);
      caught.signal('SIGUSR1');
      t.equal(await caught.line(), 'interrupted');
      await m.until('it is told', () => m.of('interrupt').length === 1);
      t.match(m.of('interrupt'), [{ token: m.of('create')[0]?.token }]);
      t.equal(await caught.end(), 0);
      const killed = new Python(t, m, `say('ready')\nos.open('x', os.O_WRONLY | os.O_CREAT)`);
      await killed.line();
      await m.until('it is asked', () => m.of('create').length === 2);
      killed.signal('SIGKILL');
      await killed.end();
      await m.until('and told', () => m.of('interrupt').length === 2);
      m.hook = ({ op }) => (op === 'flush' ? new Promise<never>(() => {}) : null);
      const closing = new Python(
        t,
        m,
        `
import signal
def stop(*_): raise RuntimeError
signal.signal(signal.SIGUSR1, stop)
f = os.open('y', os.O_WRONLY | os.O_CREAT)
os.write(f, b'all')
say('ready')
try: os.close(f)
except (RuntimeError, InterruptedError): say('interrupted')
wait()`,
      );
      t.equal(await closing.line(), 'ready');
      await m.until('it is asked', () => flushes(m) === 1);
      closing.signal('SIGUSR1');
      t.equal(await closing.line(), 'interrupted');
      m.hook = () => null;
      await m.closed();
      t.equal(await cat(m, 'y'), 'all', 'it is released all the same');
      await closing.end();
    },
  ],
  [
    'while it is asked whether to commit',
    async (t, m) => {
      let answer: (reply: VirtualReply) => void = () => {};
      m.hook = ({ op }) => (op === 'flush' ? new Promise((done) => (answer = done)) : null);
      for (const [reply, outcome, content] of [
        [{ again: true }, 'written', 'afterwards'],
        [{}, '1', ''],
        [{ errno: 'EIO' }, '1', ''],
      ] as const) {
        m.asked.length = 0;
        const writer = new Python(
          t,
          m,
          `
f = os.open('x', os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC)
r, w = os.pipe()
if os.fork() == 0:
  os.read(r, 1)
  say('writes')
  try: os.write(f, b'afterwards'); say('written')
  except OSError as e: say(e.errno)
  wait()
  os._exit(0)
os.write(w, b'.')
try: os.close(f)
except OSError: pass
os.wait()`,
        );
        t.equal(await writer.line(), 'writes');
        await m.until('it is asked', () => flushes(m) === 1);
        // The child is on its way into write(2), or in it; either way it is not through before there is an answer, unless it was first.
        const late = m.of('flush')[0]?.written === false;
        answer(reply);
        const said = await writer.line();
        t.equal(said, late ? outcome : 'written', `${JSON.stringify(reply)}`);
        m.hook = () => null;
        await writer.end();
        await m.closed();
        if ('again' in reply) t.equal(await cat(m, 'x'), content, 'what was kept is written');
        m.hook = ({ op }) => (op === 'flush' ? new Promise((done) => (answer = done)) : null);
      }
    },
  ],
  [
    'beside a change of bindings, and a count that corrects',
    async (t, m) => {
      const writer = new Python(
        t,
        m,
        `
import threading
stop = False
def work(n):
  i = 0
  while not stop:
    f = os.open('x%d' % n, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for k in range(8): os.write(f, b'%d' % n * 3000)
    os.close(f)
    if open('x%d' % n, 'rb').read() != b'%d' % n * 24000: say('half')
    i += 1
  say(i > 0)
threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
for each in threads: each.start()
wait()
stop = True
for each in threads: each.join()`,
      );
      await m.until('there are some', () => m.blobs.size === 3);
      for (let round = 0; round < 6; round++) {
        const bound = { path: '/.vreserve/blobs', id: STORE, recursive: true, exclude: false };
        const change = { lots: [], gone: [], mustCover: false, force: true };
        t.match(await m.call('reshape', { ...change, bind: [], unbind: [bound.path] }), { granted: true });
        t.match(await m.call('reshape', { ...change, bind: [bound], unbind: [] }), { granted: true });
        const { lots } = await m.call('count', true);
        for (const lot of lots) {
          if (lot.exact) t.match(lot, { recordedBytes: lot.bytes, recordedObjects: lot.objects }, `round ${round}`);
        }
      }
      writer.go();
      for (let n = 0; n < 3; n++) t.equal(await writer.line(), 'True');
      await writer.end();
      await m.closed();
    },
  ],
  [
    'nothing is left of thousands',
    async (t, m) => {
      await ok(t, m.shell('echo one > x'), 'one to read');
      const descriptors = async () => (await readdir(`/proc/${m.pid}/fd`)).length;
      const hammer = `
for i in range(700):
  with open('x', 'rb') as f: f.read()
  with open('y', 'wb') as f: f.write(b'text')
  os.stat('x')
  try: os.open('none', os.O_RDONLY)
  except OSError: pass
  os.unlink('y')`;
      await ok(t, m.python(hammer), 'once');
      await m.closed();
      const before = await descriptors();
      await ok(t, m.python(hammer), 'and again');
      await m.closed();
      t.equal(await descriptors(), before, 'descriptors of the daemon');
      t.match(await held(m), { bytes: 4, objects: 1, pendingObjects: 0 });
      if (m.info.io === 'passthrough') {
        const { READ: first = 0 } = await m.call('requests');
        await ok(t, m.shell('cat x x x'), 'cat');
        t.equal((await m.call('requests')).READ, first, 'reading asks nobody');
      }
    },
  ],
  [
    'detached while it is open',
    async (t, m) => {
      const writer = new Python(
        t,
        m,
        `
f = os.open('x', os.O_WRONLY | os.O_CREAT)
g = os.open('y', os.O_WRONLY | os.O_CREAT)
h = os.dup(g)
os.write(f, b'before ')
say('open')
wait()
os.write(f, b'and after')
os.write(g, b'gone')
os.close(f)
say('closed')
wait()`,
      );
      t.equal(await writer.line(), 'open');
      await m.call('unmount', true).catch((error: unknown) => t.fail(String(error)));
      writer.go();
      t.equal(await writer.line(), 'closed');
      t.match(m.of('flush'), [{ written: true }]);
      await m.until('released', () => m.of('release').length === 1);
      const blob = m.blobs.get('store/x');
      t.equal(await readFile(join(m.data, blob?.real ?? ''), 'utf8'), 'before and after');
      await writer.end();
      await m.ended;
      await m.until('what was open when it went is released, too', () => m.of('release').length === 2);
    },
  ],
];

for (const passthrough of [true, false]) {
  t.test(passthrough ? 'passthrough' : 'cached', async (t) => {
    for (const [what, run, options] of CASES) {
      await t.test(what, async (t) => {
        const m = await BlobMount.start(t, { ...options, passthrough });
        await run(t, m);
        if (what.startsWith('detached')) return;
        await m.closed();
        const { lots } = await m.call('count', false);
        for (const { id, bytes, objects, recordedBytes, recordedObjects } of lots) {
          t.strictSame([bytes, objects], [recordedBytes, recordedObjects], `lot ${id} holds what a count finds`);
        }
        t.match(await held(m), { pendingObjects: 0, pendingBytes: 0 });
        await m.umount();
        await rm(m.data, { recursive: true });
      });
    }
  });
}
