// A control plane over the memory engine: ledger, keeper and views as the daemon composes them, with a clock that stands still.

import { mountCommands } from '../../src/cli/mount-commands.js';
import { mountLine } from '../../src/cli/mount-line.js';
import type { ReserveBy } from '../../src/config.js';
import { DEFAULT_LOT_ID, ownPath } from '../../src/core/lot.js';
import { LotsSeen, type Scope } from '../../src/core/lots-seen.js';
import { confined, type Snapshot } from '../../src/core/snapshot.js';
import type { Caller, LotId, VirtualReply, VirtualRequest } from '../../src/engine/engine.js';
import { Heartbeat } from '../../src/engine/heartbeat.js';
import { Keeper } from '../../src/engine/keeper.js';
import { Pools } from '../../src/engine/pools.js';
import { Reclaimer } from '../../src/engine/reclaimer.js';
import { Rights } from '../../src/engine/rights.js';
import type { Ledger } from '../../src/ledger/ledger.js';
import { openLedger } from '../../src/ledger/sqlite.js';
import { quietLog } from '../../src/log.js';
import { ViewHandler } from '../../src/views/handler.js';
import { Users } from '../../src/views/users.js';
import { RequestBox } from '../../src/waiting/box.js';
import type { WaitingLine } from '../../src/waiting/line.js';
import { makeBox } from '../../src/waiting/make-box.js';
import { type Ask, MemoryEngine } from './memory-engine.js';
import { noStore } from './no-store.js';

export const AT_MS = Date.UTC(2026, 0, 1);

/** Host root, with CAP_SYS_ADMIN. */
export const ROOT: Caller = { pid: 10, uid: 0, gid: 0, groups: [], sysAdmin: true, dacOverride: true, home: true };

/** Root in a container. */
export const CONFINED: Caller = { ...ROOT, sysAdmin: false };

export function user(uid: number): Caller {
  return { pid: 11, uid, gid: uid, groups: [], sysAdmin: false, dacOverride: false, home: true };
}

export interface ControlPlane {
  engine: MemoryEngine;
  ledger: Ledger;
  keeper: Keeper;
  line: WaitingLine;
  heartbeat: Heartbeat;
  now: { ms: number };
  ask(request: Ask): Promise<VirtualReply>;
  /** The content of a snapshot, or the errno. */
  cat(path: string, scope?: LotId): Promise<string>;
  /** Opens control. */
  control(caller: Caller, scope?: LotId): Promise<OpenControl>;
  /** The journal's lines of one kind. */
  lines(event: string): Promise<Record<string, unknown>[]>;
}

export interface OpenControl {
  handle: number;
  /** 'ok' or the errno; `signal`: the caller's system call is interrupted. */
  write(data: string | Buffer, signal?: AbortSignal): Promise<string>;
  flush(): Promise<string>;
  /** The replies that are there. */
  replies(): Promise<Record<string, unknown>[]>;
}

