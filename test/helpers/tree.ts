// Describes and counts directory trees with find(1): a second opinion that shares no code with what is tested.
import { must, run } from './run.js';

/**
 * A line an entry, sorted: name, type, mode, owner, mtime; for all but directories also size, links and target.
 * `directoryTimes` false leaves out the mtimes of directories, for those that no archive has set.
 */
export async function listing(top: string, directoryTimes = true): Promise<string[]> {
  const common = '%P %y %m %U:%G';
  const directory = directoryTimes ? `${common} %T@\\0` : `${common}\\0`;
  const print = ['(', '-type', 'd', '-printf', directory, ')', '-o', '-printf', `${common} %T@ %s %n %l\\0`];
  const { stdout } = await must(run('find', [top, '-mindepth', '1', ...print]));
  return stdout.split('\0').filter(Boolean).sort();
}

export interface Held {
  bytes: number;
  objects: number;
}

/**
 * What each lot holds by a full count of the tree: bytes by st_size and non-directory inodes, each once. A lot's numbers
 * contain those of the lots below it, but '/' (the default lot) is what lies in no other. `.vreserve` of the top is left out.
 */
export async function holdings(top: string, lots: readonly string[]): Promise<Record<string, Held>> {
  const prune = ['-path', `${top}/.vreserve`, '-prune', '-o'];
  const { stdout } = await must(run('find', [top, ...prune, '!', '-type', 'd', '-printf', '%i %y %s %P\\0']));
  const held: Record<string, Held> = Object.fromEntries(lots.map((lot) => [lot, { bytes: 0, objects: 0 }]));
  const seen = new Set<string>();
  for (const entry of stdout.split('\0').filter(Boolean)) {
    const [inode = '', type = '', size = '0', ...name] = entry.split(' ');
    if (seen.has(inode)) continue;
    seen.add(inode);
    const path = `/${name.join(' ')}`;
    const owners = lots.filter((lot) => lot !== '/' && (path === lot || path.startsWith(`${lot}/`)));
    for (const lot of owners.length > 0 ? owners : ['/']) {
      const sum = held[lot];
      if (sum === undefined) continue;
      sum.objects += 1;
      if (type === 'f') sum.bytes += Number(size);
    }
  }
  return held;
}

/** The sum of the sizes of the regular files below, each inode once. */
export async function bytesIn(top: string): Promise<number> {
  return (await holdings(top, ['/']))['/']?.bytes ?? 0;
}
