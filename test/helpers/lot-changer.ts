// A process that makes, changes and removes lots of its own directory until the mount is gone. Before each command it prints what
// its lots are to be, after it what was answered, so that who reads knows what was acknowledged.
// Usage: lot-changer.js SEED CONTROL DIRECTORY KIND STATE; most commands are of that kind; STATE is the JSON of a LotsState.
import { openSync, readSync, writeSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { printLine } from './print-line.js';

export const KINDS = ['add', 'insert', 'bind', 'unbind', 'update', 'expire', 'remove'] as const;
export type Kind = (typeof KINDS)[number];

/** What is recorded of a lot; bytes and times are integers, never is null, and paths are by name. */
export interface LotState {
  parents: string[];
  paths: { path: string; recursive: boolean; exclude: boolean }[];
  dedicated: number;
  opportunistic: number;
  objects: number;
  expiresAtMs: number | null;
}

/** By name. */
export type LotsState = Record<string, LotState>;

/** A line of the output: `asks` with what is to be, then one of the others. */
export interface ChangerLine {
  is: 'asks' | 'acknowledged' | 'refused' | 'gone';
  kind: Kind;
  state?: LotsState;
  errno?: string;
}

export const CHANGER = fileURLToPath(import.meta.url);

const MOST_LOTS = 10;
const NEVER = Number.MAX_SAFE_INTEGER;

/** No room, more than is there, a file in two lots, a lot below itself. */
const REFUSALS = new Set(['ENOSPC', 'EXDEV', 'ELOOP', 'EBUSY']);
const GONE = new Set(['ENOTCONN', 'ECONNABORTED', 'EIO', 'ENODEV', 'ESHUTDOWN', 'EINTR']);

/** Paths that may be bound, below the process's directory. */
const PATHS = ['a', 'a/sub', 'a/sub/f1', 'b', 'b/sub', 'b/f2', 'none', 'a/none/deep'];

interface Command {
  json: object;
  /** What the lots are then. */
  after: LotsState;
}

class Changer {
  readonly #directory: string;
  #seed: number;
  #next = 0;
  lots: LotsState;

  constructor(seed: number, directory: string, lots: LotsState) {
    this.#seed = seed * 40503 + 7;
    this.#directory = directory;
    this.lots = lots;
  }

  /** A command of the kind, or of another where there is none of that kind to be given now. */
  command(kind: Kind): Command {
    switch (kind) {
      case 'add':
        return this.#add();
      case 'insert':
        return this.#insert();
      case 'bind':
        return this.#bind();
      case 'unbind':
        return this.#unbind();
      case 'update':
        return this.#update();
      case 'expire':
        return this.#expire();
      case 'remove':
        return this.#remove();
    }
  }

  kind(most: Kind): Kind {
    return this.#random(3) > 0 ? most : (KINDS[this.#random(KINDS.length)] ?? most);
  }

  #add(): Command {
    if (Object.keys(this.lots).length >= MOST_LOTS) return this.#remove();
    const name = this.#newName();
    const parents = [this.#anyLot(), this.#anyLot()].slice(0, this.#random(3)).flatMap((lot) => lot ?? []);
    const lot = { ...this.#policy(), parents: [...new Set(parents)], paths: this.#freePath() };
    return this.#call('add', this.#addJson(name, lot, []), { ...this.lots, [name]: lot });
  }

  /** Between a lot and one of its parents. */
  #insert(): Command {
    const child = this.#any(Object.keys(this.lots).filter((name) => this.lots[name]?.parents.length !== 0));
    const was = child === undefined ? undefined : this.lots[child];
    const parent = was === undefined ? undefined : this.#any(was.parents);
    if (child === undefined || was === undefined || parent === undefined || Object.keys(this.lots).length >= MOST_LOTS) {
      return this.#add();
    }
    const name = this.#newName();
    const lot = { ...this.#policy(), parents: [parent], paths: [] };
    const moved = { ...was, parents: replaced(was.parents, parent, [name]) };
    return this.#call('add', this.#addJson(name, lot, [child]), { ...this.lots, [child]: moved, [name]: lot });
  }

  #bind(): Command {
    const name = this.#anyLot();
    const lot = name === undefined ? undefined : this.lots[name];
    const paths = this.#freePath(lot?.paths);
    if (name === undefined || lot === undefined) return this.#add();
    if (paths.length === 0) return this.#unbind();
    return this.#call('add-to', { lot_name: name, paths }, { ...this.lots, [name]: { ...lot, paths: [...lot.paths, ...paths] } });
  }

  #unbind(): Command {
    const name = this.#any(Object.keys(this.lots).filter((each) => this.lots[each]?.paths.length !== 0));
    const lot = name === undefined ? undefined : this.lots[name];
    const path = lot === undefined ? undefined : this.#any(lot.paths);
    if (name === undefined || lot === undefined || path === undefined) return this.#bind();
    const others = lot.paths.filter((each) => each !== path);
    const [becomes] = this.#freePath(others);
    if (becomes === undefined || this.#random(2) === 0) {
      return this.#call('remove-paths', { paths: [path.path] }, { ...this.lots, [name]: { ...lot, paths: others } });
    }
    const { path: next, ...how } = becomes;
    const json = { lot_name: name, paths: [{ current: path.path, new: next, ...how }] };
    return this.#call('update', json, { ...this.lots, [name]: { ...lot, paths: [...others, becomes] } });
  }

  #update(): Command {
    const name = this.#anyLot();
    const lot = name === undefined ? undefined : this.lots[name];
    if (name === undefined || lot === undefined) return this.#add();
    const { expiresAtMs: _, ...policy } = this.#policy();
    const attributes = {
      dedicated_GB: policy.dedicated / 1e9,
      opportunistic_GB: policy.opportunistic / 1e9,
      max_num_objects: policy.objects < 0 ? NEVER : policy.objects,
    };
    return this.#call(
      'update',
      { lot_name: name, management_policy_attrs: attributes },
      { ...this.lots, [name]: { ...lot, ...policy } },
    );
  }

  #expire(): Command {
    const name = this.#anyLot();
    const lot = name === undefined ? undefined : this.lots[name];
    if (name === undefined || lot === undefined) return this.#add();
    const expiresAtMs = this.#random(3) === 0 ? null : Date.now() + this.#random(300);
    const json = { lot_name: name, management_policy_attrs: { expiration_time: expiresAtMs ?? NEVER } };
    return this.#call('update', json, { ...this.lots, [name]: { ...lot, expiresAtMs } });
  }

  /** One lot, whose children get its parents, or it and all below it. */
  #remove(): Command {
    const name = this.#anyLot();
    const lot = name === undefined ? undefined : this.lots[name];
    if (name === undefined || lot === undefined) return this.#add();
    if (lot.parents.length === 0 || this.#random(3) === 0) {
      const gone = new Set([name]);
      for (let size = 0; size !== gone.size; ) {
        size = gone.size;
        for (const [each, { parents }] of Object.entries(this.lots))
          if (parents.some((parent) => gone.has(parent))) gone.add(each);
      }
      const after = Object.fromEntries(Object.entries(this.lots).filter(([each]) => !gone.has(each)));
      return this.#call('remove', name, after, ['recursive']);
    }
    const after: LotsState = {};
    for (const [each, was] of Object.entries(this.lots)) {
      if (each !== name) after[each] = { ...was, parents: replaced(was.parents, name, lot.parents) };
    }
    return this.#call('remove', name, after, ['assign-to-orphans', 'assign-to-non-orphans']);
  }

  #addJson(name: string, { parents, paths, ...policy }: LotState, children: string[]) {
    return {
      lot_name: name,
      owner: 'root',
      parents: parents.length === 0 ? [name] : parents,
      ...(children.length === 0 ? {} : { children }),
      paths,
      management_policy_attrs: {
        dedicated_GB: policy.dedicated / 1e9,
        opportunistic_GB: policy.opportunistic / 1e9,
        max_num_objects: policy.objects < 0 ? NEVER : policy.objects,
        creation_time: 0,
        expiration_time: policy.expiresAtMs ?? NEVER,
        deletion_time: NEVER,
      },
    };
  }

  #call(name: string, argument: object | string, after: LotsState, flags: string[] = []): Command {
    const given = typeof argument === 'string' ? { word: argument } : { json: argument };
    return { json: { cmd: 'lot', name, flags, ...given }, after };
  }

  #policy(): Omit<LotState, 'parents' | 'paths'> {
    return {
      dedicated: this.#random(8_000_000),
      opportunistic: this.#random(2) === 0 ? 0 : this.#random(30_000_000),
      objects: this.#random(4) === 0 ? this.#random(200) : -1,
      expiresAtMs: this.#random(4) === 0 ? Date.now() + this.#random(500) : null,
    };
  }

  /** None or one that no lot of ours has, for a lot with those of its own: only what they hold can be excluded. */
  #freePath(own: LotState['paths'] = []): LotState['paths'] {
    const taken = new Set(Object.values(this.lots).flatMap(({ paths }) => paths.map(({ path }) => path)));
    const free = PATHS.map((path) => `${this.#directory}/${path}`).filter((path) => !taken.has(path));
    const path = this.#any(free);
    if (path === undefined || this.#random(5) === 0) return [];
    const lies = own.some((above) => above.recursive && !above.exclude && path.startsWith(`${above.path}/`));
    return [{ path, recursive: this.#random(4) > 0, exclude: lies && this.#random(2) === 0 }];
  }

  #newName(): string {
    do this.#next += 1;
    while (this.lots[`${this.#directory.slice(1)}-${this.#next}`] !== undefined);
    return `${this.#directory.slice(1)}-${this.#next}`;
  }

  #anyLot(): string | undefined {
    return this.#any(Object.keys(this.lots));
  }

  #any<Value>(list: readonly Value[]): Value | undefined {
    return list[this.#random(list.length)];
  }

  #random(most: number): number {
    this.#seed ^= this.#seed << 13;
    this.#seed ^= this.#seed >>> 17;
    this.#seed ^= this.#seed << 5;
    return (this.#seed >>> 0) % Math.max(1, most);
  }
}

