// Runs a command of `control` and makes its reply.

import { type Lot, NO_USAGE } from '../core/lot.js';
import type { Snapshot } from '../core/snapshot.js';
import type { ControlCommand } from './command-line.js';
import type { By, Commands } from './host.js';
import { checkJson, lotJson, reportJson, type UserName } from './json.js';

/** Returns the reply; `onProgress` takes lines that come before it, `signal` tells that nobody waits for it any more. */
export type RunCommand = (command: ControlCommand, onProgress: (value: object) => void, signal: AbortSignal) => Promise<object>;

const PROGRESS_MS = 100;

/** Commands of one open `control`. `snapshot` is as seen from where it was opened. */
export function commandRunner(commands: Commands, by: By, snapshot: () => Snapshot, userName: UserName): RunCommand {
  const lotReply = (cmd: string, lot: Lot | null) => {
    if (lot === null) return { ok: true, cmd, lot: null };
    const known = snapshot().lots.get(lot.id);
    return { ok: true, cmd, lot: known === undefined ? null : lotJson(known, userName) };
  };
  return async (command, onProgress, signal) => {
    switch (command.cmd) {
      case 'reserve': {
        const { path, bytes, options, waitMs } = command;
        const wait = waitMs === undefined ? null : { waitMs, signal };
        return lotReply(command.cmd, await commands.reserve(path, bytes, options, by, wait));
      }
      case 'extend':
        return lotReply(command.cmd, await commands.extend(command.path, command.bytes, by));
      case 'release':
        return releaseReply(await commands.release(command.path, by), command.path, userName);
      case 'lot': {
        const result = await commands.lot(command.request, by);
        return { ok: true, cmd: command.cmd, ...(result === undefined ? {} : { result }) };
      }
      case 'pool':
        return { ok: true, cmd: command.cmd, result: await commands.pool(command.request, by) };
      case 'space':
        return { ok: true, cmd: command.cmd, result: await commands.space(command.request, by) };
      case 'reclaim': {
        const tell = command.progress ? throttled((progress) => onProgress({ cmd: 'reclaim', progress })) : () => {};
        return { ok: true, cmd: command.cmd, ...(await commands.reclaim(command.request, by, tell)) };
      }
      case 'import': {
        const tell = command.progress ? throttled((progress) => onProgress({ cmd: 'import', progress })) : () => {};
        return { ok: true, cmd: command.cmd, ...(await commands.importBlobs(command.dir, by, tell)) };
      }
      case 'ns': {
        const answer = await commands.namespaces(command.request, by);
        return { ok: true, cmd: command.cmd, ...(Array.isArray(answer) ? { namespaces: answer } : { namespace: answer }) };
      }
      case 'report':
        return { ok: true, cmd: command.cmd, ...reportJson(snapshot(), userName) };
      case 'check': {
        const tell = command.progress ? throttled((progress) => onProgress({ cmd: 'check', progress })) : () => {};
        const report = await commands.check(command.repair, by, tell);
        return { ok: true, cmd: command.cmd, ...checkJson(report) };
      }
    }
  };
}

/** The lot is gone, so its reply is made from what it was, with the path as it was asked for. */
function releaseReply(lot: Lot | null, path: string, userName: UserName): object {
  if (lot === null) return { ok: true, cmd: 'release', lot: null };
  const json = lotJson({ lot, own: NO_USAGE, used: NO_USAGE }, userName);
  return { ok: true, cmd: 'release', lot: { ...json, name: path, path } };
}

function throttled<T>(tell: (value: T) => void): (value: T) => void {
  let nextAtMs = 0;
  return (value) => {
    const nowMs = performance.now();
    if (nowMs < nextAtMs) return;
    nextAtMs = nowMs + PROGRESS_MS;
    tell(value);
  };
}
