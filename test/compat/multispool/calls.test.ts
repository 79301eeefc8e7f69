// The system calls of each operation, in their order, are those of Multispool; what we do beside them is named.
import { mkdtemp, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { temporaryDirectory } from '../../helpers/mount.js';
import { must, run } from '../../helpers/run.js';
import { QUEUES } from './widget.js';

const STEPS = fileURLToPath(new URL('./steps.js', import.meta.url));

/** Those with which names and contents are changed or looked at. A question mark: not every machine has it. */
const CALLS = [
  ...['openat', '?open', '?creat', '?mkdir', 'mkdirat', '?rename', '?renameat', 'renameat2', '?unlink', 'unlinkat'],
  ...['?link', 'linkat', '?rmdir', 'utimensat', '?utimes', '?utime', '?futimesat', 'fsync', 'fdatasync', '?sync', 'syncfs'],
  ...['write', 'pwrite64', 'writev', 'ftruncate', 'fchmod', 'fchown', '?access', 'faccessat', '?faccessat2', '?stat', 'statx'],
  ...['?newfstatat', '?lstat', '?chmod', 'fchmodat', '?chown', 'fchownat'],
];

const A = 'a-b_000000';
const B = 'a-b_000001';
const TEMP_A = 'a_b_000000.tmp.XXXXXX';
const TEMP_B = 'a_b_000001.tmp.XXXXXX';

/** A file that is made whole beside its place; `synced` is the sign of its fsync. */
const saved = (temporary: string, path: string, { synced = '', over = false } = {}): string[] => [
  over ? `stat ${path}` : `stat ${path} ENOENT`,
  `create ${temporary}`,
  ...(over ? [`fchmod ${temporary}`] : []),
  `write ${temporary}`,
  `${synced}fsync ${temporary}`,
  `rename ${temporary} ${path}`,
];

const enqueued = (name: string, temporary: string): string[] => [
  ...saved(`.tmp/${temporary}`, `.tmp/${name}`),
  ...saved(`.data/${temporary}`, `.data/${name}`, { synced: '+ ' }),
  '+ fsync .data',
  '+ fsync .registry',
  `rename .tmp/${name} queue1/${name}`,
  '+ fsync queue1',
];

const checkedOut = (name: string, queue: string): string[] => [
  `touch .registry/${name}`,
  `touch ${queue}/${name}`,
  `rename ${queue}/${name} ${queue}/.checkout/${name}`,
  `open ${queue}/.checkout/${name}`,
];

const removed = (name: string, directory: string): string[] => [
  `touch .registry/${name}`,
  `unlink .data/${name}`,
  `unlink ${directory}/${name}`,
  `+ fsync ${directory}`,
  `unlink .registry/${name}`,
];

const directory = (path: string): string[] => [`stat ${path}`, `access ${path}`];

/** What each operation does, a call a line. A plus in front: Multispool does not, and we do, so that no crash of the machine undoes it. */
const OPERATIONS: Readonly<Record<string, readonly string[]>> = {
  create: [
    'mkdir .',
    'stat .registry ENOENT',
    'list .',
    ...['.registry', '.tmp', '.data'].map((path) => `mkdir ${path}`),
    ...QUEUES.flatMap((queue) => [`mkdir ${queue}`, `mkdir ${queue}/.checkout`]),
    ...QUEUES.map((queue) => `+ fsync ${queue}`),
    '+ fsync .',
    '+ fsync ..',
  ],
  reserve: [`create .registry/${A}`],
  enqueue: enqueued(A, TEMP_A),
  'enqueue-reserve': [`create .registry/${A} EEXIST`, `create .registry/${B}`, ...enqueued(B, TEMP_B)],
  list: ['list queue1'],
  stat: [`stat .registry/${A}`],
  checkout: checkedOut(A, 'queue1'),
  update: [],
  load: [`open .data/${A}`],
  save: [
    ...saved(`.tmp/${TEMP_A}`, `queue1/.checkout/${A}`, { over: true }),
    `touch .registry/${A}`,
    `touch queue1/.checkout/${A}`,
    `rename queue1/.checkout/${A} queue2/${A}`,
    '+ fsync queue2',
  ],
  'direct-save': [...saved(`.tmp/${TEMP_B}`, `queue1/${B}`, { over: true }), '+ fsync queue1'],
  'direct-contents': [`open queue1/${B}`],
  'checkout-again': checkedOut(A, 'queue2'),
  remove: removed(A, 'queue2/.checkout'),
  'direct-remove': removed(B, 'queue1'),
  'load-spool': ['.', '.registry', '.tmp', ...QUEUES.flatMap((queue) => [queue, `${queue}/.checkout`])].flatMap(directory),
};

/** Whether strace is there and may trace; why not. */
async function whyNot(): Promise<string | false> {
  const traced = await run('strace', ['-o', '/dev/null', 'true']).catch(() => null);
  if (traced === null) return 'there is no strace';
  return traced.code === 0 ? false : `strace may not trace here: ${traced.stderr.trim().split('\n')[0]}`;
}

/** Lines of strace -f: a call that another thread has interrupted is put together again, where it ended. */
function wholeLines(trace: string): string[] {
  const begun = new Map<string, string>();
  return trace.split('\n').flatMap((line) => {
    const [, pid = '', text = ''] = /^(\d+) +(.*)$/.exec(line) ?? [];
    const unfinished = /^(.*) <unfinished \.\.\.>$/.exec(text);
    if (unfinished !== null) {
      begun.set(pid, unfinished[1] ?? '');
      return [];
    }
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(text);
    return [resumed === null ? text : `${begun.get(pid) ?? ''}${resumed[1]}`];
  });
}

/** The call as the table has it; null where it is about something else. */
function described(line: string, dir: string): string | null {
  const [, call = '', rest = '', result = '', errno = ''] = /^(\w+)\((.*)\) += (\S+) ?([A-Z]*)/.exec(line) ?? [];
  const within = (path: string) => {
    if (path === dir || path === dirname(dir)) return path === dir ? '.' : '..';
    return path.startsWith(`${dir}/`) ? path.slice(dir.length + 1).replace(/(\.tmp\.)[0-9a-zA-Z]{6}$/, '$1XXXXXX') : null;
  };
  const descriptor = /^\d+<([^>]*)>/.exec(rest)?.[1];
  const texts = [...rest.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map((match) => match[1] ?? '');
  const [first, second = ''] = (descriptor === undefined ? texts : [descriptor]).map(within);
  // Looking at an open file, and opening a directory to sync it, change nothing and say nothing.
  const isOfDescriptor = descriptor !== undefined && /stat/.test(call);
  const isToSync = call.startsWith('open') && /O_DIRECTORY/.test(rest) && !/O_NONBLOCK/.test(rest);
  if (first === undefined || first === null || isOfDescriptor || isToSync) return null;
  return `${wordOf(call, rest)} ${first} ${second ?? ''}`.trim() + (result.startsWith('-') ? ` ${errno}` : '');
}

function wordOf(call: string, rest: string): string {
  if (call.startsWith('open')) {
    if (/O_CREAT/.test(rest)) return /O_EXCL/.test(rest) ? 'create' : 'write over';
    return /O_DIRECTORY/.test(rest) ? 'list' : 'open';
  }
  if (/utime/.test(call)) return 'touch';
  if (/write/.test(call)) return 'write';
  if (/access/.test(call)) return 'access';
  if (/stat/.test(call)) return 'stat';
  return call.replace(/^(rename|mkdir|unlink)(at2?)?$/, '$1');
}

/** Syncs that follow each other in any order. */
function inOrder(calls: readonly string[]): string[] {
  const ordered: string[] = [];
  let syncs: string[] = [];
  for (const call of [...calls, '']) {
    if (call.startsWith('fsync')) syncs.push(call);
    else {
      ordered.push(...syncs.sort(), call);
      syncs = [];
    }
  }
  return ordered.slice(0, -1);
}

t.test('system calls', { skip: await whyNot() }, async (t) => {
  const top = await temporaryDirectory(t);
  const dir = join(await mkdtemp(join(top, 'of-')), 'spool');
  const log = join(top, 'trace');
  const environment = { ...process.env, UV_USE_IO_URING: '0', NODE_OPTIONS: '' };
  await must(
    run('strace', ['-f', '-y', '-o', log, '-e', `trace=${CALLS.join(',')}`, process.execPath, STEPS, dir], { env: environment }),
  );
  const byStep = new Map<string, string[]>();
  let step: string[] = [];
  for (const line of wholeLines(await readFile(log, 'utf8'))) {
    const name = /"\/step\/([a-z-]+)"/.exec(line)?.[1];
    if (name !== undefined) {
      step = [];
      byStep.set(name, step);
    }
    const call = described(line, dir);
    if (call !== null) step.push(call);
  }
  byStep.delete('end');
  t.strictSame([...byStep.keys()], Object.keys(OPERATIONS), 'all steps are seen');
  for (const [name, calls] of Object.entries(OPERATIONS)) {
    t.strictSame(inOrder(byStep.get(name) ?? []), inOrder(calls.map((call) => call.replace(/^\+ /, ''))), name);
  }
});
