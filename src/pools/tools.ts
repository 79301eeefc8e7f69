// Runs the system's tools for disks: never by a shell, always in one language, and never longer than they may take.

import { spawn } from 'node:child_process';
import { errnoOf, VreserveError } from '../core/errors.js';

/** Every tool, and the package that has it (the names are Debian's). */
const PACKAGES = {
  blockdev: 'util-linux',
  btrfs: 'btrfs-progs',
  cat: 'coreutils',
  flock: 'util-linux',
  lsblk: 'util-linux',
  'mkfs.btrfs': 'btrfs-progs',
  mount: 'mount (of util-linux)',
  umount: 'mount (of util-linux)',
  wipefs: 'util-linux',
  xfs_io: 'xfsprogs',
  xfs_quota: 'xfsprogs',
} as const;

export type ToolName = keyof typeof PACKAGES;

export interface ToolOptions {
  /** After this the tool is killed. */
  timeoutMs?: number;
  /** The tool is killed when it is aborted. */
  signal?: AbortSignal;
  /** Descriptors that the tool has open too, as its own from 3 on: a lock on them is held until the tool has ended. */
  keepOpen?: readonly number[];
}

/** Whoever needs a tool is handed this. */
export interface Tools {
  /** What the tool wrote to stdout. Throws TOOL_MISSING, TOOL_FAILED with the first line of stderr, TOOL_SLOW. */
  run(tool: ToolName, args: readonly string[], options?: ToolOptions): Promise<string>;
}

const TIMEOUT_MS = 30_000;

/** Where distributions have these tools, although the path of ordinary users leads elsewhere. */
const USUAL_PLACES = '/usr/sbin:/sbin:/usr/bin:/bin';

/** More than any of the tools has to say. */
const MOST_OUTPUT_BYTES = 16 * 1024 * 1024;

/** The tools of this system. `searchPath` is as PATH. */
export function systemTools(searchPath = `${process.env.PATH ?? ''}:${USUAL_PLACES}`): Tools {
  const env = { ...process.env, PATH: searchPath, LC_ALL: 'C' };
  return { run: (tool, args, options = {}) => runTool(tool, args, options, env) };
}

function runTool(tool: ToolName, args: readonly string[], options: ToolOptions, env: NodeJS.ProcessEnv): Promise<string> {
  const { timeoutMs = TIMEOUT_MS, signal, keepOpen = [] } = options;
  const stdio = ['ignore', 'pipe', 'pipe', ...keepOpen] as const;
  return new Promise((done, failed) => {
    const child = spawn(tool, args, { cwd: '/', env, stdio: [...stdio] });
    const said: Buffer[] = [];
    const complained: Buffer[] = [];
    let bytes = 0;
    const end = (error: VreserveError) => {
      child.kill('SIGKILL');
      // One that hangs in the kernel is not waited for.
      child.unref();
      failed(error);
    };
    const collect = (parts: Buffer[]) => (part: Buffer) => {
      bytes += part.length;
      if (bytes > MOST_OUTPUT_BYTES) end(new VreserveError('TOOL_FAILED', { tool, reason: 'it says too much' }));
      else parts.push(part);
    };
    child.stdout?.on('data', collect(said));
    child.stderr?.on('data', collect(complained));
    const timer = setTimeout(() => end(new VreserveError('TOOL_SLOW', { tool, seconds: timeoutMs / 1000 })), timeoutMs);
    const stop = () => child.kill('SIGKILL');
    if (signal?.aborted === true) stop();
    signal?.addEventListener('abort', stop, { once: true });
    const over = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', stop);
    };
    child.on('error', (error) => {
      over();
      failed(startFailure(tool, error));
    });
    child.on('close', (code, ended) => {
      over();
      if (code === 0) return done(Buffer.concat(said).toString());
      const reason = firstLine(complained) ?? firstLine(said) ?? (ended === null ? `exit ${code}` : `ended by ${ended}`);
      failed(new VreserveError('TOOL_FAILED', { tool, reason, exit: code ?? ended ?? '' }));
    });
  });
}

function startFailure(tool: ToolName, error: Error): VreserveError {
  const errno = errnoOf(error) ?? 'EIO';
  if (errno === 'ENOENT') return new VreserveError('TOOL_MISSING', { tool, package: PACKAGES[tool] }, { cause: error });
  return new VreserveError('TOOL_FAILED', { tool, reason: error.message }, { cause: error });
}

/** The first line that is an error; tools put notes before it. */
function firstLine(parts: readonly Buffer[]): string | undefined {
  const lines = Buffer.concat(parts)
    .toString()
    .split('\n')
    .filter((line) => line.trim() !== '');
  return (lines.find((line) => /error/i.test(line)) ?? lines[0])?.trim();
}