/** The list with one turned into others, each once. */
function replaced(list: readonly string[], gone: string, heirs: readonly string[]): string[] {
  return [...new Set(list.flatMap((each) => (each === gone ? heirs : [each])))];
}

const print = (line: ChangerLine) => printLine(line);

/** Replies wait until they are read. */
function lastReply(fd: number): string {
  const buffer = Buffer.alloc(65_536);
  let text = '';
  for (let length = -1; length !== 0; text += buffer.toString('utf8', 0, length))
    length = readSync(fd, buffer, 0, buffer.length, 0);
  return text.trimEnd().split('\n').at(-1) ?? '';
}

function main(): void {
  const [seed = '1', control = '', directory = '', most = 'add', state = '{}'] = process.argv.slice(2);
  const changer = new Changer(Number(seed), directory, JSON.parse(state) as LotsState);
  for (let fd = -1; ; ) {
    const kind = changer.kind(most as Kind);
    const command = changer.command(kind);
    print({ is: 'asks', kind, state: command.after });
    try {
      if (fd < 0) fd = openSync(control, 'r+');
      writeSync(fd, `${JSON.stringify(command.json)}\n`);
      changer.lots = command.after;
      print({ is: 'acknowledged', kind });
    } catch (error) {
      const errno = error instanceof Error && 'code' in error ? String(error.code) : String(error);
      print({ is: REFUSALS.has(errno) ? 'refused' : 'gone', kind, errno });
      if (GONE.has(errno)) return;
      if (!REFUSALS.has(errno)) {
        throw new Error(`${errno} for ${JSON.stringify(command.json)}: ${fd < 0 ? '' : lastReply(fd)}`);
      }
    }
  }
}

if (process.argv[1] === CHANGER) main();
