// What a process and those below it have taken of the processors: a number that others at work change little.
import { readdir, readFile } from 'node:fs/promises';

/** Seconds, of all threads that are still there. */
export async function cpuSeconds(pid: number): Promise<number> {
  let ns = 0;
  for (const each of await processesBelow(pid)) {
    const threads = await readdir(`/proc/${each}/task`).catch(() => []);
    for (const thread of threads) {
      const [ran = '0'] = (await readFile(`/proc/${each}/task/${thread}/schedstat`, 'utf8').catch(() => '0')).split(' ');
      ns += Number(ran);
    }
  }
  return ns / 1e9;
}

/** The process, and all whose parents lead to it. */
async function processesBelow(pid: number): Promise<number[]> {
  const parents = new Map<number, number>();
  for (const name of await readdir('/proc')) {
    if (!/^[0-9]+$/.test(name)) continue;
    const stat = await readFile(`/proc/${name}/stat`, 'utf8').catch(() => '');
    // The name of the program, in parentheses, may hold anything.
    const parent = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1];
    if (parent !== undefined) parents.set(Number(name), Number(parent));
  }
  const found = [pid];
  for (const above of found) for (const [each, parent] of parents) if (parent === above) found.push(each);
  return found;
}
