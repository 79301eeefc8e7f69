// The table of commands. A command's file is loaded when it is asked for, so that each starts as fast as it can.
import type { Command } from './command.js';

interface Entry {
  /** One line for the help; null for what is no command of users. */
  summary: string | null;
  load(): Promise<Command>;
}

export const COMMANDS: Record<string, Entry> = {
  mount: { summary: 'mount a backing directory', load: async () => (await import('./mount.js')).mount },
  umount: { summary: 'end a mount', load: async () => (await import('./umount.js')).umount },
  reserve: { summary: 'reserve bytes for a path', load: async () => (await import('./reserve.js')).reserve },
  extend: { summary: 'give a reservation more bytes', load: async () => (await import('./extend.js')).extend },
  release: { summary: 'give a reservation back', load: async () => (await import('./release.js')).release },
  lot: { summary: 'make, change and ask about lots', load: async () => (await import('./lot.js')).lot },
  space: {
    summary: 'directories with a size of their own',
    load: async () => (await import('./space.js')).spaceCommand(process.argv.slice(2)),
  },
  reclaim: {
    summary: 'list or delete what lots hold past their policy',
    load: async () => (await import('./reclaim.js')).reclaim,
  },
  report: { summary: 'show the pool and its lots', load: async () => (await import('./report.js')).report },
  check: { summary: 'count the backing and compare', load: async () => (await import('./check.js')).check },
  ledger: { summary: 'show the journal', load: async () => (await import('./ledger.js')).ledger },
  spool: {
    summary: 'queues of files that processes share',
    load: async () => (await import('./spool.js')).spoolCommand(process.argv.slice(2)),
  },
  store: {
    summary: 'blobs by name over HTTP, in a directory',
    load: async () => (await import('./store.js')).storeCommand(process.argv.slice(2)),
  },
  ns: {
    summary: 'key-value namespaces with a reserved size',
    load: async () => (await import('./ns.js')).nsCommand(process.argv.slice(2)),
  },
  pool: {
    summary: 'disks, and pools of them',
    load: async () => (await import('./pool.js')).poolCommand(process.argv.slice(2)),
  },
  boot: { summary: 'start pools and mount, at the start of the machine', load: async () => (await import('./boot.js')).boot },
  status: { summary: 'pass when all is there', load: async () => (await import('./status.js')).status },
  serve: {
    summary: 'the original service, without a mount: nothing is enforced',
    load: async () => (await import('./serve.js')).serve,
  },
  demo: { summary: 'see it work, in 20 seconds', load: async () => (await import('./demo.js')).demo },
  box: { summary: null, load: async () => (await import('./box.js')).box },
  daemon: { summary: null, load: async () => (await import('./daemon.js')).daemon },
  service: { summary: null, load: async () => (await import('./service.js')).service },
};

/** The command whose name is nearest to what was typed; null where none is near. */
export function nearest(typed: string): string | null {
  let best: string | null = null;
  let least = 3;
  for (const [name, entry] of Object.entries(COMMANDS)) {
    if (entry.summary === null) continue;
    const apart = distance(typed.toLowerCase(), name);
    if (apart < least) {
      least = apart;
      best = name;
    }
  }
  return best;
}

/** How many letters must be put in, left out, changed or swapped. */
function distance(a: string, b: string): number {
  let before: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const changed = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      let cost = Math.min(changed, (previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) cost = Math.min(cost, (before[j - 2] ?? 0) + 1);
      row.push(cost);
    }
    before = previous;
    previous = row;
  }
  return previous[b.length] ?? 0;
}
