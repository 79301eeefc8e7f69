// A case of Multispool's as a value, and what it asks of a directory besides the library: with find(1), which shares no code with it.
import { join } from 'node:path';
import type { Test } from 'tap';
import { must, run } from '../../helpers/run.js';
import { QUEUES, type Queue } from './widget.js';

/** What is done in an empty directory, native or in a mount; the spool is made in it. */
export interface SpoolCase {
  name: string;
  /** Why it cannot be done on this machine; false, or nothing, where it can. */
  whyNot?: () => Promise<string | false>;
  /** `directory` is absolute; what the case makes there stays. */
  run(t: Test, directory: string): Promise<void>;
}

/** Where a case has its spool. */
export const spoolIn = (directory: string): string => join(directory, 'spool');

/** Names by place: data, registry, tmp, a queue, or `QUEUE/.checkout`. */
export type Names = Partial<Record<'.data' | '.registry' | '.tmp' | Queue | `${Queue}/.checkout`, readonly string[]>>;

/** All paths of a spool of three queues with these names in it, sorted. */
export function pathsOf(names: Names): string[] {
  const places = ['.data', '.registry', '.tmp', ...QUEUES.flatMap((queue) => [queue, `${queue}/.checkout`] as const)] as const;
  const below = places.flatMap((place) => [place, ...(names[place] ?? []).map((name) => `${place}/${name}`)]);
  return ['spool', ...below.map((path) => `spool/${path}`)].sort();
}

/** Paths of a spool in which each entry has its data and its name, and is at one place. */
export function pathsOfEntries(places: Partial<Record<Queue | `${Queue}/.checkout`, readonly string[]>>): string[] {
  const all = Object.values(places).flat();
  return pathsOf({ ...places, '.data': all, '.registry': all });
}

/** What `find spool | sort` prints. */
export async function found(directory: string): Promise<string[]> {
  const { stdout } = await must(run('find', ['spool'], { cwd: directory }));
  return stdout.trimEnd().split('\n').sort();
}
