// Runs the cases of a test file in a mount namespace of their own: what they mount is seen by nobody else, whose namespaces would
// keep it mounted, and what others mount is not seen by them.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { ROOT } from './run.js';

/** Takes away all that other tests may have mounted, which would be kept busy by this namespace. */
const SCRIPT = `
awk '{ for (i = 7; i < NF; i++) if ($i == "-") print $(i + 1), $5 }' /proc/self/mountinfo | tac |
  while read -r type at; do
    # What the tests themselves lie on stays.
    case "$PWD/ \${TMPDIR:-/tmp}/" in "$at"/* | *" $at"/*) continue ;; esac
    case "$type $at" in fuse* | *" \${TMPDIR:-/tmp}/"* | *" /tmp/"* | *" /run/vreserve/"*) umount --lazy "$(printf %b "$at")" 2>/dev/null ;; esac
  done
exec "$@"`;

/** Of processes too: all that the cases start ends with them, also where a test that takes too long is killed. */
const NAMESPACES = ['--mount', '--propagation', 'private', '--pid', '--fork', '--kill-child', '--mount-proc'];

/** Never returns: the process ends as the cases have ended. As an ordinary user they run as they are. */
export function runCases(name: string, of: string): never {
  const words = [process.execPath, '--enable-source-maps', fileURLToPath(new URL(name, of))];
  const own = ['setpriv', '--pdeathsig', 'KILL', 'unshare', ...NAMESPACES, '/bin/bash', '-c', SCRIPT, 'sh'];
  const [program = '', ...rest] = process.getuid?.() === 0 ? [...own, ...words] : words;
  const { status, error } = spawnSync(program, rest, { stdio: 'inherit', cwd: ROOT });
  if (error !== undefined) throw error;
  process.exit(status ?? 1);
}