/** `requests`: a directory for the spool in which requests wait; without one nothing can wait. */
export async function controlPlane(
  directory: string,
  options: {
    reserveBy?: ReserveBy;
    daemonUid?: number;
    readOnly?: boolean;
    nowMs?: number;
    requests?: string;
    allowOvertaking?: boolean;
  } = {},
): Promise<ControlPlane> {
  const engine = new MemoryEngine();
  const now = { ms: options.nowMs ?? AT_MS };
  const clock = () => now.ms;
  const log = quietLog();
  const readOnly = options.readOnly ?? false;
  const ledger = openLedger({ directory, readOnly, owner: '0', nowMs: now.ms });
  const users = new Users(clock);
  const rights = new Rights(options.reserveBy ?? 'writers', options.daemonUid ?? 0, users);
  const keeper = new Keeper({ engine, ledger, rights, clock, log, readOnly });
  const rows = await keeper.load();
  const line = mountLine(keeper, { allowOvertaking: options.allowOvertaking ?? false, keepMs: 1e12 });
  const pools = new Pools({
    keeper,
    view: directory,
    backing: '/srv/data',
    mountpoint: '/mnt/data',
    filesystem: 'tmpfs',
    diskType: () => null,
  });
  const reclaimer = new Reclaimer({ keeper, pools, high: null, low: 0.85 });
  const heartbeat = new Heartbeat({
    engine,
    ledger,
    keeper,
    reclaimer,
    pools,
    clock,
    log,
    journalKeep: { ageMs: 1e12, bytes: 2 ** 40 },
  });
  const snapshot = (scope: Scope): Snapshot => ({
    atMs: now.ms,
    daemon: {
      pid: 1,
      version: '0.1.0',
      engine: 'memory',
      io: 'passthrough',
      ioReason: '',
      backing: '/srv/data',
      mountpoint: '/mnt/data',
      filesystem: 'ext4',
      readOnly,
      startedAtMs: AT_MS,
    },
    pool: engine.pool(),
    pools: pools.rows(),
    lots: new LotsSeen(keeper.book, keeper, scope),
    waiting: line.list(),
    requests: engine.requests(),
    troubles: heartbeat.troubles(),
  });
  const handler = new ViewHandler({
    host: {
      refresh: async () => {},
      snapshot: (scope) => {
        if (keeper.book.get(scope.lot) === undefined) return null;
        const whole = snapshot(scope);
        const top = scope.lot === DEFAULT_LOT_ID ? undefined : whole.lots.get(scope.lot);
        if (top === undefined) return whole;
        const { capacityBytes } = engine.pool();
        return confined(whole, top, scope, { roomBytes: engine.room(scope.lot), capacityBytes });
      },
      inScope: (lot) => keeper.book.withDescendants(lot),
      commands: mountCommands({
        keeper,
        line,
        reclaimer,
        pools,
        users,
        space: noStore,
        importBlobs: noStore,
        namespaces: noStore,
      }),
      journal: ledger,
    },
    users,
    clock,
    log,
    readOnly,
    store: null,
    namespaces: null,
    reply: (token, reply) => engine.reply(token, reply),
  });

  if (options.requests !== undefined) {
    await makeBox(options.requests, true);
    await line.start(rows, new RequestBox(options.requests));
  }

  let lastToken = 0;
  const ask = async (request: Ask, signal?: AbortSignal): Promise<VirtualReply> => {
    const token = ++lastToken;
    signal?.addEventListener('abort', () =>
      handler.handle({ op: 'interrupt', scope: request.scope, directory: '/', token } as VirtualRequest),
    );
    const lot = keeper.book.get(request.scope);
    const directory = lot === undefined ? '/' : (ownPath(lot) ?? '/');
    handler.handle({ directory, ...request, token } as VirtualRequest);
    const endMs = performance.now() + 20_000;
    while (performance.now() < endMs) {
      const reply = engine.replies.get(token);
      if (reply !== undefined) return reply;
      await new Promise((resolve) => setImmediate(resolve));
    }
    throw new Error(`${request.op} was not answered`);
  };
  const outcome = (reply: VirtualReply) => ('errno' in reply ? String(reply.errno) : 'ok');
  return {
    engine,
    ledger,
    keeper,
    line,
    heartbeat,
    now,
    ask,
    async cat(path, scope = 1) {
      const reply = await ask({ op: 'lookup', path, scope });
      if (!('node' in reply)) return outcome(reply);
      const content = await ask({ op: 'content', path, scope });
      return 'data' in content ? String(content.data) : outcome(content);
    },
    async control(caller, scope = 1) {
      const reply = await ask({ op: 'open', path: 'control', scope, caller, forWriting: true });
      if (!('handle' in reply)) throw new Error(outcome(reply));
      const handle = Number(reply.handle);
      return {
        handle,
        write: async (data, signal) =>
          outcome(await ask({ op: 'write', scope, handle, offsetBytes: 0, data: Buffer.from(data) }, signal)),
        flush: async () => outcome(await ask({ op: 'flush', scope, handle })),
        replies: async () => {
          const read = await ask({ op: 'read', scope, handle, offsetBytes: 999, lengthBytes: 1e9 });
          const text = 'data' in read ? String(read.data) : '';
          return text
            .split('\n')
            .filter((line) => line !== '')
            .map((line) => JSON.parse(line) as Record<string, unknown>);
        },
      };
    },
    async lines(event) {
      const { startBytes, endBytes } = await ledger.journalRange();
      const text = (await ledger.readJournal(startBytes, endBytes - startBytes)).toString();
      const all = text
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as Record<string, unknown>);
      return all.filter((line) => line.event === event);
    },
  };
}
